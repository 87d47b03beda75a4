"""Make the golden gradients with TensorFlow, or check that TensorFlow still gives them.

    python tests/golden/gradients.py OUTPUT.json
    python tests/golden/gradients.py --check tests/golden/gradients.json

A case of clipping is one row of CLIPS: a function, its arguments, and the upstream gradient of what
it returns, or of each thing that it returns. The file has the gradients of all arguments that are
floating. A case of a custom gradient is one function below, with the numbers that it is given; the
file has what it returns. A convolution is one row of CONVOLUTIONS; image, filters and upstream
gradient are small integers, so that all sums are exact.
What numclip does otherwise than TensorFlow on purpose has no case here.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

INFINITY, NAN = float("inf"), float("nan")
TOLERANCE = 1e-6


class Clip(NamedTuple):
    function: str
    arguments: dict[str, Any]
    upstream: Any
    dtype: str = "float64"


def by_value() -> list[Clip]:
    def row(t: Any, low: Any, high: Any) -> Clip:
        upstream = (np.arange(np.size(t)) + 1.0).reshape(np.shape(t)).tolist()
        given = {"t": t, "clip_value_min": low, "clip_value_max": high}
        return Clip("clip_by_value", given, upstream)

    matrix = [[-3.0, -1.0, 0.5], [2.0, 5.0, 1.0]]
    return [
        row([-3.0, -1.0, 0.5, 1.0, 2.0], -1.0, 1.0),
        row([-3.0, NAN, INFINITY, -INFINITY], -1.0, 1.0),
        row([1.0, 2.0], 1.0, 1.0),
        row(matrix, [-1.0, -1.0, 0.6], [[1.0], [2.0]]),
        row(matrix, [[-4.0] * 3, [2.0] * 3], [[-2.0] * 3, [4.0] * 3]),
        row(matrix, [3.0, 3.0, 3.0], [-3.0, -3.0, -3.0]),
        row(0.5, -1.0, 0.5),
    ]


def by_norm() -> list[Clip]:
    def row(t: Any, limit: Any, axes: Any = None) -> Clip:
        upstream = np.cos(np.arange(np.size(t))).round(3).reshape(np.shape(t)).tolist()
        return Clip("clip_by_norm", {"t": t, "clip_norm": limit, "axes": axes}, upstream)

    matrix = [[3.0, 4.0], [0.3, 0.4], [0.0, 0.0], [5.0, 12.0]]
    return [
        *(row([3.0, 4.0], limit) for limit in (1.0, 5.0, 6.0, 0.0)),
        *(row([0.0, 0.0, 0.0], limit) for limit in (1.0, 1e-3)),
        row([3.0, NAN], 1.0),
        row(matrix, 1.0),
        row(matrix, 1.0, 1),
        row(matrix, 1.0, [0]),
        row(matrix, 1.0, [0, -1]),
        row(matrix, 2.0, []),
        row(matrix, [[5.0], [0.1], [1.0], [20.0]], 1),
        row(-2.0, 0.5),
    ]


def by_average_norm() -> list[Clip]:
    def row(t: Any, limit: float) -> Clip:
        upstream = [1.0, -0.5, 0.25][: len(t)]
        return Clip("clip_by_average_norm", {"t": t, "clip_norm": limit}, upstream, "float32")

    return [
        *(row([3.0, 4.0], limit) for limit in (1.0, 2.5, 3.0)),
        row([0.0, 0.0, 0.0], 1.0),
        row([1.0, 2.0, 2.0], 0.25),
    ]


LISTS = ([[3.0, 4.0]], [[3.0, 0.0], [[4.0], [12.0]]], [[0.3], [0.4]])


def by_global_norm() -> list[Clip]:
    def row(t_list: Any, limit: float, *use_norm: float) -> Clip:
        upstream = [np.cos(np.arange(np.size(t))).reshape(np.shape(t)).tolist() for t in t_list]
        given = {"t_list": t_list, "clip_norm": limit}
        if use_norm:
            given["use_norm"] = use_norm[0]
        return Clip("clip_by_global_norm", given, [upstream, 0.5])

    return [
        *(row(t_list, limit) for t_list in LISTS for limit in (0.25, 1.0, 5.0, 13.0, 20.0)),
        *(row(LISTS[1], 2.0, norm) for norm in (0.5, 2.0, 26.0)),
        row([[0.0, 0.0], [0.0]], 1.0),
        row([[0.0, 0.0], [0.0]], 1.0, 0.5),
        *(Clip("global_norm", {"t_list": t_list}, 2.0) for t_list in LISTS),
        Clip("global_norm", {"t_list": [[0.0, 0.0]]}, 2.0),
    ]


CLIPS = (*by_value(), *by_norm(), *by_average_norm(), *by_global_norm())
CLIP_FUNCTIONS = {
    "clip_by_value": tf.clip_by_value,
    "clip_by_norm": tf.clip_by_norm,
    "clip_by_average_norm": tf.compat.v1.clip_by_average_norm,
    "clip_by_global_norm": tf.clip_by_global_norm,
    "global_norm": tf.linalg.global_norm,
}


def clip_gradients(case: Clip) -> dict[str, Any]:
    """Return the gradients of all arguments but the axes."""
    given = {
        key: [tf.constant(t, case.dtype) for t in value]
        if key == "t_list"
        else tf.constant(value, case.dtype)
        for key, value in case.arguments.items()
        if key != "axes"
    }
    if case.arguments.get("axes") == []:  # which TensorFlow takes for numbers that are not integers
        axes: Any = {"axes": tf.constant([], tf.int32)}
    else:
        axes = {key: value for key, value in case.arguments.items() if key == "axes"}
    with tf.GradientTape() as tape:
        tape.watch(list(given.values()))
        result = CLIP_FUNCTIONS[case.function](**given, **axes)
        if case.function == "clip_by_global_norm":
            upstream, of_norm = case.upstream
            loss = tf.add_n([dot(g, y) for g, y in zip(upstream, result[0], strict=True)])
            loss += dot(of_norm, result[1])
        else:
            loss = dot(case.upstream, result)
    found = tape.gradient(loss, given, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return tf.nest.map_structure(lambda g: g.numpy().tolist(), found)


def dot(upstream: Any, value: Any) -> Any:
    return tf.reduce_sum(tf.constant(upstream, value.dtype) * value)


def reversed_gradient(x: list[float], scale: float) -> list[float]:
    @tf.custom_gradient
    def reverse(x: Any) -> Any:
        return tf.identity(x), lambda upstream: -scale * upstream

    return derivative(lambda x: reverse(tf.sin(x)) ** 2, x)


def straight_through_round(x: list[float]) -> list[float]:
    @tf.custom_gradient
    def straight(x: Any) -> Any:
        return tf.round(x), lambda upstream: upstream

    return derivative(lambda x: straight(2.0 * x) ** 2, x)


def overridden_sign(x: list[float]) -> list[float]:
    """Return the gradient of a sign that is overridden, in a graph, by that of the hard tanh."""
    with tf.Graph().as_default() as graph:
        given = tf.constant(x, tf.float64)
        with graph.gradient_override_map({"Sign": "HardTanh"}):
            y = tf.sign(given)
        (gradient,) = tf.gradients(tf.reduce_sum(y * tf.constant(UPSTREAM, tf.float64)), given)
        with tf.compat.v1.Session() as session:
            return session.run(gradient).tolist()


UPSTREAM = [1.0, 2.0, 3.0, 4.0, 5.0]


@tf.RegisterGradient("HardTanh")
def hard_tanh(operation: Any, upstream: Any) -> Any:
    x = operation.inputs[0]
    return tf.where(tf.abs(x) <= 1, upstream, tf.zeros_like(upstream))


def log1p_exp(x: Any) -> Any:
    @tf.custom_gradient
    def function(x: Any) -> Any:
        e = tf.exp(x)
        return tf.math.log(1 + e), lambda upstream: upstream * (1 - 1 / (1 + e))

    return function(x)


def first_of_log1p_exp(x: list[float]) -> list[float]:
    return derivative(log1p_exp, x)


def second_of_log1p_exp(x: list[float]) -> list[float]:
    given = tf.constant(x, tf.float64)
    with tf.GradientTape() as outer:
        outer.watch(given)
        with tf.GradientTape() as inner:
            inner.watch(given)
            y = log1p_exp(given)
        first = inner.gradient(y, given)
    return outer.gradient(first, given).numpy().tolist()


def with_variables(x: list[float]) -> list[list[float]]:
    """Return the gradients of x and of two weights, which TensorFlow's documentation computes."""
    weights = tf.Variable([0.5, 3.0], dtype=tf.float64)

    @tf.custom_gradient
    def linear_poly(x: Any) -> Any:
        def gradient(upstream: Any, variables: Any) -> Any:
            of_weights = upstream * tf.stack([x**1, x**0])
            return upstream * weights[1], [tf.reduce_sum(of_weights, axis=1)]

        return weights[1] * x + weights[0], gradient

    given = tf.constant(x, tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(given)
        y = linear_poly(given) ** 2
    return [g.numpy().tolist() for g in tape.gradient(y, [given, weights])]


def gathered(x: list[list[float]], indices: list[list[int]]) -> list[Any]:
    """Return the rows of the sparse gradient, in its order, and all of it."""
    given = tf.constant(x, tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(given)
        y = tf.sin(tf.gather(given, indices)) ** 2
    slices = tape.gradient(y, given)
    assert slices.indices.numpy().tolist() == np.ravel(indices).tolist()
    return [slices.values.numpy().tolist(), tf.convert_to_tensor(slices).numpy().tolist()]


def matrix_product(x: Any, w: Any, grad_ys: Any) -> list[Any]:
    with tf.Graph().as_default():
        a, b = tf.constant(x, tf.float64), tf.constant(w, tf.float64)
        found = tf.gradients(a @ b, [a, b], tf.constant(grad_ys, tf.float64))
        return evaluated(found)


def hessian_times_direction(x: list[float], direction: list[float]) -> list[Any]:
    """Return the value, the gradient, and its gradient along the direction."""
    with tf.Graph().as_default():
        given = tf.constant(x, tf.float64)
        y = tf.exp(tf.reduce_sum(tf.sin(given) ** 2) / 4)
        (first,) = tf.gradients(y, given)
        (second,) = tf.gradients(first, given, tf.constant(direction, tf.float64))
        return evaluated([y, first, second])


def evaluated(tensors: list[Any]) -> list[Any]:
    with tf.compat.v1.Session() as session:
        return [each.tolist() for each in session.run(tensors)]


def clipped_gradient(x: list[float], norm: float) -> list[float]:
    @tf.custom_gradient
    def clip(x: Any) -> Any:
        return tf.identity(x), lambda upstream: tf.clip_by_norm(upstream, norm)

    return derivative(lambda x: clip(3.0 * x) ** 2, x)


def second_of_straight_through_round(x: list[float]) -> list[float]:
    @tf.custom_gradient
    def straight(x: Any) -> Any:
        return tf.round(x), lambda upstream: upstream

    def first(x: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = straight(2.0 * x) ** 3
        return tape.gradient(y, x)

    return derivative(first, x)


def derivative(function: Callable[[Any], Any], x: list[float]) -> list[float]:
    given = tf.constant(x, tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(given)
        y = function(given)
    return tape.gradient(y, given).numpy().tolist()


NUMBERS = [-2.0, -1.0, -0.3, 0.0, 0.7]
MATRIX = [[0.5, -1.0], [2.0, 0.3], [1.5, 0.7]]
CUSTOM = {
    "reversed_gradient": (reversed_gradient, {"x": NUMBERS, "scale": 0.5}),
    "straight_through_round": (straight_through_round, {"x": NUMBERS}),
    "overridden_sign": (overridden_sign, {"x": NUMBERS}),
    "first_of_log1p_exp": (first_of_log1p_exp, {"x": [*NUMBERS, 100.0]}),
    "second_of_log1p_exp": (second_of_log1p_exp, {"x": [*NUMBERS, 100.0]}),
    "with_variables": (with_variables, {"x": NUMBERS}),
    "gathered": (gathered, {"x": MATRIX, "indices": [[2, 0], [2, 1]]}),
    "matrix_product": (
        matrix_product,
        {
            "x": MATRIX,
            "w": [[1.0, -2.0], [0.5, 3.0]],
            "grad_ys": [[1.0, 2.0], [-0.5, 0.0], [0.3, 4]],
        },
    ),
    "hessian_times_direction": (
        hessian_times_direction,
        {"x": NUMBERS, "direction": [1.0, -2.0, 0.5, 3.0, 0.0]},
    ),
    "clipped_gradient": (clipped_gradient, {"x": NUMBERS, "norm": 1.5}),
    "second_of_straight_through_round": (second_of_straight_through_round, {"x": NUMBERS}),
}


class Convolution(NamedTuple):
    image: tuple[int, int, int, int]
    filters: tuple[int, int, int, int]
    strides: Any
    padding: Any
    dilations: Any = 1


EXPLICIT = [[0, 0], [2, 1], [0, 3], [0, 0]]
CONVOLUTIONS = (
    Convolution((1, 3, 3, 1), (2, 2, 1, 1), 1, "VALID"),
    Convolution((2, 5, 6, 2), (3, 2, 2, 3), 1, "VALID"),
    Convolution((2, 5, 6, 2), (3, 2, 2, 3), 1, "SAME"),
    Convolution((2, 5, 6, 2), (3, 2, 2, 3), 1, EXPLICIT),
    Convolution((2, 5, 6, 2), (3, 2, 2, 3), 2, "VALID"),
    Convolution((2, 5, 6, 2), (3, 2, 2, 3), 2, "SAME"),
    Convolution((2, 5, 6, 2), (3, 2, 2, 3), 2, EXPLICIT),
    Convolution((1, 7, 8, 1), (3, 3, 1, 2), (2, 3), "VALID"),
    Convolution((1, 7, 8, 1), (3, 3, 1, 2), (3, 2), "SAME"),
    Convolution((1, 7, 8, 1), (3, 3, 1, 2), [1, 1, 2, 1], "SAME"),
    Convolution((1, 8, 7, 2), (2, 3, 2, 1), (3, 4), EXPLICIT),
    Convolution((2, 4, 4, 3), (1, 1, 3, 2), 1, "SAME"),
    Convolution((2, 5, 4, 3), (1, 1, 3, 2), 3, "SAME"),
    Convolution((2, 4, 4, 1), (4, 4, 1, 2), 1, "VALID"),
    Convolution((1, 3, 3, 1), (5, 5, 1, 1), 1, "SAME"),
    Convolution((1, 2, 2, 1), (3, 3, 1, 1), 1, [[0, 0], [3, 3], [4, 3], [0, 0]]),
    Convolution((1, 8, 9, 2), (3, 3, 2, 2), 1, "VALID", 2),
    Convolution((1, 8, 9, 2), (3, 3, 2, 2), 1, "SAME", (2, 3)),
    Convolution((1, 8, 9, 1), (2, 3, 1, 2), 1, "VALID", [1, 3, 1, 1]),
)


def integers(shape: tuple[int, ...], step: int) -> np.ndarray:
    """Return numbers from -3 to 3, in an order without a pattern."""
    return ((np.arange(math.prod(shape)) * step % 101) % 7 - 3.0).reshape(shape)


def convolve(case: Convolution) -> dict[str, Any]:
    image = tf.constant(integers(case.image, 17), tf.float32)
    filters = tf.constant(integers(case.filters, 23), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch([image, filters])
        y = tf.nn.conv2d(image, filters, case.strides, case.padding, dilations=case.dilations)
        loss = tf.reduce_sum(y * tf.constant(integers(tuple(y.shape), 29), tf.float32))
    found = (y, *tape.gradient(loss, [image, filters]))
    names = ("value", "of_input", "of_filters")
    return {
        "shape": list(y.shape),
        **{
            name: tensor.numpy().astype(int).ravel().tolist()
            for name, tensor in zip(names, found, strict=True)
        },
    }


def make() -> dict[str, list[dict[str, Any]]]:
    return {
        "clips": [{**case._asdict(), "gradients": clip_gradients(case)} for case in CLIPS],
        "custom": [
            {"function": name, "arguments": given, "gradients": function(**given)}
            for name, (function, given) in CUSTOM.items()
        ],
        "convolutions": [{**case._asdict(), **convolve(case)} for case in CONVOLUTIONS],
    }


def differences(old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    for part in new:
        for i, row in enumerate(new[part]):
            if i >= len(old[part]) or not agree(old[part][i], json.loads(json.dumps(row))):
                yield f"{part} {i}"


def agree(old: Any, new: Any) -> bool:
    match old, new:
        case dict(), dict():
            return old.keys() == new.keys() and all(agree(old[key], new[key]) for key in old)
        case list(), list():
            return len(old) == len(new) and all(map(agree, old, new))
        case float(), float():
            is_nan = math.isnan(old) and math.isnan(new)
            return is_nan or math.isclose(old, new, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
        case _:
            return bool(old == new)


def text_of(made: dict[str, list[Any]]) -> str:
    """Return JSON with a line for each case."""
    parts = [
        f'"{part}": [\n' + ",\n".join(json.dumps(row) for row in rows) + "\n]"
        for part, rows in made.items()
    ]
    return "{" + ",\n".join(parts) + "}\n"


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
    count = sum(map(len, made.values()))
    print(*found, f"{count} cases compared, {len(found)} differences", sep="\n")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
