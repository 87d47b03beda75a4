"""Learning rates that decay: right in float64, as TensorFlow's, and following the step."""

import inspect
import json
import math
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import autograd.numpy as anp
import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mpmath import mpf

import numclip as nc

GOLDEN = json.loads((Path(__file__).parent / "golden" / "decay.json").read_text())
STEPS = (0, 1, 9, 10, 11, 29, 30, 31, 70, 210, 999, 10**6, 0.25, 12.5, -1, -10, -25)


def exponential(s: Any, rate: Any, steps: Any, factor: Any, staircase: bool = False) -> Any:
    return rate * factor ** periods(s, steps, staircase)


def natural_exp(s: Any, rate: Any, steps: Any, speed: Any, staircase: bool = False) -> Any:
    return rate * mpmath.exp(-speed * periods(s, steps, staircase))


def inverse_time(s: Any, rate: Any, steps: Any, speed: Any, staircase: bool = False) -> Any:
    return rate / (1 + speed * periods(s, steps, staircase))


def periods(s: Any, steps: Any, staircase: bool) -> Any:
    return mpmath.floor(s / steps) if staircase else s / steps


def polynomial(
    s: Any, rate: Any, steps: Any, end: Any = 0.0001, power: Any = 1, cycle: bool = False
) -> Any:
    if cycle:
        steps *= max(mpmath.ceil(s / steps), 1)
    return (rate - end) * (1 - min(s, steps) / steps) ** power + end


def piecewise(s: Any, boundaries: list[Any], values: list[Any]) -> Any:
    return values[sum(boundary < s for boundary in boundaries)]


def cosine(s: Any, rate: Any, steps: Any, alpha: Any = 0) -> Any:
    return rate * ((1 - alpha) * (1 + mpmath.cospi(min(s, steps) / steps)) / 2 + alpha)


def cosine_restarts(
    s: Any, rate: Any, first: Any, t_mul: Any = 2, m_mul: Any = 1, alpha: Any = 0
) -> Any:
    # By the logarithm, as TensorFlow, in so many digits that one can tell a restart from the rest.
    first, t_mul = (mpf(str(float(number))) for number in (first, t_mul))
    elapsed, digit = max(s, 0) / first, mpf(10) ** -40
    if t_mul == 1:
        i = begin = mpmath.floor(elapsed)
    else:
        i = mpmath.floor(mpmath.log(1 + elapsed * (t_mul - 1), t_mul) + digit)
        begin = (t_mul**i - 1) / (t_mul - 1)
    part = (s / first - begin) / t_mul**i
    return rate * ((1 - alpha) * m_mul**i * (1 + mpmath.cospi(part)) / 2 + alpha)


def linear_cosine(
    s: Any, rate: Any, steps: Any, waves: Any = 0.5, alpha: Any = 0, beta: Any = 0.001
) -> Any:
    part = min(s, steps) / steps
    return rate * ((alpha + 1 - part) * (1 + mpmath.cospi(2 * waves * part)) / 2 + beta)


def without_noise(
    s: Any, rate: Any, steps: Any, variance: Any, variance_decay: Any = 0, *rest: Any
) -> Any:
    assert variance == 0
    if s <= -1:
        return mpmath.nan
    return linear_cosine(s, rate, steps, *rest)


class Schedule(NamedTuple):
    """A function of numclip, a formula of mpmath's numbers, and arguments besides the step."""

    function: Callable[..., Any]
    formula: Callable[..., Any]
    arguments: tuple[tuple[Any, ...], ...]


OF_TIME = (
    (0.1, 10, 0.96),
    (0.1, 10, 0.96, True),
    (0.3, 12.5, 1.01),
    (0.3, 0.5, 0.999, True),
    (-0.1, 30, 0.5),
)
SCHEDULES = (
    Schedule(nc.train.exponential_decay, exponential, OF_TIME),
    Schedule(nc.train.natural_exp_decay, natural_exp, OF_TIME),
    Schedule(nc.train.inverse_time_decay, inverse_time, OF_TIME),
    Schedule(
        nc.train.polynomial_decay,
        polynomial,
        (
            (0.1, 30),
            (0.1, 30, 0.01, 0.5),
            (0.1, 10, 0.01, 2, True),
            (0.1, 10, 0.01, 0.5, True),
            (0.1, 1.1, 0.01, 3, True),
            (0.01, 10, 0.1, 3),
        ),
    ),
    Schedule(
        nc.train.piecewise_constant,
        piecewise,
        (([10, 30], [0.3, 0.2, 0.1]), ([-10, 0.25, 12], [1, 2, 3, 4]), ([], [0.5])),
    ),
    Schedule(nc.train.cosine_decay, cosine, ((0.1, 30), (0.1, 12.5, 0.3), (2, 71, -1.5))),
    Schedule(
        nc.train.cosine_decay_restarts,
        cosine_restarts,
        (
            (0.1, 10),
            (0.1, 10, 1.0, 0.9, 0.1),
            (0.1, 10, 1.5, 1.25),
            (0.1, 0.5, 3, 0.5, 0.2),
            (0.1, 100, 1.1),
        ),
    ),
    Schedule(
        nc.train.linear_cosine_decay,
        linear_cosine,
        ((0.1, 30), (0.1, 30, 2.5, 0.2, 0.01), (0.1, 0.5, 0.5)),
    ),
    Schedule(
        nc.train.noisy_linear_cosine_decay,
        without_noise,
        ((0.1, 30, 0), (0.1, 30, 0.0, 0.55, 2.5, 0.2, 0.01)),
    ),
)
FUNCTIONS = [schedule.function for schedule in SCHEDULES]
ROWS = [
    pytest.param(*schedule[:2], arguments, id=f"{schedule.function.__name__}{arguments}")
    for schedule in SCHEDULES
    for arguments in schedule.arguments
]
every_row = pytest.mark.parametrize(("function", "formula", "arguments"), ROWS)
every_function = pytest.mark.parametrize(
    ("function", "arguments"),
    [
        pytest.param(schedule.function, schedule.arguments[0], id=schedule.function.__name__)
        for schedule in SCHEDULES
    ],
)
but_piecewise = pytest.mark.parametrize(
    ("function", "arguments"),
    [
        pytest.param(schedule.function, schedule.arguments[0], id=schedule.function.__name__)
        for schedule in SCHEDULES
        if schedule.function is not nc.train.piecewise_constant
    ],
)


def scheduled(
    function: Callable[..., Any], arguments: tuple[Any, ...], step: Any, **options: Any
) -> Any:
    """Call a schedule with its arguments and the step, which one of them takes first."""
    position = 0 if function is nc.train.piecewise_constant else 1
    return function(*arguments[:position], step, *arguments[position:], **options)


def to_mpmath(value: Any) -> Any:
    match value:
        case bool():
            return value
        case list():
            return [to_mpmath(x) for x in value]
        case _:
            return mpf(value)


@every_row
def test_right_in_float64(
    function: Callable[..., Any], formula: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    with mpmath.workdps(60):
        expected = [float(formula(mpf(s), *map(to_mpmath, arguments))) for s in STEPS]
    got = [scheduled(function, arguments, s) for s in STEPS]
    assert [type(rate) for rate in got] == [float] * len(STEPS)
    assert got == pytest.approx(expected, rel=1e-14, abs=1e-15, nan_ok=True)


@pytest.mark.parametrize(
    "row", GOLDEN["schedules"], ids=lambda row: f"{row['function']}{row['arguments']}"
)
def test_as_tensorflow(row: dict[str, Any]) -> None:
    function = getattr(nc.train, row["function"])
    step = "x" if function is nc.train.piecewise_constant else "global_step"
    got = [function(**row["arguments"], **{step: s}) for s in row["steps"]]
    tolerance = row["tolerance"]
    assert got == pytest.approx(row["rates"], rel=tolerance, abs=0.1 * tolerance, nan_ok=True)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_parameters_are_tensorflows(function: Callable[..., Any]) -> None:
    found = [
        [p.name] if p.default is p.empty else [p.name, p.default]
        for p in inspect.signature(function).parameters.values()
        if p.kind is p.POSITIONAL_OR_KEYWORD
    ]
    assert found == GOLDEN["parameters"][function.__name__]


@every_function
@pytest.mark.parametrize("kind", [np.int32, np.int64, np.uint8, np.float32, np.float64, float])
def test_steps_of_any_kind(
    function: Callable[..., Any], arguments: tuple[Any, ...], kind: type[Any]
) -> None:
    rate = scheduled(function, arguments, kind(17))
    assert type(rate) is float
    assert rate == scheduled(function, arguments, 17)


@every_row
@pytest.mark.parametrize(
    "make",
    [
        lambda: nc.Variable(0),
        lambda: nc.Variable(np.zeros((), np.int32)),
        lambda: nc.Variable([0]),
        lambda: nc.Variable(0.0),
        lambda: np.zeros((), int),
    ],
    ids=["Variable", "int32", "Variable of one", "float", "array"],
)
def test_follows_a_variable(
    function: Callable[..., Any],
    formula: Callable[..., Any],
    arguments: tuple[Any, ...],
    make: Callable[[], Any],
) -> None:
    del formula
    step = make()
    array = step.value if isinstance(step, nc.Variable) else step
    rate = scheduled(function, arguments, step)
    for s in (0, 1, 9, 10, 11, 29, 30, 31, 1000, 3):
        array[...] = s
        assert type(rate()) is float
        assert rate() == rate() == scheduled(function, arguments, s)
    assert array == 3


@every_function
def test_as_the_learning_rate_of_an_optimizer(
    function: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    step, x = nc.Variable(0), nc.Variable([0.0])
    optimizer = nc.train.GradientDescentOptimizer(scheduled(function, arguments, step))
    expected = 0.0
    for s in range(40):
        assert x.value[0] == expected
        optimizer.apply_gradients([(np.array([1.0]), x)], global_step=step)
        expected -= scheduled(function, arguments, s)
    assert step.value == 40


@every_function
def test_while_a_gradient_is_being_computed(
    function: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    step, x = nc.Variable(5.0), nc.Variable([1.0, 2.0])
    rate = scheduled(function, arguments, step)
    gradient, of_step = nc.gradients(lambda: anp.sum(x * rate()) + 0.0 * step, [x, step])
    assert gradient.tolist() == [rate(), rate()]
    assert of_step == 0.0


@but_piecewise
@pytest.mark.parametrize(
    "kind",
    [np.float32, np.array, nc.Variable, lambda rate: lambda: rate],
    ids=["float32", "array", "Variable", "callable"],
)
def test_learning_rates_of_any_kind(
    function: Callable[..., Any], arguments: tuple[Any, ...], kind: Callable[[float], Any]
) -> None:
    given = (kind(0.5), *arguments[1:])
    expected = scheduled(function, (0.5, *arguments[1:]), 17)
    assert scheduled(function, given, 17) == expected
    assert scheduled(function, given, nc.Variable(17))() == expected


@but_piecewise
def test_a_learning_rate_that_changes(
    function: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    calls = []

    def learning_rate() -> float:
        calls.append(1)
        return 0.5 * len(calls)

    rate = scheduled(function, (learning_rate, *arguments[1:]), nc.Variable(3))
    assert calls == []
    for count in (1, 2, 3):
        assert rate() == scheduled(function, (0.5 * count, *arguments[1:]), 3)
        assert len(calls) == count


def test_a_schedule_of_a_schedule() -> None:
    step = nc.Variable(0)
    warm = nc.train.piecewise_constant(step, [4], [0.25, 1.0])
    rate = nc.train.exponential_decay(warm, step, 10, 0.5)
    assert rate() == 0.25
    step.assign(10)
    assert rate() == 0.5


def test_a_name_opens_errors_at_a_step_too() -> None:
    rate = nc.train.cosine_decay(lambda: "fast", nc.Variable(3), 10, name="decoder")
    with pytest.raises(TypeError, match="decoder: `learning_rate` must be real numbers"):
        rate()


def test_warnings_of_a_callable_learning_rate_are_its_own() -> None:
    with pytest.warns(RuntimeWarning, match="divide by zero"):
        nc.train.cosine_decay(lambda: np.float64(1) / np.float64(0), 3, 10)


@but_piecewise
def test_learning_rates_that_are_nan(
    function: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    assert math.isnan(scheduled(function, (np.nan, *arguments[1:]), 3))


OF_TIME_FUNCTIONS = pytest.mark.parametrize("function", FUNCTIONS[:3], ids=lambda f: f.__name__)


@OF_TIME_FUNCTIONS
def test_a_staircase_is_level_until_each_multiple(function: Callable[..., Any]) -> None:
    for s in range(-30, 60):
        rate = function(0.1, s, 7, 0.5, True)
        assert rate == function(0.1, s // 7 * 7, 7, 0.5)
        assert rate == function(0.1, s, 7, 0.5, staircase=True)


@OF_TIME_FUNCTIONS
def test_steps_before_0_raise_the_rate(function: Callable[..., Any]) -> None:
    rates = [function(0.1, s, 10, 0.5) for s in (-5, -1, 0, 1)]
    assert rates == sorted(rates, reverse=True)
    assert rates[2] == 0.1


@OF_TIME_FUNCTIONS
@pytest.mark.parametrize("staircase", [False, True])
def test_decay_steps_of_0_decay_at_once(function: Callable[..., Any], staircase: bool) -> None:
    rates = [function(0.1, s, 0, 0.5, staircase) for s in (0, 1, 10**6)]
    assert rates == [0.1, 0.0, 0.0]
    nearly = [function(0.1, s, 1e-300, 0.5, staircase) for s in (0, 1)]
    assert rates[:2] == pytest.approx(nearly, abs=1e-300)


@pytest.mark.parametrize("function", FUNCTIONS[1:3], ids=lambda f: f.__name__)
@pytest.mark.parametrize("staircase", [False, True])
@pytest.mark.parametrize("speed", [0.0, -0.0, 0])
def test_a_speed_of_0_keeps_the_rate_where_decay_steps_are_0_too(
    function: Callable[..., Any], staircase: bool, speed: float
) -> None:
    assert [function(0.1, s, 0, speed, staircase) for s in (0, 1, 10**6, math.inf)] == [0.1] * 4
    assert math.isnan(function(0.1, math.nan, 0, speed, staircase))


def test_a_growing_rate_is_infinite_at_last() -> None:
    assert nc.train.exponential_decay(0.1, 10**6, 1, 2.0) == math.inf
    assert nc.train.exponential_decay(0.1, 1, 0, 2.0) == math.inf
    assert nc.train.natural_exp_decay(0.1, 10**6, 1, -2.0) == math.inf
    assert nc.train.inverse_time_decay(0.1, 10, 1, -0.1) == math.inf


def test_a_negative_factor_has_no_power_between_its_periods() -> None:
    assert math.isnan(nc.train.exponential_decay(0.1, 5, 10, -0.5))
    assert nc.train.exponential_decay(0.1, 5, 10, -0.5, staircase=True) == 0.1
    assert nc.train.exponential_decay(0.1, 10, 10, -0.5) == -0.05


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("duration", [1, 7, 10, 0.125, 2.5])
def test_polynomial_cycles_end_at_multiples(duration: float, power: float) -> None:
    decay = partial(
        nc.train.polynomial_decay,
        decay_steps=duration,
        end_learning_rate=0.25,
        power=power,
        cycle=True,
    )
    assert decay(0.5, 0) == 0.5
    for multiple in range(1, 200):
        step = multiple * duration
        assert decay(0.5, step) == 0.25
        assert decay(0.5, step + 0.01 * duration) > 0.25
        assert decay(0.5, step - 0.01 * duration) > 0.25


@given(st.floats(0, 1e6), st.floats(0.01, 100))
def test_polynomial_cycles_stay_within_bounds_near_multiples(step: float, duration: float) -> None:
    near = round(step / duration) * duration
    for s in (near, math.nextafter(near, 0), math.nextafter(near, math.inf)):
        assert 0.25 <= nc.train.polynomial_decay(0.5, s, duration, 0.25, 0.5, True) <= 0.5


@pytest.mark.parametrize("cycle", [False, True])
@pytest.mark.parametrize("step", [0, 5, 10])
def test_a_polynomial_of_power_0_does_not_decay(step: int, cycle: bool) -> None:
    assert nc.train.polynomial_decay(0.5, step, 10, 0.25, 0, cycle) == 0.5


def test_a_polynomial_without_cycles_stays_at_its_end() -> None:
    assert [nc.train.polynomial_decay(0.5, s, 10, 0.25, 2) for s in (10, 11, 1000)] == [0.25] * 3


def test_a_polynomial_of_negative_power_ends_at_infinity() -> None:
    assert nc.train.polynomial_decay(0.5, 10, 10, 0.25, -1) == math.inf


@pytest.mark.parametrize("kind", [int, float, np.int32, np.float32])
def test_a_boundary_belongs_to_the_interval_on_its_left(kind: Callable[[int], Any]) -> None:
    boundaries, values = [10, 20, 20, 30.5], [1, 0.5, 0.3, 0.2, np.float32(0.125)]
    expected = {9: 1.0, 10: 1.0, 11: 0.5, 20: 0.5, 21: 0.2, 30: 0.2, 31: 0.125, -5: 1.0}
    for step, rate in expected.items():
        assert nc.train.piecewise_constant(kind(step), boundaries, values) == rate


@pytest.mark.parametrize("kind", [list, tuple, np.array])
def test_boundaries_and_values_of_any_kind(kind: Callable[[list[float]], Any]) -> None:
    assert nc.train.piecewise_constant(15, kind([10, 20]), kind([1.0, 0.5, 0.1])) == 0.5


def test_boundaries_and_values_are_those_at_first() -> None:
    boundaries, values = [10], [1.0, 0.5]
    rate = nc.train.piecewise_constant(nc.Variable(5), boundaries, values)
    boundaries[0], values[0] = 0, 9.0
    assert rate() == 1.0


def test_restarts_are_where_they_belong() -> None:
    for first in range(1, 1001):
        begin, length = 0, first
        for _ in range(11):
            decay = partial(nc.train.cosine_decay_restarts, 0.1, first_decay_steps=first)
            assert decay(begin) == 0.1
            assert decay(begin + length - 1) < 0.1 or length == 1
            begin, length = begin + length, 2 * length


@pytest.mark.parametrize("t_mul", ["1", "1.1", "1.25", "1.3", "1.5", "2", "3", "10"])
@pytest.mark.parametrize("first", ["1", "0.1", "10", "100", "1000"])
def test_restarts_are_where_decimals_say(first: str, t_mul: str) -> None:
    lengths = [Fraction(first) * Fraction(t_mul) ** i for i in range(12)]
    for i, begin in enumerate(accumulate(lengths[:-1], initial=Fraction(0))):
        step = math.ceil(begin)
        expected = 0.5**i * (1 + math.cos(math.pi * float((step - begin) / lengths[i]))) / 2
        if step < begin + lengths[i]:
            got = nc.train.cosine_decay_restarts(1, step, float(first), float(t_mul), 0.5)
            assert got == pytest.approx(expected, rel=1e-14)
            assert got == 0.5**i or step > begin


def test_the_height_of_restarts() -> None:
    rates = [nc.train.cosine_decay_restarts(1, s, 10, 1, 0.5, 0.2) for s in (0, 10, 20)]
    assert rates == pytest.approx([1.0, 0.8 * 0.5 + 0.2, 0.8 * 0.25 + 0.2], rel=1e-15)
    assert [nc.train.cosine_decay_restarts(1, s, 10, 1, 0) for s in (0, 10)] == [1.0, 0.0]


def test_an_infinite_step_is_in_no_period() -> None:
    assert math.isnan(nc.train.cosine_decay_restarts(0.1, math.inf, 10))


def test_alpha_is_what_is_left() -> None:
    assert nc.train.cosine_decay(0.5, 10, 10) == 0.0
    assert [nc.train.cosine_decay(0.5, s, 10, 0.25) for s in (10, 11, 1000)] == [0.125] * 3
    assert [nc.train.cosine_decay(0.5, s, 10, 1) for s in (0, 5, 20)] == [0.5] * 3


def test_linear_cosine_decay_begins_above_the_rate() -> None:
    assert nc.train.linear_cosine_decay(0.1, 0, 10) == 0.1 * 1.001
    assert nc.train.linear_cosine_decay(0.1, 10, 10) == 0.1 * 0.001


def test_noise_is_drawn_anew_each_time() -> None:
    step = nc.Variable(3)
    rate = nc.train.noisy_linear_cosine_decay(0.1, step, 10, rng=np.random.default_rng(7))
    assert len({rate() for _ in range(10)}) == 10
    at_random = {nc.train.noisy_linear_cosine_decay(0.1, 3, 10) for _ in range(10)}
    assert len(at_random) == 10


def test_noise_of_a_seed_is_the_same() -> None:
    def rates(rng: Any) -> list[float]:
        rate = nc.train.noisy_linear_cosine_decay(0.1, nc.Variable(3), 10, rng=rng)
        return [rate() for _ in range(5)]

    assert rates(7) == rates(7) == rates(np.random.default_rng(7))
    assert rates(7) != rates(8)
    assert nc.train.noisy_linear_cosine_decay(0.1, 3, 10, rng=7) == rates(7)[0]


@pytest.mark.parametrize("step", [0, 3, 10, 50])
def test_noise_is_normal_and_decays(step: int) -> None:
    # Without a wave and without the line's end, the noise alone varies.
    draws = np.random.default_rng(7).standard_normal(5)
    deviation = math.sqrt(2.0 / (1 + min(step, 10)) ** 0.75)
    line = 1 - min(step, 10) / 10
    expected = 0.1 * (0.3 + line + deviation * draws + 0.01)
    rate = nc.train.noisy_linear_cosine_decay(
        0.1, nc.Variable(step), 10, 2.0, 0.75, 0, 0.3, 0.01, rng=7
    )
    assert [rate() for _ in range(5)] == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("rest", [(), (2.5, 0.2, 0.01)])
def test_no_noise_is_linear_cosine_decay(rest: tuple[float, ...]) -> None:
    for step in (0, 1, 7, 10, 11):
        noisy = nc.train.noisy_linear_cosine_decay(0.1, step, 10, 0, 0.55, *rest)
        assert noisy == nc.train.linear_cosine_decay(0.1, step, 10, *rest)


def test_noise_is_not_finite_before_step_0() -> None:
    assert math.isinf(nc.train.noisy_linear_cosine_decay(0.1, -1, 10))
    assert math.isnan(nc.train.noisy_linear_cosine_decay(0.1, -3, 10))


@every_function
def test_steps_that_are_nan(function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    rate = scheduled(function, arguments, math.nan)
    if function is nc.train.piecewise_constant:
        assert rate == arguments[1][0]
    else:
        assert math.isnan(rate)


rates = st.floats(1e-6, 10)
durations = st.one_of(st.integers(1, 10**6), st.floats(0.01, 1e6))
steps = st.one_of(st.integers(0, 10**7), st.floats(0, 1e7))
parts = st.floats(0, 1)


@given(rates, steps, steps, durations, parts)
def test_decays_are_monotone(
    rate: float, first: float, second: float, duration: float, part: float
) -> None:
    first, second = sorted((first, second))
    for decay in (
        partial(nc.train.exponential_decay, decay_steps=duration, decay_rate=part),
        partial(nc.train.natural_exp_decay, decay_steps=duration, decay_rate=part),
        partial(nc.train.inverse_time_decay, decay_steps=duration, decay_rate=part),
        partial(nc.train.polynomial_decay, decay_steps=duration, end_learning_rate=part * rate),
        partial(nc.train.cosine_decay, decay_steps=duration, alpha=part),
        partial(nc.train.linear_cosine_decay, decay_steps=duration),
    ):
        assert decay(rate, second) <= decay(rate, first) * (1 + 1e-15) + 1e-15 * rate


@given(rates, steps, durations, parts, st.sampled_from([1.0, 1.5, 2.0, 3.0]), parts)
def test_decays_stay_within_bounds(
    rate: float, step: float, duration: float, part: float, t_mul: float, m_mul: float
) -> None:
    above = 1 + 1e-15
    polynomial_rates = [
        nc.train.polynomial_decay(rate, step, duration, part * rate, power, cycle)
        for power in (0.5, 1, 2)
        for cycle in (False, True)
    ]
    cosine_rates = [
        nc.train.cosine_decay(rate, step, duration, part),
        nc.train.cosine_decay_restarts(rate, step, duration, t_mul, m_mul, part),
    ]
    for decayed in (*polynomial_rates, *cosine_rates):
        assert part * rate / above <= decayed <= rate * above
    for function in (nc.train.exponential_decay, nc.train.natural_exp_decay):
        assert 0 <= function(rate, step, duration, part) <= rate
