"""Cython kernels, compiled into `fastml._core.<level>` once per instruction-set level; `fastml._cpu` picks."""
