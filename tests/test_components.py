"""The picture of explained variance: what is drawn, for every model that has some."""

import numpy as np
import pytest

import fastml

pyplot = pytest.importorskip("matplotlib.pyplot")
components = pytest.importorskip("fastml.learn.components")

X = np.random.default_rng(0).normal(size=(200, 6)) * [8, 4, 2, 1, 0.5, 0.1]


@pytest.fixture(autouse=True)
def no_window(monkeypatch):
    pyplot.switch_backend("Agg")
    yield
    pyplot.close("all")


@pytest.mark.parametrize("fitted", [
    fastml.PCA(4).fit(X), fastml.IncrementalPCA(4).fit(X), fastml.TruncatedSVD(4).fit(X), fastml.pca(X, 4),
], ids=["PCA", "IncrementalPCA", "TruncatedSVD", "pca"])  # fmt: skip
def test_bars_and_their_sums(fitted):
    axes = components.plot_explained_variance(fitted)
    share = getattr(fitted, "explained_variance_ratio_", getattr(fitted, "explained_variance_ratio", None))
    np.testing.assert_allclose([bar.get_height() for bar in axes.patches], share)
    (line,) = axes.lines
    np.testing.assert_allclose(line.get_ydata(), np.cumsum(share))
    np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3, 4])


def test_a_target_says_how_many_components_reach_it():
    model = fastml.PCA(3).fit(X)
    own = pyplot.figure().add_subplot()
    axes = components.plot_explained_variance(model, own, target=0.9)
    assert axes is own
    enough = int(np.argmax(np.cumsum(model.explained_variance_ratio_) >= 0.9)) + 1
    assert f"90%: {enough} components" in [text.get_text() for text in axes.get_legend().get_texts()]
    axes = components.plot_explained_variance(model, target=1)
    assert "100%: not reached" in [text.get_text() for text in axes.get_legend().get_texts()]


def test_what_is_refused():
    with pytest.raises(TypeError, match="explained variances"):
        components.plot_explained_variance(fastml.StandardScaler())
    with pytest.raises(ValueError, match="target"):
        components.plot_explained_variance(fastml.PCA().fit(X), target=1.5)
