"""A history has the norms that the steps took, and changes none of their bits."""

from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optimizers import OPTIMIZERS, Array, for_every_dtype, normal, same

import numclip as nc

History = nc.GradientHistory
Slices = nc.IndexedSlices
Descent, Adam, Grouped = (
    nc.train.GradientDescentOptimizer,
    nc.train.AdamOptimizer,
    nc.train.GroupedOptimizer,
)


def coalesced(gradient: Any) -> Any:
    return gradient.coalesce() if isinstance(gradient, Slices) else gradient


def norm_of(gradient: Any) -> Any:
    return nc.global_norm([coalesced(gradient)])


@for_every_dtype
@pytest.mark.parametrize("factor", [1.0, 1e-3])
def test_norms_are_those_of_global_norm_to_the_bit(dtype: Any, factor: float) -> None:
    shapes = [(), (0,), (1,), (4095,), (4097,), (70, 1000), (3, 5)]
    gradients = [(normal(shape, dtype, 3) * dtype(factor)).astype(dtype) for shape in shapes]
    history = History()
    optimizer = Descent(0.1, global_clipnorm=0.5, history=history)
    result = optimizer.apply_gradients(
        [(g, nc.Variable(np.zeros(g.shape, dtype))) for g in gradients]
    )
    assert history.norms.tolist() == [[norm_of(g) for g in gradients]]
    assert history.global_norms.tolist() == [result.global_norm] == [nc.global_norm(gradients)]


@pytest.mark.parametrize("magnitudes", [(1e300, 1.0), (1e-300, 1e-200), (1e200, 1e-200), (0.0,)])
def test_norms_whose_squares_leave_the_range(magnitudes: tuple[float, ...]) -> None:
    gradients = [np.array([3 * m, 4 * m]) for m in magnitudes]
    history = History()
    pairs = [(g, nc.Variable(np.zeros(2))) for g in gradients]
    Descent(0.0, history=history).apply_gradients(pairs)
    assert history.norms.tolist() == [[norm_of(g) for g in gradients]]
    np.testing.assert_allclose(history.norms, [[5 * m for m in magnitudes]], rtol=1e-15)


def test_norms_are_those_of_numpy() -> None:
    gradients = [normal((30, 20), np.float32, i) for i in range(4)]
    history = History()
    optimizer = Adam(history=history)
    variables = [nc.Variable(np.zeros((30, 20), np.float32)) for _ in gradients]
    for step in range(3):
        optimizer.apply_gradients(
            [(g * (step + 1), v) for g, v in zip(gradients, variables, strict=True)]
        )
    expected = [
        [np.linalg.norm((g * (step + 1)).astype(float)) for g in gradients] for step in range(3)
    ]
    np.testing.assert_allclose(history.norms, expected, rtol=1e-14)
    np.testing.assert_allclose(history.global_norms, np.linalg.norm(expected, axis=1), rtol=1e-14)
    assert history.steps.tolist() == [1, 2, 3]
    assert history.variables == variables


SHAPES = [(6, 3), (9, 2), (4,), (300,), ()]
CLIPPING: dict[str, dict[str, Any]] = {
    "no clipping": {},
    "clipvalue": {"clipvalue": 0.25},
    "clipnorm": {"clipnorm": 0.75},
    "global_clipnorm": {"global_clipnorm": 1.5},
    "in steps": {"global_clipnorm": 1e-300},
    "finite": {"nonfinite": "skip"},
}


def gradients_of(dtype: Any, seed: int) -> list[Any]:
    gradients: list[Any] = [normal(shape, dtype, seed + i) for i, shape in enumerate(SHAPES)]
    rows = np.random.default_rng(seed).integers(9, size=6)
    rows[:2] = 5
    gradients[1] = Slices(normal((6, 2), dtype, seed), rows)
    if seed == 20:
        gradients[2] = None
    return gradients


def variables_of(dtype: Any) -> list[nc.Variable]:
    options: list[dict[str, Any]] = [{} for _ in SHAPES]
    options[0] = {"update_mask": np.arange(18).reshape(6, 3) % 4 > 0}
    options[2] = {"constraint": (-0.5, 0.5)}
    options[3] = {"constraint": lambda x: x * x.dtype.type(0.5)}
    return [
        nc.Variable(normal(shape, dtype, 7), **each)
        for shape, each in zip(SHAPES, options, strict=True)
    ]


def held(optimizer: nc.train.Optimizer, variables: list[nc.Variable]) -> list[Array]:
    return [np.array(each) for each in (*variables, *optimizer.variables())]


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
@pytest.mark.parametrize("clipping", CLIPPING.values(), ids=CLIPPING)
@pytest.mark.parametrize("name", ["gradient descent", "adam", "adagrad"])
def test_a_history_changes_no_bit_of_a_step(
    name: str, clipping: dict[str, Any], dtype: Any
) -> None:
    found, expected = variables_of(dtype), variables_of(dtype)
    history = History(ratios_every=2)
    with_history = OPTIMIZERS[name].make(**clipping, history=history)
    without = OPTIMIZERS[name].make(**clipping)
    for seed in (10, 20, 30):
        gradients = gradients_of(dtype, seed)
        result = with_history.apply_gradients(zip(gradients, found, strict=True))
        without.apply_gradients(zip(gradients, expected, strict=True))
        pairs = zip(held(with_history, found), held(without, expected), strict=True)
        assert all(same(*each) for each in pairs)
        assert result.global_norm == history.global_norms[-1]
        # What the first variable's mask holds still has no part in it.
        masked = np.where(found[0].update_mask, gradients[0], dtype(0))
        given = [masked, *map(coalesced, gradients[1:])]
        assert result.global_norm == nc.global_norm(given)
        norms = [np.nan if each is None else norm_of(each) for each in given]
        np.testing.assert_array_equal(history.norms[-1], norms)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_takes_a_history(name: str) -> None:
    history = History()
    variable = nc.Variable(normal((3, 2), np.float32, 1))
    OPTIMIZERS[name].make(history=history).apply_gradients(
        [(np.ones((3, 2), np.float32), variable)]
    )
    assert history.norms.tolist() == [[norm_of(np.ones((3, 2)))]]


def test_without_limits_a_step_with_a_history_tells_the_norm() -> None:
    pairs = [(np.array([3.0, 4.0]), nc.Variable([0.0, 0.0]))]
    assert Descent(0.1).apply_gradients(pairs).global_norm is None
    result = Descent(0.1, history=History()).apply_gradients(pairs)
    assert (result.global_norm, result.scale, result.skipped) == (5, 1, False)


def test_scales_and_what_was_clipped() -> None:
    history, x = History(), nc.Variable([0.0, 0.0])
    optimizer = Descent(0.1, global_clipnorm=5.0, nonfinite="skip", history=history)
    results = [
        optimizer.apply_gradients([(np.array(gradient), x)])
        for gradient in ([6.0, 8.0], [3.0, 4.0], [np.nan, 1.0], [np.inf, 1.0])
    ]
    np.testing.assert_array_equal(history.scales, [result.scale for result in results])
    np.testing.assert_array_equal(history.global_norms, [result.global_norm for result in results])
    assert history.scales[:2].tolist() == [0.5, 1]
    assert history.clipped.tolist() == [True, False, False, True]
    assert history.skipped.tolist() == [False, False, True, True]
    assert history.steps.tolist() == [1, 2, 3, 4]
    assert repr(history) == "GradientHistory(4 steps of 1 variables, 2 clipped, 2 skipped)"


def test_a_limit_of_each_gradient() -> None:
    history, x, y = History(), nc.Variable([0.0, 0.0]), nc.Variable([0.0])
    optimizer = Descent(0.1, clipnorm=5.0, history=history)
    for last in (5.0, 6.0):
        optimizer.apply_gradients([(np.array([3.0, 4.0]), x), (np.array([last]), y)])
    assert history.clipped.tolist() == [False, True]
    assert history.scales.tolist() == [1, 1]


def test_variables_come_and_go() -> None:
    a, b, c = (nc.Variable(0.0, name=name) for name in ("a", None, "a"))
    history = History()
    optimizer = Descent(0.1, history=history)
    optimizer.apply_gradients([(2.0, a)])
    optimizer.apply_gradients([(3.0, b), (None, a), (1.0, c)])
    a.trainable = False
    optimizer.apply_gradients([(2.0, a), (-4.0, c)])
    assert history.names == ["a", "Variable", "a_1"]
    np.testing.assert_array_equal(
        history.norms, [[2, np.nan, np.nan], [np.nan, 3, 1], [np.nan, np.nan, 4]]
    )


def test_a_variable_given_twice_has_the_norm_of_both() -> None:
    x = nc.Variable(0.0)
    history = History(ratios_every=1)
    Descent(0.1, history=history).apply_gradients([(3.0, x), (4.0, x)])
    assert history.norms.tolist() == [[5]]
    assert history.ratios.tolist() == [[np.inf]]


def test_one_history_of_two_optimizers() -> None:
    x, y = nc.Variable(0.0, name="x"), nc.Variable(0.0, name="y")
    history = History()
    first, second = Descent(0.1, history=history), Adam(history=history)
    for _ in range(2):
        first.apply_gradients([(1.0, x)])
        second.apply_gradients([(2.0, y)])
    assert history.global_norms.tolist() == [1, 2, 1, 2]


@given(st.integers(1, 12), st.integers(0, 30))
def test_the_last_steps_are_kept(most: int, count: int) -> None:
    history, x = History(max_steps=most), nc.Variable(0.0)
    optimizer = Descent(0.1, history=history)
    for step in range(count):
        optimizer.apply_gradients([(step + 1.0, x)])
    kept = list(range(1, count + 1))[-most:]
    assert history.steps.tolist() == kept
    assert history.global_norms.tolist() == kept
    assert len(history) == len(kept)
    assert history.norms.shape == (len(kept), bool(count))


@pytest.mark.parametrize("every", [1, 2, 3])
@pytest.mark.parametrize("name", ["gradient descent", "adam", "adagrad"])
def test_ratios_are_those_of_numpy(name: str, every: int) -> None:
    history = History(ratios_every=every)
    optimizer = OPTIMIZERS[name].make(global_clipnorm=1.5, history=history)
    variables = variables_of(np.float64)
    for step, seed in enumerate((10, 30, 40, 50)):
        before = [np.array(each) for each in variables]
        optimizer.apply_gradients(zip(gradients_of(np.float64, seed), variables, strict=True))
        expected = [
            np.linalg.norm((each.value - old).ravel()) / np.linalg.norm(old.ravel())
            if step % every == 0
            else np.nan
            for each, old in zip(variables, before, strict=True)
        ]
        np.testing.assert_allclose(history.ratios[-1], expected, rtol=1e-12)


@for_every_dtype
def test_ratios_of_every_dtype_and_layout(dtype: Any) -> None:
    start = np.asfortranarray(normal((5, 40), dtype, 1))
    x = nc.Variable(start.copy(order="F"))
    history = History(ratios_every=1)
    Descent(0.5, history=history).apply_gradients([(normal((5, 40), dtype, 2), x)])
    exact = np.linalg.norm(x.value.astype(float) - start.astype(float))
    ratio = exact / np.linalg.norm(start.astype(float))
    np.testing.assert_allclose(
        history.ratios, [[ratio]], rtol=1e-2 if x.dtype.itemsize < 4 else 1e-6
    )


def test_a_skipped_step_has_no_ratio() -> None:
    history, x = History(ratios_every=1), nc.Variable([1.0])
    optimizer = Descent(0.5, nonfinite="skip", history=history)
    for number in (1.0, np.nan, 1.0):
        optimizer.apply_gradients([(np.array([number]), x)])
    np.testing.assert_array_equal(history.ratios, [[0.5], [np.nan], [1.0]])


def groups(**options: Any) -> tuple[list[nc.Variable], nc.train.GroupedOptimizer]:
    variables = [
        nc.Variable(normal((3, 2), np.float32, i), name=name) for i, name in enumerate("abcd")
    ]
    limit = (
        {} if "global_clipnorm" in options or "nonfinite" in options else {"global_clipnorm": 2.5}
    )
    optimizer = Grouped([(["d", "b"], Descent(0.1, **limit)), (["a", "c"], Adam(0.1))], **options)
    return variables, optimizer


@pytest.mark.parametrize("options", [{}, {"global_clipnorm": 1.0}, {"nonfinite": "skip"}])
def test_groups_tell_of_all_variables_in_the_order_given(options: dict[str, Any]) -> None:
    history = History(ratios_every=1)
    variables, grouped = groups(history=history, **options)
    others, alone = groups(**options)
    gradients = [normal((3, 2), np.float32, 10 + i) for i in range(4)]
    gradients[3] = Slices(gradients[3], [2, 0, 2])
    before = [each.value.copy() for each in variables]
    for seed in range(2):
        result = grouped.apply_gradients(zip(gradients, variables, strict=True))
        alone.apply_gradients(zip(gradients, others, strict=True))
        assert all(same(*each) for each in zip(variables, others, strict=True))
        if seed == 0:
            changes = [
                np.linalg.norm((each.value - old).astype(float)) / np.linalg.norm(old.astype(float))
                for each, old in zip(variables, before, strict=True)
            ]
            np.testing.assert_allclose(history.ratios[0], changes, rtol=1e-6)
    assert history.names == list("abcd")
    assert history.norms.tolist() == [[norm_of(g) for g in gradients]] * 2
    everything = nc.global_norm([coalesced(g) for g in gradients])
    if options:
        assert result.global_norm == everything
        assert history.global_norms.tolist() == [everything] * 2
        assert history.scales[0] == result.scale
    else:
        assert result.global_norm is None
        np.testing.assert_allclose(history.global_norms, everything, rtol=1e-14)
        of_group = nc.global_norm([gradients[1], coalesced(gradients[3])])
        assert history.scales.tolist() == [2.5 / of_group] * 2
    assert history.clipped.tolist() == [options != {"nonfinite": "skip"}] * 2


def test_a_group_that_skips_is_told() -> None:
    history = History()
    a, b = nc.Variable(0.0, name="a"), nc.Variable(0.0, name="b")
    optimizer = Grouped(
        [("a", Descent(0.1, nonfinite="skip")), ("b", Descent(0.1))], history=history
    )
    optimizer.apply_gradients([(np.nan, a), (1.0, b)])
    optimizer.apply_gradients([(1.0, a), (1.0, b)])
    assert history.skipped.tolist() == [True, False]


def refused_steps() -> dict[str, tuple[Callable[[], Any], type[Exception]]]:
    def fail(array: Any) -> Any:
        raise RuntimeError("no constraint today")

    x, kept = nc.Variable([1.0, 2.0]), nc.Variable([1.0, 2.0], constraint=fail)
    return {
        "another dtype": (lambda: [(np.ones(2, np.float32), x)], TypeError),
        "not finite": (lambda: [(np.array([1.0, np.nan]), x)], FloatingPointError),
        "a constraint that raises": (lambda: [(np.ones(2), kept)], RuntimeError),
    }


@pytest.mark.parametrize("label", refused_steps())
def test_a_step_that_raises_is_not_kept(label: str) -> None:
    make, error = refused_steps()[label]
    history = History(ratios_every=1)
    optimizer = Descent(0.1, nonfinite="raise", history=history)
    optimizer.apply_gradients([(np.array([3.0, 4.0]), nc.Variable([0.0, 0.0]))])
    before = history.norms.tolist(), history.names
    pairs = make()
    with pytest.raises(error):
        optimizer.apply_gradients(pairs)
    assert pairs[0][1].value.tolist() == [1, 2]
    assert (history.norms.tolist(), history.names) == before
    assert len(history) == 1


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: History(max_steps=0), ValueError, "`max_steps` must be 1 or more, got 0"),
        (
            lambda: History(max_steps=1.5),
            TypeError,
            "`max_steps` must be an integer, got float 1.5",
        ),
        (lambda: History(ratios_every=-1), ValueError, "`ratios_every` must be 1 or more, got -1"),
        (lambda: History(ratios_every=True), TypeError, "`ratios_every` must be an integer"),
        (lambda: Adam(history=[]), TypeError, "`history` must be a GradientHistory, got list []"),
        (
            lambda: Grouped([(None, Adam())], history={}),
            TypeError,
            "`history` must be a GradientHistory, got dict {}",
        ),
        (
            lambda: Grouped([(None, Adam(history=History()))]),
            ValueError,
            "`groups[0][1]` must have no `history`",
        ),
        (lambda: History().plot(), ValueError, "`self` must have a step to be drawn, got none"),
    ],
)
def test_what_is_refused(make: Callable[[], Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error) as raised:
        make()
    assert text in str(raised.value)


def test_an_empty_history() -> None:
    history = History()
    arrays = [history.steps, history.global_norms, history.scales, history.clipped]
    assert [array.size for array in (*arrays, history.skipped)] == [0] * 5
    assert history.norms.shape == history.ratios.shape == (0, 0)


def drawn(gradients: list[Any], **options: Any) -> Any:
    history = History(ratios_every=options.pop("ratios_every", None))
    optimizer = Descent(0.1, history=history, **options)
    variables = [nc.Variable(np.ones(3), name=f"layer{i}") for i in range(len(gradients[0]))]
    for each in gradients:
        optimizer.apply_gradients(zip(each, variables, strict=True))
    figure = history.plot()
    file = BytesIO()
    figure.savefig(file, format="png")
    assert file.getvalue().startswith(b"\x89PNG")
    return {axes.get_title(loc="left"): axes for axes in figure.axes if axes.get_title(loc="left")}


def test_a_plot_shows_the_history() -> None:
    gradients = [[np.full(3, step * 10.0**layer) for layer in range(3)] for step in range(1, 60)]
    axes = drawn(gradients, global_clipnorm=5_000.0, ratios_every=5)
    assert list(axes) == [
        "Norm of all gradients, before clipping",
        "Steps clipped, in percent",
        "Norm of each variable's gradient",
        "Norm of the update, by that of the variable",
    ]
    norms = axes["Norm of all gradients, before clipping"].lines[0]
    assert norms.get_xdata().tolist() == list(range(1, 60))
    np.testing.assert_allclose(norms.get_ydata(), [nc.global_norm(each) for each in gradients])
    shares = axes["Steps clipped, in percent"].lines[0].get_ydata()
    over = np.array([nc.global_norm(each) > 5_000 for each in gradients])
    assert over.any() and not over.all()
    assert shares[-1] == pytest.approx(100 * over[-20:].mean())
    assert shares[4] == pytest.approx(100 * over[:5].mean())
    (image,) = axes["Norm of each variable's gradient"].images
    expected = [[nc.global_norm([g]) for g in each] for each in gradients]
    np.testing.assert_allclose(image.get_array(), np.transpose(expected))
    names = [text.get_text() for text in axes["Norm of each variable's gradient"].get_yticklabels()]
    assert names == ["layer0", "layer1", "layer2"]
    ratios = axes["Norm of the update, by that of the variable"].lines
    assert ratios[0].get_xdata().tolist() == list(range(1, 60, 5))


@pytest.mark.parametrize(
    "numbers",
    [[0.0], [np.nan], [np.inf, 1.0], [1e308, 1e-308], [1e-320] * 3, [1.0]],
    ids=str,
)
def test_a_plot_of_anything(numbers: list[float]) -> None:
    gradients = [[np.full(3, number), None] for number in numbers]
    axes = drawn(gradients, nonfinite="skip", global_clipnorm=1e-200)
    assert "Norm of the update, by that of the variable" not in axes


def test_a_plot_of_many_variables() -> None:
    axes = drawn([[np.full(3, 1.0 + i) for i in range(100)]] * 3)
    names = [text.get_text() for text in axes["Norm of each variable's gradient"].get_yticklabels()]
    assert names[:2] == ["layer0", "layer5"]
