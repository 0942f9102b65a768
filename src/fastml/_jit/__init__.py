"""Numba kernels, compiled when first called."""
