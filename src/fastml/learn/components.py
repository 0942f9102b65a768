"""How much of the data principal components hold, as a picture. Needs matplotlib, of the extra `learn`."""

from typing import Any

import numpy as np


def plot_explained_variance(model: Any, ax: Any = None, *, target: float | None = None) -> Any:
    """A scree plot: the share of the variance that each component explains, and that of all up to it.

    Parameters
    ----------
    model: a fitted `PCA`, `IncrementalPCA` or `TruncatedSVD`, or what `fastml.pca` returns.
    ax: matplotlib's Axes to draw in; None for new ones.
    target: a share, in (0, 1]: a line shows it, and a label the number of components that reach it, if they do.

    Returns the Axes. Raises TypeError for a model without explained variances, ValueError for another target.

    >>> import numpy as np, fastml
    >>> from fastml.learn.components import plot_explained_variance
    >>> model = fastml.PCA().fit(np.diag([5.0, 2.0, 1.0, 0.0]))
    >>> axes = plot_explained_variance(model, target=0.9)
    >>> axes.get_xlabel(), axes.get_ylabel()
    ('component', 'share of the variance')
    """
    share = getattr(model, "explained_variance_ratio_", getattr(model, "explained_variance_ratio", None))
    if share is None:
        raise TypeError("model must have explained variances, as a fitted PCA has")
    if target is not None and not 0 < target <= 1:
        raise ValueError(f"target must be in (0, 1], got {target!r}")
    if ax is None:
        from matplotlib import pyplot

        ax = pyplot.figure().add_subplot()
    share = np.asarray(share, np.float64)
    number, cumulative = np.arange(1, share.size + 1), np.cumsum(share)
    ax.bar(number, share, color="0.7", label="each")
    ax.plot(number, cumulative, marker="o" if share.size <= 40 else None, markersize=4, label="all up to it")
    if target is not None:
        enough = int(np.searchsorted(cumulative, target)) + 1
        reached = f"{enough} components" if enough <= share.size else "not reached"
        ax.axhline(target, color="0.4", linestyle="--", linewidth=1, label=f"{target:.0%}: {reached}")
    ax.set(xlabel="component", ylabel="share of the variance", ylim=(0, 1.05))
    ax.legend(loc="center right")
    return ax
