"""Deliberate differences from TensorFlow: a test for each row of the table, in its order."""

import re
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from optimizers import OPTIMIZERS, Row, for_every_optimizer

import numclip as nc

Array = np.ndarray[Any, np.dtype[Any]]
Clip = Callable[[Any, Any], Any]

DTYPES = [np.float16, ml_dtypes.bfloat16, np.float32, np.float64]
# Limits c where TensorFlow's c * (1/c) is not 1, with some where it is.
LIMITS = [0.21, 0.42, 0.77, 0.84, 0.85, 1.0, 3.0]


def clip_by_global_norm(t: Any, clip_norm: Any) -> Any:
    return nc.clip_by_global_norm([t], clip_norm)[0][0]


CLIPS: dict[str, Clip] = {
    "clip_by_norm": nc.clip_by_norm,
    "clip_by_average_norm": nc.clip_by_average_norm,
    "clip_by_global_norm": clip_by_global_norm,
}
by_every_clip = pytest.mark.parametrize("clip", CLIPS.values(), ids=CLIPS)
of_every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: np.dtype(dtype).name)


def normal(size: int, dtype: Any, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(size).astype(dtype)


def norm_limited_by(clip: Clip, clipped: Any) -> np.float64:
    """Return what the clip holds to its limit."""
    norm = nc.global_norm([clipped])
    return norm / clipped.size if clip is nc.clip_by_average_norm else norm


def is_same(first: Array, second: Array) -> bool:
    return first.dtype == second.dtype and first.tobytes() == second.tobytes()


@of_every_dtype
@by_every_clip
@pytest.mark.parametrize("factor", [1.0, 1.5], ids=["at the limit", "below the limit"])
def test_not_over_the_limit(clip: Clip, dtype: Any, factor: float) -> None:
    t = normal(999, dtype)
    assert is_same(clip(t, norm_limited_by(clip, t) * factor), t)


@of_every_dtype
@by_every_clip
def test_over_the_limit(clip: Clip, dtype: Any) -> None:
    for seed, limit in enumerate(LIMITS):
        t = normal(301, dtype, seed) * dtype(50)
        average = limit / t.size if clip is nc.clip_by_average_norm else limit
        clipped = clip(t, average)
        assert 0.99 * average < norm_limited_by(clip, clipped) <= average
        assert is_same(clip(clipped, average), clipped)


@of_every_dtype
def test_over_the_limit_with_use_norm(dtype: Any) -> None:
    for limit in LIMITS:
        t = normal(301, dtype)
        use_norm = 7.0
        (clipped,), _ = nc.clip_by_global_norm([t], limit, use_norm=use_norm)
        exact = limit / use_norm * nc.global_norm([t])
        assert 0.99 * exact < nc.global_norm([clipped]) <= exact


@of_every_dtype
def test_the_norm(dtype: Any) -> None:
    t = np.array([3, 4], dtype)
    assert type(nc.global_norm([t])) is np.float64
    assert type(nc.clip_by_global_norm([t], 1.0)[1]) is np.float64
    # In the dtype itself, 1 would be lost in the sum.
    tiny = np.array([1, 2.0**-7], dtype)
    assert nc.global_norm([tiny]) == np.sqrt(1 + 2.0**-14)


@by_every_clip
@pytest.mark.parametrize(
    ("dtype", "scale"),
    [
        (np.float16, 100.0),
        (ml_dtypes.bfloat16, 2.0**100),
        (np.float32, 1e20),
        (np.float32, 1e-30),
        (np.float64, 1e200),
        (np.float64, 1e-200),
    ],
)
def test_finite_values_whose_squares_overflow_or_underflow(
    clip: Clip, dtype: Any, scale: float
) -> None:
    t = np.array([3, 4]).astype(dtype) * dtype(scale)
    limit = scale / 2 if clip is nc.clip_by_average_norm else scale
    expected = np.array([0.6, 0.8]) * scale
    tolerance = {2: 2.0**-7, 4: 1e-6, 8: 1e-14}[t.dtype.itemsize]
    np.testing.assert_allclose(clip(t, limit).astype(float), expected, rtol=tolerance)
    np.testing.assert_allclose(nc.global_norm([t]), 5 * scale, rtol=tolerance)


@of_every_dtype
@by_every_clip
@pytest.mark.parametrize("clip_norm", [np.inf, 1e39, 8.6e37, np.float32(np.inf), 10**400])
def test_clip_norm_infinite_or_very_large(clip: Clip, dtype: Any, clip_norm: Any) -> None:
    t = normal(100, dtype)
    assert is_same(clip(t, clip_norm), t)


@of_every_dtype
@by_every_clip
def test_clip_norm_zero_with_zero_norm(clip: Clip, dtype: Any) -> None:
    zeros = np.zeros(5, dtype)
    assert is_same(clip(zeros, 0.0), zeros)


@by_every_clip
@pytest.mark.parametrize("clip_norm", [-1.0, -5e-324, np.nan, np.float32(np.nan)])
def test_clip_norm_negative_or_nan(clip: Clip, clip_norm: float) -> None:
    with pytest.raises(ValueError, match="`clip_norm` must not be negative or NaN"):
        clip(np.ones(3), clip_norm)


def test_clip_norm_an_array() -> None:
    t = np.array([[3.0, 4.0], [0.3, 0.4]])
    limits = np.array([[1.0], [0.25]])
    np.testing.assert_allclose(nc.clip_by_norm(t, limits, axes=1), [[0.6, 0.8], [0.15, 0.2]])
    np.testing.assert_allclose(nc.clip_by_norm(t, [[6.0]]), t)
    for shape in [(2, 2), (2, 1), (2,), (1, 1, 1)]:
        with pytest.raises(ValueError, match="`clip_norm` must broadcast"):
            nc.clip_by_norm(t, np.ones(shape))
    for clip in (nc.clip_by_average_norm, clip_by_global_norm):
        with pytest.raises(ValueError, match="`clip_norm` must be a scalar"):
            clip(t, np.ones(1))


@of_every_dtype
@pytest.mark.parametrize("infinity", [np.inf, -np.inf])
def test_clip_by_norm_with_an_infinite_element(dtype: Any, infinity: float) -> None:
    t = np.array([[infinity, 1, 0], [3, 0, 4]], dtype)
    assert np.isnan(nc.clip_by_norm(t, 1.0)).all()
    assert np.isnan(clip_by_global_norm(t, 1.0)).all()
    by_rows = nc.clip_by_norm(t, 5.0, axes=1)
    assert np.isnan(by_rows[0]).all()
    assert is_same(by_rows[1], t[1])


def test_scalar_minimum_above_maximum() -> None:
    t = np.array([-5.0, 0.0, 5.0])
    with pytest.raises(ValueError, match="`clip_value_min` must not be above `clip_value_max`"):
        nc.clip_by_value(t, 3.0, -3.0)
    np.testing.assert_array_equal(nc.clip_by_value(t, np.full(3, 3.0), -3.0), [3.0, 3.0, 3.0])
    np.testing.assert_array_equal(nc.clip_by_value(t, np.nan, -3.0), np.full(3, np.nan))
    np.testing.assert_array_equal(nc.clip_by_value(t, 3.0, np.nan), np.full(3, np.nan))


@pytest.mark.parametrize(
    ("dtype", "bounds"), [(np.uint8, (-2, 5)), (np.uint8, (0, 256)), (np.int16, (0, 2**15))]
)
def test_integer_tensor_and_a_bound_out_of_its_range(dtype: Any, bounds: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"`clip_value_m.*` must be within"):
        nc.clip_by_value(np.array([1, 2], dtype), *bounds)


def test_mixed_float_dtypes_in_one_list() -> None:
    t_list = [np.array([2], dtype) for dtype in DTYPES]
    clipped, norm = nc.clip_by_global_norm(t_list, 2.0)
    assert norm == nc.global_norm(t_list) == 4.0
    assert [each.dtype for each in clipped] == [each.dtype for each in t_list]
    np.testing.assert_allclose([float(each[0]) for each in clipped], 1.0, rtol=2.0**-7)


def test_a_dict_of_gradients() -> None:
    clipped, norm = nc.clip_by_global_norm({"b": np.array([3.0]), "a": None, 1: [4.0]}, 2.5)
    assert norm == nc.global_norm({"b": np.array([3.0]), "a": None, 1: [4.0]}) == 5.0
    assert list(clipped) == ["b", "a", 1]
    assert clipped["a"] is None
    np.testing.assert_allclose([clipped["b"][0], clipped[1][0]], [1.5, 2.0])


@of_every_dtype
def test_average_norm(dtype: Any) -> None:
    t = np.array([[3, 0], [0, 4]], dtype)
    clipped = nc.clip_by_average_norm(t, 0.5)
    assert clipped.dtype == t.dtype
    np.testing.assert_allclose(clipped.astype(float), t.astype(float) * 0.4, rtol=2.0**-7)
    # Of eight numbers, six of which are not held: their norm is 4 at most.
    slices = nc.IndexedSlices(t[1:], np.array([2]), (4, 2))
    sparse = nc.clip_by_average_norm(slices, 0.25)
    assert isinstance(sparse, nc.IndexedSlices)
    assert (sparse.indices, sparse.dense_shape) == (slices.indices, (4, 2))
    np.testing.assert_allclose(sparse.values.astype(float), [[0.0, 2.0]], rtol=2.0**-7)
    with pytest.raises(ValueError, match=r"`t.dense_shape` must be given"):
        nc.clip_by_average_norm(nc.IndexedSlices(t, np.array([0, 1])), 0.5)


def test_use_norm_a_python_float() -> None:
    clipped, norm = nc.clip_by_global_norm([np.array([3.0, 4.0])], 1.0, use_norm=10.0)
    np.testing.assert_allclose(clipped[0], [0.3, 0.4])
    assert type(norm) is float
    assert norm == 10.0


def test_duplicates_summed() -> None:
    # In float32 the ones would be lost.
    values = np.array([[2.0**25], [5.0], [1.0], [1.0], [-(2.0**25)]], np.float32)
    slices = nc.IndexedSlices(values, np.array([4, 2, 4, 4, 4]), (6, 1))
    summed = slices.coalesce()
    assert summed.values.dtype == np.float32
    assert summed.indices.tolist() == [4, 2]
    assert summed.values.tolist() == [[2.0], [5.0]]
    assert slices.to_dense().ravel().tolist() == [0.0, 0.0, 5.0, 0.0, 2.0, 0.0]


def test_negative_index_of_a_dense_array() -> None:
    with pytest.raises(IndexError, match=r"`self.indices` must not be negative, got -1"):
        nc.IndexedSlices([[1.0], [5.0]], [0, -1], (3, 1)).to_dense()


def test_limit_of_rows_that_share_an_index() -> None:
    gradient = nc.IndexedSlices(np.array([[3.0], [4.0]]), np.array([1, 1]), (3, 1))
    (clipped,), norm = nc.clip_by_global_norm([gradient], 1.0)
    assert norm == 5.0
    np.testing.assert_allclose(clipped.to_dense().ravel(), [0.0, 1.4, 0.0])
    x = nc.Variable(np.zeros((3, 1)))
    optimizer = nc.train.GradientDescentOptimizer(1.0, global_clipnorm=1.0)
    assert optimizer.apply_gradients([(gradient, x)]).global_norm == 7.0
    np.testing.assert_allclose(x.value.ravel(), [0.0, -1.0, 0.0])


@pytest.mark.parametrize("row", [row for row in OPTIMIZERS.values() if row.sums_duplicates])
def test_duplicates_summed_by_optimizers(row: Row) -> None:
    values = np.array([[2.0**25], [5.0], [1.0], [1.0], [-(2.0**25)]], np.float32)
    slices = nc.IndexedSlices(values, np.array([4, 2, 4, 4, 4]), (6, 1))
    variables = [nc.Variable(np.ones((6, 1), np.float32)) for _ in range(2)]
    for gradient, variable in zip((slices, slices.to_dense()), variables, strict=True):
        row.make().apply_gradients([(gradient, variable)])
    sparse, dense = (variable.value[[2, 4]] for variable in variables)
    np.testing.assert_allclose(sparse, dense, rtol=1e-6)
    # Squared one by one they would hardly step: their squares sum to 2**51.
    assert np.all(np.abs(sparse - 1) > 1e-3)


def test_float64_variables_and_python_float_hyperparameters() -> None:
    gradient = np.array([1.0, 3.0])
    x = nc.Variable(np.zeros(2))
    nc.train.GradientDescentOptimizer(0.1).apply_gradients([(gradient, x)])
    assert x.value.tolist() == (-gradient * 0.1).tolist()
    assert x.value.tolist() != (-gradient * float(np.float32(0.1))).tolist()
    y = nc.Variable(np.zeros(2))
    optimizer = nc.train.AdamOptimizer(0.1, beta1=0.9, beta2=0.999)
    optimizer.apply_gradients([(gradient, y)])
    m, v = (np.asarray(optimizer.get_slot(y, name)) for name in "mv")
    assert m.tolist() == (gradient * (1 - 0.9)).tolist()
    assert v.tolist() == (gradient * gradient * (1 - 0.999)).tolist()


# TensorFlow's last four take no function.
WITH_A_RATE: dict[str, Callable[[Any], nc.train.Optimizer]] = {
    "gradient descent": nc.train.GradientDescentOptimizer,
    "momentum": lambda rate: nc.train.MomentumOptimizer(rate, 0.9),
    "adagrad": nc.train.AdagradOptimizer,
    "adadelta": nc.train.AdadeltaOptimizer,
    "adam": nc.train.AdamOptimizer,
    "adamw": nc.train.AdamWOptimizer,
    "rmsprop": nc.train.RMSPropOptimizer,
    "ftrl": nc.train.FtrlOptimizer,
    "proximal gradient descent": nc.train.ProximalGradientDescentOptimizer,
    "proximal adagrad": nc.train.ProximalAdagradOptimizer,
    "adagrad da": lambda rate: nc.train.AdagradDAOptimizer(rate, nc.Variable(0)),
}


@pytest.mark.parametrize("make", WITH_A_RATE.values(), ids=WITH_A_RATE)
def test_a_function_as_the_rate_of_every_optimizer(
    make: Callable[[Any], nc.train.Optimizer],
) -> None:
    x, rates = nc.Variable([1.0, 2.0], name="x"), [0.5, 0.25]
    following = make(lambda: rates[0])
    state = None
    for _ in range(2):
        expected, fixed = nc.Variable(x.value.copy(), name="x"), make(rates[0])
        if state is not None:
            fixed.load_state_dict(state)
        for optimizer, variable in ((following, x), (fixed, expected)):
            optimizer.apply_gradients([(np.array([1.0, -3.0]), variable)])
        assert x.value.tolist() == expected.value.tolist()
        state = following.state_dict()
        rates.pop(0)


@for_every_optimizer
def test_gradient_dtype_differs_from_its_variables(row: Row) -> None:
    x = nc.Variable(np.ones(2, np.float32), name="layer/weights")
    for gradient in (np.ones(2), nc.IndexedSlices(np.ones(2), np.array([0, 1]))):
        with pytest.raises(TypeError, match=r"float32, got float64 for .*layer/weights"):
            row.make().apply_gradients([(gradient, x)])
    assert x.value.tolist() == [1.0, 1.0]


@for_every_optimizer
@pytest.mark.parametrize(
    ("indices", "error"),
    [([0, 3], IndexError), ([0, -1], IndexError), ([0], ValueError), ([[0, 1]], ValueError)],
)
def test_bad_sparse_index(row: Row, indices: Any, error: type[Exception]) -> None:
    x = nc.Variable(np.ones((3, 2)))
    made = row.make()
    made.apply_gradients([(np.ones((3, 2)), x)])
    before = [each.value.tobytes() for each in (x, *made.variables())]
    with pytest.raises(error, match=r"`grads_and_vars\[0\]\[0\].indices`"):
        made.apply_gradients([(nc.IndexedSlices(np.ones((2, 2)), np.array(indices)), x)])
    assert [each.value.tobytes() for each in (x, *made.variables())] == before


NAMES = ["layer1/weights", "layer1/bias", "layer10/weights", "layer1", "net/layer1", None]


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ("layer1", ["layer1/weights", "layer1/bias", "layer1"]),
        ("layer1/", ["layer1/weights", "layer1/bias", "layer1"]),
        ("layer", []),
        ("Layer1", []),
        ("net", ["net/layer1"]),
        ("", NAMES[:-1]),
        (None, NAMES),
        (re.compile("layer1"), NAMES[:4]),
        (re.compile("layer1$"), ["layer1"]),
        (re.compile(".*1/w"), ["layer1/weights"]),
    ],
)
def test_scope_is_of_whole_components(scope: Any, expected: list[str | None]) -> None:
    variables = [nc.Variable([0.0], name=name) for name in NAMES]
    frozen = nc.Variable([0.0], trainable=False, name="layer1/frozen")
    found = nc.trainable_variables([*variables, frozen], scope)
    assert [variable.name for variable in found] == expected


@pytest.mark.parametrize(
    ("variables", "scope", "named"), [([], 3, "`scope`"), ([1.0], None, "`variables[0]`")]
)
def test_scope_of_a_wrong_kind(variables: Any, scope: Any, named: str) -> None:
    with pytest.raises(TypeError, match=re.escape(named)):
        nc.trainable_variables(variables, scope)


DECAYS = {
    "exponential_decay": nc.train.exponential_decay,
    "natural_exp_decay": nc.train.natural_exp_decay,
    "inverse_time_decay": nc.train.inverse_time_decay,
}


@pytest.mark.parametrize("decay", DECAYS.values(), ids=DECAYS)
@pytest.mark.parametrize("staircase", [False, True])
def test_no_steps_of_decay_at_step_0(decay: Any, staircase: bool) -> None:
    # TensorFlow gives NaN.
    assert decay(0.5, 0, 0, 0.5, staircase) == 0.5
    assert decay(0.5, 1, 0, 0.5, staircase) == 0.0


@pytest.mark.parametrize("decay", DECAYS.values(), ids=DECAYS)
def test_negative_steps_of_decay(decay: Any) -> None:
    # TensorFlow lets the rate rise.
    with pytest.raises(ValueError, match=r"`decay_steps` must not be negative.*-1"):
        decay(0.5, 1, -1, 0.5)


def test_restarts_that_come_ever_sooner() -> None:
    # TensorFlow gives NaN from step 20 on.
    with pytest.raises(ValueError, match=r"`t_mul` must be .*1.*0\.5"):
        nc.train.cosine_decay_restarts(0.5, 1, 10, t_mul=0.5)


def test_piecewise_constant_of_mixed_dtypes() -> None:
    # TensorFlow raises ValueError, for no boundaries IndexError.
    x = np.array(3, np.int32)
    assert nc.train.piecewise_constant(x, [2.5, 3.5], [1, 0.5, np.float32(0.25)])() == 0.5
    assert nc.train.piecewise_constant(np.float32(4), [2, 3.5], [1, 0.5, 0.25]) == 0.25
    assert nc.train.piecewise_constant(x, [], [0.5])() == 0.5
