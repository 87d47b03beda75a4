"""Variables held still, whole or in part: their bits, their slots, and what it costs."""

from typing import Any

import autograd.numpy as anp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optimizers import DTYPES, OPTIMIZERS, SOME_OPTIMIZERS, normal, same

import numclip as nc

Array = np.ndarray[Any, np.dtype[Any]]

for_every_optimizer = pytest.mark.parametrize(
    "make", [row.make for row in OPTIMIZERS.values()], ids=OPTIMIZERS
)
STEPS = 3


def state_of(optimizer: Any, variable: nc.Variable) -> list[Array]:
    slots = [optimizer.get_slot(variable, name).value for name in optimizer.get_slot_names()]
    return [variable.value, *slots]


@for_every_optimizer
def test_a_frozen_variable_keeps_its_bits_and_gets_no_slots(make: Any) -> None:
    frozen, other = nc.Variable(normal(5), trainable=False), nc.Variable(normal(5))
    before = frozen.value.tobytes()
    optimizer = make()
    optimizer.apply_gradients([(normal(5), frozen), (normal(5), other)])
    assert frozen.value.tobytes() == before
    assert all(optimizer.get_slot(frozen, name) is None for name in optimizer.get_slot_names())


@for_every_optimizer
def test_a_variable_that_thaws_goes_on(make: Any) -> None:
    variable, other = nc.Variable(normal(5)), nc.Variable(normal(5))
    optimizer = make()
    optimizer.apply_gradients([(normal(5, seed=1), variable), (normal(5), other)])
    before = [array.tobytes() for array in state_of(optimizer, variable)]
    variable.trainable = False
    optimizer.apply_gradients([(normal(5, seed=2), variable), (normal(5), other)])
    assert [array.tobytes() for array in state_of(optimizer, variable)] == before
    variable.trainable = True
    optimizer.apply_gradients([(normal(5, seed=3), variable), (normal(5), other)])
    assert variable.value.tobytes() != before[0]


def test_no_gradient_is_computed_for_a_frozen_variable() -> None:
    x, y = nc.Variable(2.0, trainable=False), nc.Variable(3.0)
    pairs = nc.train.AdamOptimizer().compute_gradients(lambda: x * y, [x, y])
    assert pairs == [(None, x), (2.0, y)]
    # `gradients` computes what it is asked for.
    assert nc.gradients(lambda: x * y, [x, y]) == [3.0, 2.0]


def test_a_frozen_variable_has_no_part_in_the_norm() -> None:
    frozen, other = nc.Variable(np.zeros(2), trainable=False), nc.Variable(np.zeros(2))
    optimizer = nc.train.GradientDescentOptimizer(1.0, global_clipnorm=1.0)
    gradient = np.array([3.0, 4.0])
    result = optimizer.apply_gradients([(gradient * np.nan, frozen), (gradient, other)])
    assert result.global_norm == 5.0


def test_to_freeze_all_is_refused() -> None:
    variable = nc.Variable(np.zeros(2), trainable=False, name="w")
    with pytest.raises(ValueError, match=r"no gradient for any trainable variable of .*'w'"):
        nc.train.AdamOptimizer().apply_gradients([(np.ones(2), variable)])
    assert variable.value.tolist() == [0.0, 0.0]


def test_minimize_leaves_frozen_variables() -> None:
    x, y = nc.Variable(2.0, trainable=False), nc.Variable(3.0)
    nc.train.GradientDescentOptimizer(0.5).minimize(lambda: x * y + anp.sum(y**2))
    assert x.value == 2.0
    assert y.value == -1.0


MASKS = {
    "elements": np.random.default_rng(0).random((6, 4)) < 0.5,
    "rows": np.array([True, False, True, True, False, False]),
    "nothing": np.zeros((6, 4), bool),
    "everything": np.ones(6, bool),
}


@for_every_optimizer
@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_a_mask_is_as_slicing_by_hand(make: Any, mask: Array) -> None:
    dtype = np.float32
    start = normal((6, 4), dtype)
    masked = nc.Variable(start.copy(), update_mask=mask)
    cut_out = nc.Variable(start[mask])
    other = [nc.Variable(np.zeros(2, dtype)) for _ in range(2)]
    optimizers = [make(), make()]
    for step in range(STEPS):
        gradient, rest = normal((6, 4), dtype, step), np.ones(2, dtype)
        optimizers[0].apply_gradients([(gradient, masked), (rest, other[0])])
        optimizers[1].apply_gradients([(gradient[mask], cut_out), (rest, other[1])])
    found, expected = state_of(optimizers[0], masked), state_of(optimizers[1], cut_out)
    assert all(x[mask].tobytes() == y.tobytes() for x, y in zip(found, expected, strict=True))
    assert masked.value[~mask].tobytes() == start[~mask].tobytes()
    for name, slot in zip(optimizers[0].get_slot_names(), found[1:], strict=True):
        initial = make()._initial_slot(name)
        assert np.all(slot[~mask] == dtype(initial))


@pytest.mark.parametrize(
    ("make", "dtype"),
    [
        pytest.param(row.make, dtype, id=f"{name}-{np.dtype(dtype).name}")
        for name, row in OPTIMIZERS.items()
        for dtype in (DTYPES if name in SOME_OPTIMIZERS else [np.float32])
    ],
)
def test_a_mask_and_a_sparse_gradient(make: Any, dtype: Any) -> None:
    """Rows that are masked are as they were; the others as those of a variable without a mask."""
    start = normal((6, 4), dtype)
    mask = MASKS["elements"]
    masked, free = nc.Variable(start.copy(), update_mask=mask), nc.Variable(start.copy())
    optimizers = [make(), make()]
    for step in range(STEPS):
        gradient = nc.IndexedSlices(normal((5, 4), dtype, step), [4, 0, 4, 2, 1])
        optimizers[0].apply_gradients([(gradient, masked)])
        optimizers[1].apply_gradients([(gradient, free)])
    found, expected = state_of(optimizers[0], masked), state_of(optimizers[1], free)
    assert all(x[mask].tobytes() == y[mask].tobytes() for x, y in zip(found, expected, strict=True))
    assert masked.value[~mask].tobytes() == start[~mask].tobytes()


@for_every_optimizer
def test_a_mask_of_rows_and_a_sparse_gradient_are_as_slicing_by_hand(make: Any) -> None:
    start, mask = normal((6, 4), np.float32), MASKS["rows"]
    masked, cut_out = nc.Variable(start.copy(), update_mask=mask), nc.Variable(start[mask])
    place = np.cumsum(mask) - 1  # where a row is among those that are kept
    optimizers = [make(), make()]
    for step in range(STEPS):
        values, indices = normal((7, 4), np.float32, step), np.array([4, 0, 3, 2, 1, 0, 3])
        kept = mask[indices]
        optimizers[0].apply_gradients([(nc.IndexedSlices(values, indices), masked)])
        optimizers[1].apply_gradients(
            [(nc.IndexedSlices(values[kept], place[indices[kept]]), cut_out)]
        )
    found, expected = state_of(optimizers[0], masked), state_of(optimizers[1], cut_out)
    assert all(same(x[mask], y) for x, y in zip(found, expected, strict=True))
    assert same(masked.value[~mask], start[~mask])


@pytest.mark.parametrize("is_sparse", [False, True])
def test_a_norm_is_of_what_is_updated(is_sparse: bool) -> None:
    mask = np.array([True, False, True])
    variable = nc.Variable(np.zeros((3, 2)), update_mask=mask)
    optimizer = nc.train.GradientDescentOptimizer(1.0, global_clipnorm=1.0, nonfinite="raise")
    dense = np.array([[3.0, 0.0], [np.nan, np.inf], [0.0, 4.0]])
    gradient = nc.IndexedSlices(dense, [0, 1, 2]) if is_sparse else dense
    assert optimizer.apply_gradients([(gradient, variable)]).global_norm == 5.0
    np.testing.assert_allclose(variable.value, [[-0.6, 0.0], [0.0, 0.0], [0.0, -0.8]], rtol=1e-12)
    assert np.isnan(dense[1, 0])


def test_masks_bounds_and_free_variables_in_one_step() -> None:
    shape = (5, 3)
    free, masked = nc.Variable(normal(shape)), nc.Variable(normal(shape), update_mask=[True] * 5)
    bounded = nc.Variable(
        normal(shape), constraint=(-0.1, 0.1), update_mask=[False, True] * 2 + [True]
    )
    optimizer = nc.train.AdamOptimizer(0.1)
    gradient = normal(shape, seed=1)
    before = bounded.value.copy()
    optimizer.apply_gradients([(gradient, each) for each in (bounded, masked, free)])
    assert masked.value.tobytes() == free.value.tobytes()
    expected = np.clip(free.value, -0.1, 0.1)
    expected[[0, 2]] = before[[0, 2]]
    assert bounded.value.tobytes() == expected.tobytes()


def test_a_mask_is_copied() -> None:
    mask = np.array([True, False])
    variable = nc.Variable([0.0, 0.0], update_mask=mask)
    mask[:] = True
    nc.train.GradientDescentOptimizer(1.0).apply_gradients([(np.ones(2), variable)])
    assert variable.value.tolist() == [-1.0, 0.0]
    assert variable.update_mask.tolist() == [True, False]


@pytest.mark.parametrize("threads", [1, 2])
def test_large_masks_on_any_number_of_threads(threads: int) -> None:
    shape = (1 << 10, 100)
    mask = np.random.default_rng(1).random(shape) < 0.5
    variable, before = nc.Variable(normal(shape), update_mask=mask), normal(shape)
    gradient = normal(shape, seed=2)
    used = nc.get_num_threads()
    nc.set_num_threads(threads)
    try:
        nc.train.GradientDescentOptimizer(0.5).apply_gradients([(gradient, variable)])
    finally:
        nc.set_num_threads(used)
    expected = np.where(mask, before - gradient * 0.5, before)
    assert variable.value.tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    ("mask", "error", "message"),
    [
        ([True], ValueError, r"`update_mask` must be of shape \(2, 3\) or of length \(2,\)"),
        (np.ones((3, 2), bool), ValueError, "`update_mask` must be of shape"),
        (np.ones(3, bool), ValueError, "`update_mask` must be of shape"),
        ([1, 0], TypeError, "`update_mask` must be booleans"),
        ("all", TypeError, "`update_mask` must be booleans"),
    ],
)
def test_masks_refused(mask: Any, error: type[Exception], message: str) -> None:
    array = np.zeros((2, 3))
    with pytest.raises(error, match=message):
        nc.Variable(array, update_mask=mask)
    assert not array.any()


SHAPES = [(), (1,), (7,), (3, 4), (2, 3, 2), (0, 3)]
any_optimizer = st.sampled_from(list(OPTIMIZERS)).map(lambda name: OPTIMIZERS[name].make)
any_dtype = st.sampled_from(DTYPES)


@given(
    any_optimizer,
    any_dtype,
    st.lists(st.tuples(st.sampled_from(SHAPES), st.booleans()), max_size=6),
)
def test_any_subset_can_be_frozen(
    make: Any, dtype: Any, drawn: list[tuple[tuple[int, ...], bool]]
) -> None:
    """Frozen variables keep their bits; the others are as those of an optimizer of them alone."""
    cases = [((5,), True), *drawn]  # as one of them has to be updated
    starts = [normal(shape, dtype, seed) for seed, (shape, _) in enumerate(cases)]
    found = [
        nc.Variable(start.copy(), trainable=trainable)
        for start, (_, trainable) in zip(starts, cases, strict=True)
    ]
    alone = [
        nc.Variable(start.copy())
        for start, (_, trainable) in zip(starts, cases, strict=True)
        if trainable
    ]
    optimizers = [make(), make()]
    for step in range(STEPS):
        gradients = [normal(v.shape, dtype, 10 + step + i) for i, v in enumerate(found)]
        live = [g for g, v in zip(gradients, found, strict=True) if v.trainable]
        optimizers[0].apply_gradients(zip(gradients, found, strict=True))
        optimizers[1].apply_gradients(zip(live, alone, strict=True))
    expected = iter(alone)
    for variable, start in zip(found, starts, strict=True):
        if variable.trainable:
            ours, theirs = state_of(optimizers[0], variable), next(expected)
            assert all(map(same, ours, state_of(optimizers[1], theirs)))
        else:
            assert same(variable.value, start)
            slots = [optimizers[0].get_slot(variable, n) for n in optimizers[0].get_slot_names()]
            assert slots == [None] * len(slots)


@given(any_optimizer, any_dtype, st.sampled_from([s for s in SHAPES if s]), st.data())
def test_any_mask_is_as_slicing_by_hand(
    make: Any, dtype: Any, shape: tuple[int, ...], data: st.DataObject
) -> None:
    of_rows = data.draw(st.booleans())
    size = shape[0] if of_rows else int(np.prod(shape))
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=size, max_size=size)), bool)
    mask = mask if of_rows else mask.reshape(shape)
    start = normal(shape, dtype)
    masked, cut_out = nc.Variable(start.copy(), update_mask=mask), nc.Variable(start[mask])
    optimizers = [make(), make()]
    for step in range(STEPS):
        gradient = normal(shape, dtype, 1 + step)
        optimizers[0].apply_gradients([(gradient, masked)])
        optimizers[1].apply_gradients([(gradient[mask], cut_out)])
    found, expected = state_of(optimizers[0], masked), state_of(optimizers[1], cut_out)
    assert all(same(x[mask], y) for x, y in zip(found, expected, strict=True))
    assert same(masked.value[~mask], start[~mask])
    for name, slot in zip(optimizers[0].get_slot_names(), found[1:], strict=True):
        assert np.all(slot[~mask] == dtype(optimizers[0]._initial_slot(name)))
