"""Make the golden learning rates with TensorFlow, or check that TensorFlow still gives them.

    python tests/golden/decay.py OUTPUT.json
    python tests/golden/decay.py --check tests/golden/decay.json

A schedule is one row of SCHEDULES: its arguments but for the step, the steps, and the dtype in
which TensorFlow computes it: float32 alone, where there is a cosine. The file has the rates too,
and how far from them, in relation to their size and to that of the rate at first, others may be;
and the parameters of each function, with their defaults.
What numclip does otherwise than TensorFlow on purpose has no case here.
"""

import argparse
import inspect
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow as tf

INFINITY, NAN = float("inf"), float("nan")
STEPS = (0, 1, 3, 9, 10, 11, 17, 20, 21, 30, 55, 1000, -1, -7, 2.5, NAN)
WITHOUT_NEGATIVE = tuple(step for step in STEPS if not step < 0)
LEARNING_RATE = 0.1

# Measured: 1.3e-7 at most in float32, 2.5e-14 in float64, at exp(-400).
TOLERANCES = {"float32": 4e-7, "float64": 4e-14}


class Schedule(NamedTuple):
    function: str
    arguments: dict[str, Any]
    steps: tuple[float, ...] = STEPS
    dtype: str = "float64"


def exponential(function: str) -> list[Schedule]:
    given = {"learning_rate": LEARNING_RATE, "decay_steps": 10, "decay_rate": 0.96}
    return [
        Schedule(function, given),
        Schedule(function, given | {"staircase": True}),
        Schedule(function, given | {"decay_rate": 3.0, "decay_steps": 7.5}),
        Schedule(function, given | {"decay_steps": INFINITY}),
        Schedule(function, given | {"decay_steps": 0}, (1, 5, 1000, -1, NAN, INFINITY)),
        Schedule(function, given | {"learning_rate": -LEARNING_RATE, "decay_rate": -0.5}),
        Schedule(function, given | {"learning_rate": NAN}, (0, 5)),
    ]


def polynomial() -> list[Schedule]:
    given = {"learning_rate": LEARNING_RATE, "decay_steps": 10}
    powers = (1.0, 0.5, 2.0, 0.0, -1.0)
    return [
        Schedule("polynomial_decay", given, dtype="float32"),  # whose defaults are so
        *(
            Schedule("polynomial_decay", given | {"end_learning_rate": 0.01, "power": power})
            for power in powers
        ),
        *(
            Schedule(
                "polynomial_decay",
                given | {"end_learning_rate": 0.01, "power": power, "cycle": True},
                WITHOUT_NEGATIVE,
            )
            for power in powers
        ),
        Schedule("polynomial_decay", given | {"end_learning_rate": 1.0}),
    ]


def piecewise() -> list[Schedule]:
    def row(boundaries: list[Any], values: list[float], *steps: float) -> Schedule:
        return Schedule("piecewise_constant", {"boundaries": boundaries, "values": values}, steps)

    return [
        row([10, 20], [1.0, 0.5, 0.1], -5, 0, 9, 10, 11, 19, 20, 21, 1000),
        row([10.0, 20.0], [1.0, 0.5, 0.1], 0.0, 10.0, 10.5, 20.0, 20.5, NAN, INFINITY, -INFINITY),
        row([5], [0.2, 0.1], 4, 5, 6),
        row([5, 5], [1.0, 2.0, 3.0], 4, 5, 6),
    ]


def cosine() -> list[Schedule]:
    def row(function: str, steps: tuple[float, ...] = STEPS, **arguments: Any) -> Schedule:
        return Schedule(function, {"learning_rate": LEARNING_RATE} | arguments, steps, "float32")

    def restarts(**arguments: float) -> Schedule:
        return row("cosine_decay_restarts", WITHOUT_NEGATIVE, first_decay_steps=10, **arguments)

    return [
        row("cosine_decay", decay_steps=10),
        row("cosine_decay", decay_steps=10, alpha=0.3),
        row("cosine_decay", decay_steps=7.5, alpha=1.5),
        restarts(),
        restarts(t_mul=1.0),
        restarts(t_mul=1.0, m_mul=0.9, alpha=0.1),
        restarts(t_mul=3.0, m_mul=0.5, alpha=0.2),
        restarts(t_mul=1.5, m_mul=1.25),
        row("linear_cosine_decay", decay_steps=10),
        row("linear_cosine_decay", decay_steps=10, num_periods=2.0, alpha=0.2, beta=0.01),
        row("noisy_linear_cosine_decay", decay_steps=10, initial_variance=0.0, alpha=0.1),
    ]


SCHEDULES = (
    *exponential("exponential_decay"),
    *exponential("natural_exp_decay"),
    *exponential("inverse_time_decay"),
    *polynomial(),
    *piecewise(),
    *cosine(),
)


def rates(schedule: Schedule) -> list[float]:
    step_name = "x" if schedule.function == "piecewise_constant" else "global_step"
    function = getattr(tf.compat.v1.train, schedule.function)
    arguments = {
        key: to_tensorflow(value, schedule.dtype) for key, value in schedule.arguments.items()
    }
    return [
        float(function(**arguments, **{step_name: to_tensorflow(step, schedule.dtype)})())
        for step in schedule.steps
    ]


def to_tensorflow(value: Any, dtype: str) -> Any:
    match value:
        case float():
            return tf.constant(value, dtype)
        case list():
            return [to_tensorflow(x, dtype) for x in value]
        case _:
            return value


def parameters(function: str) -> list[list[Any]]:
    """Return pairs of name and default, and the name alone where there is no default."""
    signature = inspect.signature(getattr(tf.compat.v1.train, function))
    return [
        [p.name] if p.default is p.empty else [p.name, p.default]
        for p in signature.parameters.values()
    ]


def make() -> dict[str, Any]:
    return {
        "parameters": {row.function: parameters(row.function) for row in SCHEDULES},
        "schedules": [
            {**row._asdict(), "rates": rates(row), "tolerance": TOLERANCES[row.dtype]}
            for row in SCHEDULES
        ],
    }


def differences(old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    if old["parameters"] != new["parameters"]:
        yield "parameters"
    rows = [{case_of(row): row for row in side["schedules"]} for side in (old, new)]
    for case in sorted(rows[0].keys() | rows[1].keys()):
        pair = [side.get(case) for side in rows]
        if None in pair or not agree(*(row["rates"] for row in pair), pair[0]["tolerance"]):
            yield case


def case_of(row: dict[str, Any]) -> str:
    return json.dumps({key: row[key] for key in Schedule._fields})


def agree(old: list[float], new: list[float], tolerance: float) -> bool:
    return all(
        math.isclose(a, b, rel_tol=tolerance, abs_tol=tolerance * LEARNING_RATE)
        or (math.isnan(a) and math.isnan(b))
        for a, b in zip(old, new, strict=True)
    )


def text_of(made: dict[str, Any]) -> str:
    """Return JSON with a line for each schedule."""
    rows = ",\n".join(json.dumps(row) for row in made["schedules"])
    parameters = json.dumps(made["parameters"])
    return f'{{"parameters": {parameters},\n"schedules": [\n{rows}\n]}}\n'


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("path", type=Path, help="the golden file")
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    options = parser.parse_args()
    made = make()
    if not options.check:
        options.path.write_text(text_of(made))
        return 0
    found = list(differences(json.loads(options.path.read_text()), made))
    print(*found, f"{len(SCHEDULES)} schedules compared, {len(found)} differences", sep="\n")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
