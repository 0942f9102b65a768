"""Arguments that are just taken, what becomes of them, and which message others get."""

import warnings

import numpy as np
import pytest

import fastml
from fastml import _validate
from fastml._validate import arrays, matrices, pooling

X = np.random.default_rng(0).normal(size=(4, 3))
IMAGES = np.random.default_rng(1).normal(size=(2, 4, 5, 6))
TRAINING = {"running_mean": np.zeros(4), "running_var": np.ones(4), "training": True}


def test_weights_of_samples():
    misaligned = np.zeros(33, np.uint8)[1:].view(float)
    for weight in ([0, 1, 2, 3], np.arange(4, dtype="f4"), np.arange(8.0)[::2], np.ones(4, bool), misaligned):
        taken = _validate.moments(X, sample_weight=weight)[0].sample_weight
        assert arrays.readable(taken) and taken.dtype == float and taken.tolist() == np.asarray(weight).tolist()
    assert _validate.moments(X[:0], sample_weight=[])[0].sample_weight.size == 0
    assert _validate.moments(X, 1, sample_weight=[1, 2, 3])[0].sample_weight.tolist() == [1, 2, 3]
    for wrong, said in (([1, -1, 0, 2], "-1.0 to 2"), ([0, 1, 2, np.inf], "0.0 to inf"), ([0, np.nan, 1, 2], "nan")):
        with pytest.raises(ValueError, match=rf"^sample_weight must be finite and not negative, got {said}"):
            _validate.moments(X, sample_weight=wrong)
    with pytest.raises(ValueError, match=r"^sample_weight must have shape \(4,\), got \(3,\)$"):
        _validate.moments(X, sample_weight=np.ones(3))
    with pytest.raises(TypeError, match=r"^sample_weight must be float32"):
        _validate.moments(X, sample_weight=["a"] * 4)


def test_fortran_order_is_the_other_axis():
    for x, axis in ((X, 0), (np.asfortranarray(X), 1)):
        (problem,) = _validate.moments(x)
        assert problem.axis == axis and problem.x.flags.c_contiguous and problem.mean.shape == (3,)
        problem, result = _validate.standardize(x)
        assert problem.axis == axis and problem.out.flags.c_contiguous and result.shape == (4, 3)
    assert _validate.moments(np.asfortranarray(X), 1)[0].axis == 0
    for out in (np.zeros((4, 3)), np.zeros((4, 3), order="F")):
        for x in (X, np.asfortranarray(X)):
            problem, result = _validate.standardize(x, out=out)
            assert result is out and problem.out.flags.c_contiguous
            assert problem.axis == (0 if out.flags.c_contiguous else 1) and problem.x.shape == problem.out.shape
    with pytest.raises(TypeError, match=r"^out must be a NumPy array, got list$"):
        _validate.standardize(np.asfortranarray(X), out=[1])
    assert _validate.standardize(np.asfortranarray(X), axis=1)[0].axis == 0
    assert _validate.standardize(X, out=X)[1] is X
    assert _validate.moments(X[:, ::2])[0].axis == 0  # in neither order
    row = _validate.moments(X[:1])[0]  # in both orders
    assert row.axis == 0 and row.x.shape == (1, 3)


def test_dtypes_of_what_is_standardized():
    for dtype, expected in (("f4", "f4"), (">f4", "f4"), ("f2", "f2"), ("i1", "f8"), ("?", "f8"), ("u8", "f8")):
        assert _validate.standardize(X.astype(dtype))[1].dtype == expected


def test_statistics_that_are_given_and_not_wanted():
    problem = _validate.standardize(X, mean=[1, 2, 3], std=[0, 2, 0])[0]
    assert problem.mean.tolist() == [1, 2, 3] and problem.scale.tolist() == [1, 2, 1]
    problem = _validate.standardize(X, mean=[1, 2, 3], std=[0, 2, -1], with_mean=False, with_std=False)[0]
    assert problem.mean.tolist() == [0, 0, 0] and problem.scale.tolist() == [1, 1, 1]
    problem = _validate.standardize(X)[0]
    assert problem.mean.tolist() == [0, 0, 0] and problem.scale.tolist() == [1, 1, 1]


def test_the_smallest_problems_of_pca():
    assert _validate.pca(np.zeros((2, 1)))[1:] == (None, None)
    problem, components, random = _validate.pca(X, 1, solver="arpack", n_oversamples=1, n_iterations=0, tol=0)
    assert components == 1 and isinstance(random, np.random.Generator) and problem.mean.shape == (3,)
    assert _validate.pca(X, solver="arpack")[1] == _validate.pca(X.T, solver="arpack")[1] == 2
    assert _validate.pca(X, 3)[1] == 3 and type(_validate.pca(X, np.int8(3))[1]) is int
    assert _validate.pca(X[:3, :2], solver="arpack")[1] == 1
    for fraction in (0.5, np.float32(0.5)):
        assert _validate.pca(X, fraction)[1] == 0.5 and type(_validate.pca(X, fraction)[1]) is float
    with pytest.raises(ValueError, match=r"^n_components must be a finite number from 0 to inf, got -0.5$"):
        _validate.pca(X, -0.5)
    scatter = _validate.scatter(X)
    assert scatter.x is X and scatter.mean.shape == (3,) and scatter.scatter.shape == (3, 3)
    for shape in ((2, 1), (4, 1)):
        with pytest.raises(ValueError, match=r"^X must have at least 2 rows and 2 columns for solver 'arpack', got"):
            _validate.pca(np.zeros(shape), solver="arpack")
    with pytest.raises(ValueError, match=r"^n_components must be from 1 to 2"):
        _validate.pca(X, 0, solver="arpack")


def test_who_draws():
    for state in (np.random.RandomState(0), np.random.default_rng(0)):
        for solver in ("auto", "randomized"):
            assert _validate.pca(X, solver=solver, random_state=state)[2] is state
    for solver in ("auto", "full", "covariance_eigh"):
        assert _validate.pca(X, 1, solver=solver)[2] is None
    for solver in ("randomized", "arpack"):
        random = _validate.pca(X, 1, solver=solver, random_state=5)[2]
        assert random.integers(2**60) == np.random.default_rng(5).integers(2**60)
    with pytest.raises(ValueError, match=r"^random_state must be from 0 to"):
        _validate.pca(X, random_state=-1)


def test_rows_and_components_to_multiply():
    problem, result = _validate.pca_transform(X.astype("f4"), None, np.ones((2, 3), int))
    assert problem.basis.dtype == problem.out.dtype == np.float32 and result.shape == (4, 2)
    assert problem.mean.tolist() == [0, 0, 0]
    basis = np.ones((2, 3))
    with warnings.catch_warnings(action="error"):
        assert (_validate.pca_transform(X.astype("f4"), None, np.full((2, 3), 1e300))[0].basis == np.inf).all()
    assert _validate.pca_transform(X, np.zeros(3), basis)[0].basis is basis
    with pytest.raises(ValueError, match=r"^components must have 3 columns, as X has, got 2$"):
        _validate.pca_transform(X, None, np.ones((3, 2)))
    with pytest.raises(ValueError, match=r"^Z must have 4 columns, got 3$"):
        _validate.rows_of(X, 4, "Z")
    with pytest.raises(ValueError, match=r"^(Z|components) must be a matrix of shape \(rows, columns\), got 1 dim"):
        _validate.rows_of(X[0], 3, "Z")
    for name in ("X", "components"):
        with pytest.raises(ValueError, match=rf"^{name} must be a matrix"):
            _validate.pca_transform(**{"X": X, "mean": None, "components": basis, name: X[0]})
    with pytest.raises(ValueError, match=r"^mean must have shape \(3,\), got \(4,\)$"):
        _validate.pca_transform(X, np.zeros(4), basis)
    for kind in (int, float):
        strided = np.ones((4, 6), kind)[:, ::2]
        problem, _ = _validate.pca_transform(strided, None, strided)
        for array in (_validate.rows_of(strided, 3, "Z"), problem.x, problem.basis):
            assert arrays.readable(array) and array.dtype == float
    for name in ("X", "components"):
        arguments = {"X": np.ones((3, 3)), "mean": None, "components": np.ones((3, 3))}
        with pytest.raises(ValueError, match=rf"^out may not share memory with {name}$"):
            _validate.pca_transform(**arguments, out=arguments[name])


@pytest.mark.filterwarnings("error")
def test_results_that_are_not_finite():
    matrices.finite_result(np.full(2, np.nan), np.full(2, 1e308))  # the sum alone is infinite
    matrices.finite_result(X, X)
    for result in (np.array([np.inf, -np.inf]), np.array([np.nan, 1]), np.array([1, np.inf])):
        with pytest.raises(ValueError, match=r"^X is too large: the squares of its values overflow$"):
            matrices.finite_result(X, result)
        with pytest.raises(ValueError, match=r"^X must be finite, but holds NaN or infinity$"):
            matrices.finite_result(np.array([1, np.inf]), result)


def test_a_converted_tile():
    tile = X.astype("f2").T
    for single, dtype in ((True, np.float32), (False, np.float64)):
        copy = matrices.converted(tile, single)
        assert copy.dtype == dtype and arrays.readable(copy) and (copy == tile).all()


def test_the_least_of_batch_norm():
    counted = {"momentum": None, "num_batches_tracked": np.array(0)}
    for options in ({"momentum": 0}, {"momentum": 1}, {"eps": 0}, counted):
        assert _validate.batch_norm(IMAGES, **TRAINING, **options)[0].training
    assert _validate.batch_norm(IMAGES, training=True)[0].mean.shape == (4,)
    assert _validate.batch_norm(IMAGES[:, :, :1, :1], **TRAINING)[1].shape == (2, 4, 1, 1)
    for count in (np.array([0], "i1"), np.array(126, "i1"), np.array([254], "u1")):
        _validate.batch_norm(IMAGES, **TRAINING, num_batches_tracked=count)
    for count in (np.array(127, "i1"), np.array([-1])):
        with pytest.raises(ValueError, match=r"^num_batches_tracked must be a count that can grow, got"):
            _validate.batch_norm(IMAGES, **TRAINING, num_batches_tracked=count)
    row = IMAGES[:1, :, :1, :2]
    assert _validate.batch_norm_backward(row, row, np.zeros(4), np.ones(4))[1] == (1, 4, 1, 2)
    one = np.zeros((1, 4))
    assert _validate.batch_norm_backward(one, one, np.zeros(4), np.ones(4), training=False)[1] == (1, 4)
    assert _validate.batch_norm(one, np.zeros(4), np.ones(4))[1].shape == (1, 4)


def test_vectors_of_batch_norm_are_copies():
    given = np.ones(4)
    problem = _validate.batch_norm(IMAGES, given, given, given, given)[0]
    backward = _validate.batch_norm_backward(IMAGES, IMAGES, given, given, given, given)[0]
    for vector in (*problem[1:3], *problem[7:9], *backward[2:4], *backward[5:7]):
        assert not np.shares_memory(vector, given) and vector.dtype == float and vector.tolist() == [1] * 4
    for value in ([2] * 4, 2.0, np.full(4, 2, ">f4"), np.full(4, 2)):
        assert _validate.batch_norm(IMAGES, given, value, value, value)[0].variance.tolist() == [2] * 4
    problem = _validate.batch_norm(IMAGES, given, given)[0]
    assert problem.weight.tolist() == [1] * 4 and problem.bias.tolist() == [0] * 4
    backward = _validate.batch_norm_backward(IMAGES, IMAGES, given, given)[0]
    assert backward.weight.tolist() == [1] * 4 and backward.bias.tolist() == [0] * 4
    assert backward.grad_weight.tolist() == backward.grad_bias.tolist() == [0] * 4


def test_images_of_batch_norm_are_rows_of_pixels():
    strided, statistics = np.repeat(IMAGES, 2, axis=-1)[..., ::2], (np.zeros(4), np.ones(4))
    problem, result = _validate.batch_norm(strided, *statistics, residual=strided)
    assert result.shape == IMAGES.shape
    for array in (problem.x, problem.residual, problem.out):
        assert array.shape == (2, 4, 30) and arrays.readable(array)
    backward, shape = _validate.batch_norm_backward(strided, strided, *statistics, residual=strided)
    assert shape == IMAGES.shape
    for array in (backward.x, backward.grad_out, backward.residual, backward.grad_x, backward.grad_residual):
        assert array.shape == (2, 4, 30) and arrays.readable(array)


def test_what_training_writes_is_nowhere_else():
    both, counts = np.ones(8), np.zeros(5, np.int64)
    mean, var = both[:4], both[3:7]
    with pytest.raises(ValueError, match=r"^running_mean may not share memory with running_var$"):
        _validate.batch_norm(IMAGES, mean, var, training=True)
    x = np.ones((4, 4))
    for name in ("running_mean", "running_var"):
        for others in ({"x": x}, {"x": np.ones((4, 4)), "out": x}, {"x": np.ones((4, 4)), "residual": x}):
            said = next(key for key, value in others.items() if value is x)
            with pytest.raises(ValueError, match=rf"^{name} may not share memory with {said}$"):
                _validate.batch_norm(**{**TRAINING, **others, name: x[1]})
    shared = counts.view(float)
    for name in ("running_mean", "running_var"):
        with pytest.raises(ValueError, match=rf"^num_batches_tracked may not share memory with {name}$"):
            _validate.batch_norm(IMAGES, **{**TRAINING, name: shared[:4]}, num_batches_tracked=counts[3:4])
    with pytest.raises(ValueError, match=r"^num_batches_tracked may not share memory with x$"):
        _validate.batch_norm(x, **TRAINING, num_batches_tracked=x.view(int)[0, :1])


def test_out_of_batch_norm_may_be_an_input():
    for name in ("x", "residual"):
        arguments = {"x": IMAGES.copy(), "residual": IMAGES.copy()}
        assert _validate.batch_norm(**arguments, **TRAINING, out=arguments[name])[1] is arguments[name]


def test_what_fold_batch_norm_fills_in():
    layer = _validate.fold_batch_norm(np.zeros((2, 3)), None, [1, 2], [3, 4], eps=0)
    assert [layer[i].tolist() for i in range(1, 6)] == [[0, 0], [1, 2], [3, 4], [1, 1], [0, 0]] and layer.eps == 0
    for name in ("running_mean", "running_var"):
        with pytest.raises(TypeError, match=rf"^{name} must be float32 or float64, got None$"):
            _validate.fold_batch_norm(np.zeros((2, 3)), None, **{"running_mean": 0, "running_var": 1, name: None})
    arguments = ("bias", "running_mean", "running_var", "bn_weight", "bn_bias")
    for name in arguments:
        with pytest.raises(ValueError, match=rf"^{name} must have shape \(2,\), got \(3,\)$"):
            _validate.fold_batch_norm(np.zeros((2, 3)), **{**dict.fromkeys(arguments, 1.0), name: np.ones(3)})
    with pytest.raises(ValueError, match=r"^eps must be a finite number from 0 to inf, got -1.0$"):
        _validate.fold_batch_norm(np.zeros((2, 3)), None, 0, 1, eps=-1)
    assert _validate.fold_batch_norm(np.zeros((2, 3, 1, 1)), None, 0, 1).weight.shape == (2, 3, 1, 1)
    shapes = ((3,), (2, 3, 1), (2, 3, 1, 1, 1))
    for weight, error in (*((np.zeros(shape), ValueError) for shape in shapes), (np.zeros((2, 3), int), TypeError)):
        with pytest.raises(error, match=r"^weight must be"):
            _validate.fold_batch_norm(weight, None, 0, 1)


def test_one_image_is_a_batch_for_kernels():
    residual, out = np.zeros((2, 6, 3, 5))
    problem, result = _validate.conv2d(IMAGES[0], np.zeros((6, 4, 3, 2)), residual=residual, out=out)
    assert result is out and problem.residual.shape == problem.out.shape == (1, 6, 3, 5)
    assert problem.x.shape == (1, 4, 5, 6)


def test_a_layer_refuses_a_padding_before_there_is_an_image():
    for padding in ((2**24 + 1, 0), ((0, 0), (0, 2**24 + 1))):
        with pytest.raises(ValueError, match=r"^padding must be at most 16777216 on a side, got 16777217$"):
            fastml.Conv2d(np.zeros((6, 4, 3, 2)), padding=padding)
    with pytest.raises(ValueError, match=r"^dilation must be from 1 to .*, got 0$"):
        fastml.Conv2d(np.zeros((6, 4, 3, 2)), dilation=0)
    for shape in ((6, 4, 3, 2), (6, 4, 2, 3)):
        layer = _validate.filters(np.zeros(shape), dilation=(4, 5), padding=(1, 2), stride=(2, 3))
        assert layer.dilation == (4, 5) and layer.stride == (2, 3) and layer.padding == ((1, 1), (2, 2))


def test_gradients_of_a_convolution():
    weight = np.zeros((6, 4, 3, 2))
    for x, shape in ((IMAGES, (2, 6, 3, 5)), (IMAGES[0], (6, 3, 5))):
        problem, forward, of_x = _validate.conv2d_backward(np.zeros(shape), x, weight)
        assert of_x == x.shape and problem.grad_out.shape == forward.out.shape == (x.size // 120, 6, 3, 5)
        assert problem.grad_weight.shape == weight.shape and problem.grad_bias.shape == (6,)
        assert problem.grad_weight.dtype == problem.grad_bias.dtype == float and not problem.grad_weight.any()
        assert problem[2:9] == (1, 1, 0, 0, 1, 1, 1)
    with pytest.raises(TypeError, match=r"^grad_out must have the dtype of x, float64; got float32$"):
        _validate.conv2d_backward(np.zeros((2, 6, 3, 5), "f4"), IMAGES, weight)
    options = {"stride": (2, 1), "padding": ((1, 2), (3, 4)), "dilation": (1, 2), "groups": 2}
    problem, forward, _ = _validate.conv2d_backward(np.zeros((2, 6, 3, 11)), IMAGES, weight[:, :2], **options)
    assert problem[2:9] == forward[5:12] == (2, 1, 1, 3, 1, 2, 2)


def test_an_empty_batch_has_gradients():
    gradients, indices = np.zeros((0, 3, 3, 2)), np.zeros((0, 3, 3, 2), np.uint64)
    assert _validate.avg_pool2d_backward(gradients, (0, 3, 7, 5), 2)[1].shape == (0, 3, 7, 5)
    problem, result = _validate.max_pool2d_backward(gradients, indices, [0, 3, 7, 5])
    assert result.shape == (0, 3, 7, 5) and problem.grad_x.shape == (0, 7, 5) and problem.wrong.size == 0


def test_windows_of_pooling():
    for x in (IMAGES, IMAGES[0]):
        planes = x.size // 30
        problem, result, indices = _validate.max_pool2d(x, (2, 3), (1, 2), (1, 0), (3, 2), return_indices=True)
        assert problem[1:9] == (2, 3, 1, 2, 1, 0, 3, 2) and problem.x.shape == (planes, 5, 6)
        assert result.shape == indices.shape == (*x.shape[:-2], 4, 1) and indices.dtype == np.int64
        assert problem.out.shape == problem.indices.shape == (planes, 4, 1)
        assert np.shares_memory(problem.indices, indices) and np.shares_memory(problem.out, result)
        problem, result = _validate.avg_pool2d(x, (2, 3), padding=(1, 0), divisor_override=7)
        assert problem[1:7] == (2, 3, 2, 3, 1, 0) and problem.out.shape == (planes, 3, 2)
        assert problem.rows.tolist() == [7.0] * 3 and problem.columns.tolist() == [1.0] * 2
        options = {"padding": (1, 0), "count_include_pad": False}
        problem, _ = _validate.avg_pool2d(x, (2, 3), **options)
        assert problem.rows.tolist() == [1, 2, 2] and problem.columns.tolist() == [3, 3]
        problem, gradient = _validate.avg_pool2d_backward(result, x.shape, (2, 3), **options)
        assert problem[1:7] == (2, 3, 2, 3, 1, 0) and problem.grad_x.shape == (planes, 5, 6)
        assert problem.rows.tolist() == [1, 2, 2] and gradient.shape == x.shape
        assert problem.grad_out.shape == (planes, 3, 2)
        for keepdims, shape in ((True, (*x.shape[:-2], 1, 1)), (False, x.shape[:-2])):
            problem, result = _validate.global_avg_pool2d(x, keepdims=keepdims)
            assert problem[1:7] == (5, 6, 5, 6, 0, 0) and result.shape == shape and problem.out.shape == (planes, 1, 1)
            assert problem.rows.tolist() == [5] and problem.columns.tolist() == [6]


def test_shapes_of_inputs_of_pooling():
    assert _validate.avg_pool2d_backward(np.zeros((1, 1, 1)), (1, 1, 1), 1)[1].shape == (1, 1, 1)
    for i, shape in enumerate(((-1, 1, 1, 1), (1, 0, 1, 1), (1, 1, 0, 1), (1, 1, 1, 0))):
        least = min(i, 1)
        with pytest.raises(ValueError, match=rf"^input_shape\[{i}\] must be from {least} to .*, got {least - 1}$"):
            _validate.avg_pool2d_backward(np.zeros((1, 1, 1, 1)), shape, 1)
    with pytest.raises(ValueError, match=r"^input_shape must begin with \(3,\), as grad_out does; got \(2, 4, 5\)$"):
        _validate.avg_pool2d_backward(np.zeros((3, 2, 2)), (2, 4, 5), 2)
    with pytest.raises(ValueError, match=r"^grad_out must have shape \(3, 2, 2\), as avg_pool2d gives for \(3, 4, 5\)"):
        _validate.avg_pool2d_backward(np.zeros((3, 2, 1)), (3, 4, 5), 2)


def test_indices_of_another_plane_are_counted():
    problem, _ = _validate.max_pool2d_backward(np.zeros((2, 3, 1, 1)), np.zeros((2, 3, 1, 1), int), (2, 3, 4, 5))
    assert problem.wrong.tolist() == [0] * 6 and problem.wrong.dtype == np.int64
    _validate.indices_inside(problem)
    problem.wrong[:] = 0, 1, 0, 0, 3, 0
    with pytest.raises(ValueError, match=r"^indices must be from -1 to 19, .* a plane of 4 x 5; 4 of 6 are not$"):
        _validate.indices_inside(problem)


def test_indices_are_int64():
    gradients = np.zeros((3, 2, 2))
    good = np.arange(12).reshape(3, 2, 2)
    assert pooling._indices(good, gradients) is good
    for kind in ("i1", "u8", ">i8", ">u2", "u1"):
        taken = pooling._indices(good.astype(kind), gradients)
        assert taken.dtype == np.int64 and taken.dtype.isnative and taken.flags.c_contiguous and (taken == good).all()
    strided = pooling._indices(np.repeat(good, 2, axis=-1)[..., ::2], gradients)
    assert strided.flags.c_contiguous and (strided == good).all()
    largest = np.full((3, 2, 2), 2**63 - 1, np.uint64)
    assert (pooling._indices(largest, gradients) == 2**63 - 1).all()
    with pytest.raises(ValueError, match=r"^indices must be positions in a plane, or -1; got 9223372036854775808$"):
        pooling._indices(largest + np.uint64(1), gradients)


def test_the_sides_of_a_padding():
    for padding in (((1, 1),), ((1, 1), (1, 1), (1, 1))):
        for call in (fastml.max_pool2d, fastml.avg_pool2d):
            with pytest.raises(ValueError, match=r"^padding must be an integer or two of them, got \d values$"):
                call(IMAGES, 3, padding=padding)
    for padding in (((1, 1), 1), (1, (1, 1))):
        with pytest.raises(ValueError, match=r"^padding must be an integer, \(vertical, horizontal\) or "):
            fastml.max_pool2d(IMAGES, 3, padding=padding)
    assert fastml.max_pool2d(IMAGES, 3, 1, ((1, 2), (0, 2))).shape == (2, 4, 6, 6)
    assert fastml.max_pool2d(IMAGES, 3, 1, ((4, 0), (0, 0)), 2).shape == (2, 4, 5, 2)
    with pytest.raises(ValueError, match=r"^padding must be less than the dilated kernel \(5\) on a side"):
        fastml.max_pool2d(IMAGES, 3, 1, ((5, 0), (0, 0)), 2)
