"""Gradient of max-pooling: each gradient is added where its index says, and an index outside the plane is counted."""

import numpy as np


def loops(grad_out, indices, grad_x, wrong, n_threads):
    """The definition: window by window, in their order. -1 is a window that saw only padding."""
    planes, out_h, out_w = grad_out.shape
    _, h, w = grad_x.shape
    for p in range(planes):
        wrong[p] = 0
        for y in range(h):
            for z in range(w):
                grad_x[p, y, z] = 0
        for i in range(out_h):
            for j in range(out_w):
                where = int(indices[p, i, j])
                if 0 <= where < h * w:
                    grad_x[p, where // w, where % w] += grad_out[p, i, j]
                elif where != -1:
                    wrong[p] += 1


def add_at(grad_out, indices, grad_x, wrong, n_threads):
    """All planes at once: np.add.at adds one after the other where an index comes twice, as `+=` would not."""
    planes, h, w = grad_x.shape
    where = indices.reshape(planes, -1)
    inside = (where >= 0) & (where < h * w)
    wrong[:] = (~inside & (where != -1)).sum(axis=1)
    flat = np.arange(planes)[:, np.newaxis] * (h * w) + where
    grad_x[...] = 0
    np.add.at(grad_x.reshape(-1), flat[inside], grad_out.reshape(planes, -1)[inside])
