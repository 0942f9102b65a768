"""fastml.pca_transform against what scikit-learn's PCA.transform computes: a product, and a row subtracted from it."""

from fastml.learn.harness import Contender


def _product(case, args, options):
    x, mean, basis = args
    mean = mean.astype(x.dtype)
    return lambda: x @ basis.T - mean @ basis.T


PEERS = (Contender("product by NumPy", _product),)
