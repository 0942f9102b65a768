"""Layers: objects that hold weights, prepared once for the kernels that use them."""
