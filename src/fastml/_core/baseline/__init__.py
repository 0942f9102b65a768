"""Kernels that any processor of this architecture runs."""
