"""Cython kernels, compiled once per instruction-set level into `fastml._core.<level>`; `fastml._cpu` picks the level."""
