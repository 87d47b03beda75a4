"""Every error names the argument and what came, and leaves everything as it was.

A case is a call, the exception's type, and what its message must contain: the argument in
backticks, and what came. Calls are made anew for each test, so that no test sees another's arrays.
"""

import inspect
import itertools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import autograd.numpy as anp
import ml_dtypes
import numpy as np
import pytest
import scipy.sparse
from autograd.tracer import trace_stack
from optimizers import OPTIMIZERS

import numclip as nc

Array = np.ndarray[Any, np.dtype[Any]]
Slices = nc.IndexedSlices
GradientDescent = nc.train.GradientDescentOptimizer
Adam = nc.train.AdamOptimizer


class Call(NamedTuple):
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    options: dict[str, Any]

    def __call__(self, **more: Any) -> Any:
        return self.function(*self.arguments, **self.options, **more)


class Case(NamedTuple):
    make: Callable[[], Call]
    error: type[Exception]
    texts: tuple[str, ...]


Table = Mapping[str, Case]


def call(function: Callable[..., Any], *arguments: Any, **options: Any) -> Call:
    return Call(function, arguments, options)


def case(make: Callable[[], Call], error: type[Exception], *texts: str) -> Case:
    return Case(make, error, texts)


def state(value: Any) -> Any:
    """Return all that a call could change of a value, with everything that it holds."""
    match value:
        case np.ndarray():
            layout = (value.dtype, value.shape, value.strides, value.flags.writeable)
            return (id(value), *layout, value.tobytes())
        case nc.Variable():
            return (id(value), value.trainable, value.name, state(value.value))
        case nc.train.Optimizer():
            return (id(value), state(vars(value)), [state(slot) for slot in value.variables()])
        case np.random.Generator():
            return (id(value), repr(value.bit_generator.state))
        case dict():
            return (id(value), [(state(key), state(entry)) for key, entry in value.items()])
        case list() | tuple():
            return (id(value), [state(entry) for entry in value])
        case _ if scipy.sparse.issparse(value):
            return (id(value), state(vars(value)))
        case _:
            return repr(value)


def state_of_call(made: Call) -> Any:
    owner = getattr(made.function, "__self__", None)
    return (state(owner), state(made.arguments), state(made.options), trace_stack.top)


def takes_name(made: Call) -> bool:
    is_constructor = inspect.isclass(made.function)
    return not is_constructor and "name" in inspect.signature(made.function).parameters


def message(made: Call, error: type[Exception], **options: Any) -> str:
    before = state_of_call(made)
    with pytest.raises(error) as raised:
        made(**options)
    assert state_of_call(made) == before, "the call has changed something"
    assert type(raised.value) is error
    return str(raised.value)


def check(chosen: Case) -> None:
    text = message(chosen.make(), chosen.error)
    for expected in chosen.texts:
        assert expected in text
    if takes_name(chosen.make()):
        assert message(chosen.make(), chosen.error, name="layer 1") == f"layer 1: {text}"


def vector() -> Array:
    return np.array([1.0, -2.0, 3.0])


def matrix() -> Array:
    return np.arange(6.0).reshape(2, 3)


def integers() -> Array:
    return np.array([1, 2, 3], np.int32)


def single(dtype: type[np.generic]) -> Callable[[], Array]:
    return lambda: np.array([1], dtype)


def read_only(array: Array) -> Array:
    array.flags.writeable = False
    return array


def masked(array: Array) -> Array:
    """Return an array whose first element does not count."""
    return np.ma.masked_array(array, np.arange(array.size) == 0)  # type: ignore[no-any-return]


def slices(values: Any = None, indices: Any = (1, 0), dense_shape: Any = (4, 3)) -> Slices:
    values = matrix() if values is None else values
    return Slices(
        values, np.asarray(indices) if isinstance(indices, tuple) else indices, dense_shape
    )


def sparse() -> Any:
    return scipy.sparse.csr_array(matrix())


# What no function takes as a tensor, and what messages call it.
NO_TENSORS: dict[str, tuple[Callable[[], Any], str]] = {
    "bool": (lambda: np.array([True]), "bool"),
    "objects": (lambda: np.array([1.0, None], object), "object"),
    "string": (lambda: "abc", "<U3"),
    "None": (lambda: None, "None"),
    "dates": (lambda: np.array(["2020-01-01"], "M8[D]"), "datetime64[D]"),
    "records": (lambda: np.zeros(2, [("x", float)]), "('x', '<f8')"),
    "float8": (lambda: np.zeros(2, ml_dtypes.float8_e5m2), "float8_e5m2"),
    "ragged list": (lambda: [[1.0], [2.0, 3.0]], "[[1.0], [2.0, 3.0]]"),
    "scipy sparse": (sparse, "csr_array"),
    "function": (lambda: vector, "function"),
    "masked array": (lambda: masked(vector()), "MaskedArray"),
}
INTEGERS: dict[str, tuple[Callable[[], Any], str]] = {
    "int8": (lambda: np.array([1], np.int8), "int8"),
    "int64": (lambda: np.array([1]), "int64"),
    "uint16": (lambda: np.array([1], np.uint16), "uint16"),
    "int16": (lambda: np.array([1], np.int16), "int16"),
    "list of integers": (lambda: [1, 2], "int64"),
}
COMPLEX: dict[str, tuple[Callable[[], Any], str]] = {
    "complex64": (lambda: np.array([1j], np.complex64), "complex64"),
    "complex": (lambda: 1j, "complex128"),
}


def clip_by_value(t: Any) -> Call:
    return call(nc.clip_by_value, t, -1, 1)


def clip_by_norm(t: Any) -> Call:
    return call(nc.clip_by_norm, t, 1.0)


def clip_by_average_norm(t: Any) -> Call:
    return call(nc.clip_by_average_norm, t, 1.0)


def clip_by_global_norm(t: Any) -> Call:
    return call(nc.clip_by_global_norm, [vector(), t], 1.0)


def global_norm(t: Any) -> Call:
    return call(nc.global_norm, [vector(), t])


CLIPS: dict[Callable[[Any], Call], str] = {
    clip_by_value: "t",
    clip_by_norm: "t",
    clip_by_average_norm: "t",
    clip_by_global_norm: "t_list[1]",
}
TAKE_TENSORS = {**CLIPS, global_norm: "t_list[1]"}


def tensors_refused() -> dict[str, Case]:
    cases = {}
    for function, argument in TAKE_TENSORS.items():
        refused = NO_TENSORS | (COMPLEX if function is clip_by_value else INTEGERS)
        for label, (make, came) in refused.items():
            if label == "None" and argument != "t":
                continue  # a list may hold None
            cases[f"{function.__name__}, {label}"] = case(
                lambda function=function, make=make: function(make()),
                TypeError,
                f"`{argument}`",
                came,
            )
    return cases


def slices_refused() -> dict[str, Case]:
    wrong: dict[str, tuple[Callable[[], Slices], type[Exception], str, str]] = {
        "fewer indices": (lambda: slices(indices=(1,)), ValueError, "indices", "(1,)"),
        "more indices": (lambda: slices(indices=(1, 2, 3)), ValueError, "indices", "(3,)"),
        "2-D indices": (lambda: slices(indices=((1, 0),)), ValueError, "indices", "(1, 2)"),
        "scalar index": (lambda: slices(indices=1), ValueError, "indices", "()"),
        "scalar values": (lambda: slices(np.array(1.0), (0,)), ValueError, "indices", "()"),
        "float indices": (lambda: slices(indices=(1.0, 0.0)), TypeError, "indices", "float64"),
        "bool indices": (lambda: slices(indices=(True, False)), TypeError, "indices", "bool"),
        "masked indices": (
            lambda: slices(indices=masked(np.array([1, 0]))),
            TypeError,
            "indices",
            "MaskedArray",
        ),
        "no indices": (lambda: slices(indices=None), TypeError, "indices", "object"),
        "ragged indices": (lambda: slices(indices=[[1], [0, 2]]), TypeError, "indices", "[[1]"),
        "no values": (lambda: Slices(None, np.array([0])), TypeError, "values", "None"),
        "bool values": (lambda: slices(np.ones((2, 3), bool)), TypeError, "values", "bool"),
    }
    return {
        f"{function.__name__}, {label}": case(
            lambda function=function, make=make: function(make()),
            error,
            f"`{argument}.{field}`",
            came,
        )
        for function, argument in TAKE_TENSORS.items()
        for label, (make, error, field, came) in wrong.items()
    }


def outs_refused() -> dict[str, Case]:
    """`out` that does not fit `t`, for all the functions that take it."""
    t_and_out: dict[str, tuple[Callable[[], tuple[Any, Any]], type[Exception], str, str]] = {
        "dtype": (
            lambda: (vector(), np.ones(3, np.float32)),
            TypeError,
            "",
            "float32",
        ),
        "shape": (lambda: (vector(), np.ones((3, 1))), ValueError, "", "(3, 1)"),
        "longer": (lambda: (vector(), np.ones(4)), ValueError, "", "(4,)"),
        "read-only": (lambda: (vector(), read_only(np.ones(3))), ValueError, "", "read-only"),
        "list": (lambda: (vector(), [0.0, 0.0, 0.0]), TypeError, "", "[0.0, 0.0, 0.0]"),
        "Variable": (lambda: (vector(), nc.Variable(np.ones(3))), TypeError, "", "Variable"),
        "slices for array": (lambda: (matrix(), slices()), TypeError, "", "IndexedSlices"),
        "array for slices": (lambda: (slices(), matrix()), TypeError, "", "ndarray"),
        "other indices": (lambda: (slices(), slices(indices=(0, 1))), ValueError, ".indices", ""),
        "fewer rows": (
            lambda: (slices(), slices(np.ones((1, 3)), (1,))),
            ValueError,
            ".indices",
            "",
        ),
        "values' dtype": (
            lambda: (slices(), slices(np.ones((2, 3), np.float32))),
            TypeError,
            ".values",
            "float32",
        ),
        "values' shape": (
            lambda: (slices(), slices(np.ones((2, 4)))),
            ValueError,
            ".values",
            "(2, 4)",
        ),
        "values read-only": (
            lambda: (slices(), slices(read_only(matrix()))),
            ValueError,
            ".values",
            "read-only",
        ),
        "values a list": (
            lambda: (slices(), slices([[0.0] * 3] * 2)),
            TypeError,
            ".values",
            "[[0.0, 0.0, 0.0]",
        ),
    }
    return {
        f"{function.__name__}, {label}": case(
            lambda function=function, make=make: with_out(function, *make()),
            error,
            f"`{'out' if argument == 't' else 'out[1]'}{field}`",
            came,
        )
        for function, argument in CLIPS.items()
        for label, (make, error, field, came) in t_and_out.items()
    }


def with_out(function: Callable[[Any], Call], t: Any, out: Any) -> Call:
    in_list = function is clip_by_global_norm
    return function(t)._replace(options={"out": [np.zeros(3), out] if in_list else out})


def bound(
    t: Callable[[], Any], lowest: Any, highest: Any, error: type[Exception], *texts: str
) -> Case:
    return case(lambda: call(nc.clip_by_value, t(), lowest, highest), error, *texts)


MINIMUM, MAXIMUM = "`clip_value_min`", "`clip_value_max`"
RAGGED = [[1.0], [1.0, 2.0]]
BOUNDS: Table = {
    "crossed": bound(vector, 2.0, 1.0, ValueError, MINIMUM, "2.0"),
    "crossed, integers": bound(integers, 2, 1, ValueError, MINIMUM, "2"),
    "crossed, 0-d arrays": bound(vector, np.array(2.0), np.float32(1), ValueError, MAXIMUM, "1.0"),
    "minimum None": bound(vector, None, 1.0, TypeError, MINIMUM, "None"),
    "maximum a string": bound(vector, 0.0, "1", TypeError, MAXIMUM, "<U1"),
    "minimum complex": bound(vector, 1j, 1.0, TypeError, MINIMUM, "complex128"),
    "maximum ragged": bound(vector, 0.0, RAGGED, TypeError, MAXIMUM, str(RAGGED)),
    "does not broadcast": bound(matrix, np.zeros(2), 1.0, ValueError, MINIMUM, "(2,)"),
    "would enlarge a scalar": bound(lambda: 1.0, 0.0, np.ones(2), ValueError, MAXIMUM, "(2,)"),
    "would enlarge a column": bound(
        lambda: np.ones((2, 1)), np.zeros((2, 3)), 1.0, ValueError, MINIMUM, "(2, 3)"
    ),
    "would add a dimension": bound(
        matrix, 0.0, np.ones((1, 2, 3)), ValueError, MAXIMUM, "(1, 2, 3)"
    ),
    "slices": bound(matrix, slices(), 1.0, TypeError, MINIMUM, "IndexedSlices"),
    "of the dense shape": bound(slices, np.zeros((4, 3)), 1.0, ValueError, MINIMUM, "(4, 3)"),
    "float for integers": bound(integers, 0, 6.0, TypeError, MAXIMUM, "6.0"),
    "float array for integers": bound(integers, np.zeros(3), 6, TypeError, MINIMUM, "float64"),
    "below the range": bound(single(np.uint8), -2, 6, ValueError, MINIMUM, "-2"),
    "above the range": bound(single(np.int8), 0, 128, ValueError, MAXIMUM, "128"),
    "above all ranges": bound(integers, 0, 2**70, ValueError, MAXIMUM, str(2**70)),
    "an entry above": bound(integers, 0, np.array([1, 2, 2**40]), ValueError, MAXIMUM, "int64"),
}

NO_LIMITS: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "negative": (lambda: -1.0, ValueError, "-1.0"),
    "negative integer": (lambda: -3, ValueError, "-3"),
    "minus infinity": (lambda: -np.inf, ValueError, "-inf"),
    "NaN": (lambda: np.nan, ValueError, "nan"),
    "float32 NaN": (lambda: np.float32(np.nan), ValueError, "NaN"),
    "string": (lambda: "1", TypeError, "<U1"),
    "None": (lambda: None, TypeError, "None"),
    "complex": (lambda: 1j, TypeError, "complex128"),
    "ragged": (lambda: [[1.0], [1.0, 2.0]], TypeError, "[[1.0], [1.0, 2.0]]"),
}
ARRAYS_AS_LIMIT: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "array": (vector, ValueError, "(3,)"),
    "array of one": (lambda: np.ones(1), ValueError, "(1,)"),
    "list": (lambda: [1.0, 1.0], ValueError, "(2,)"),
}
AXES: dict[str, tuple[Any, type[Exception], str]] = {
    "too large": (2, ValueError, "2"),
    "too small": (-3, ValueError, "-3"),
    "one of two too large": ([0, 5], ValueError, "5"),
    "repeated": ([0, 0], ValueError, "[0, 0]"),
    "repeated from the end": ((1, -1), ValueError, "(1, -1)"),
    "float": (1.0, TypeError, "1.0"),
    "list of floats": ([0.0, 1.0], TypeError, "[0.0, 1.0]"),
    "bool": (True, TypeError, "True"),
    "string": ("0", TypeError, "0"),
    "None among them": ([0, None], TypeError, "[0, None]"),
    "set": ({0}, TypeError, "{0}"),
    "ragged": ([[0], [0, 1]], TypeError, "[[0], [0, 1]]"),
}


def limits_refused() -> dict[str, Case]:
    takers: dict[str, Callable[[Any], Call]] = {
        "clip_by_norm": lambda limit: call(nc.clip_by_norm, matrix(), limit),
        "clip_by_average_norm": lambda limit: call(nc.clip_by_average_norm, matrix(), limit),
        "clip_by_global_norm": lambda limit: call(nc.clip_by_global_norm, [matrix()], limit),
    }
    return {
        f"{name}, {label}": case(
            lambda taker=taker, make=make: taker(make()), error, "`clip_norm`", came
        )
        for name, taker in takers.items()
        for label, (make, error, came) in (
            NO_LIMITS if name == "clip_by_norm" else NO_LIMITS | ARRAYS_AS_LIMIT
        ).items()
    }


def axes_refused() -> dict[str, Case]:
    return {
        label: case(
            lambda axes=axes: call(nc.clip_by_norm, matrix(), 1.0, axes), error, "`axes`", came
        )
        for label, (axes, error, came) in AXES.items()
    }


NORMS: Table = {
    "axis of a scalar": case(lambda: call(nc.clip_by_norm, 3.0, 1.0, 0), ValueError, "`axes`", "0"),
    "limits with one negative": case(
        lambda: call(nc.clip_by_norm, matrix(), np.array([[1.0], [-1.0]]), 1),
        ValueError,
        "`clip_norm`",
        "(2, 1)",
    ),
    "limits with one NaN": case(
        lambda: call(nc.clip_by_norm, matrix(), [[1.0], [np.nan]], 1),
        ValueError,
        "`clip_norm`",
        "nan",
    ),
    "limit to a number": case(
        lambda: call(nc.clip_by_norm, matrix(), matrix()), ValueError, "`clip_norm`", "(2, 3)"
    ),
    "limits without the reduced axis": case(
        lambda: call(nc.clip_by_norm, matrix(), np.ones(2), 1), ValueError, "`clip_norm`", "(2,)"
    ),
    "limits that add a dimension": case(
        lambda: call(nc.clip_by_norm, matrix(), np.ones((1, 1, 1))),
        ValueError,
        "`clip_norm`",
        "(1, 1, 1)",
    ),
    "complex limits": case(
        lambda: call(nc.clip_by_norm, matrix(), np.ones((2, 1), complex), 1),
        TypeError,
        "`clip_norm`",
        "complex128",
    ),
    "average of slices without shape": case(
        lambda: call(nc.clip_by_average_norm, slices(dense_shape=None), 1.0),
        ValueError,
        "`t.dense_shape`",
        "None",
    ),
    "average of slices of a negative shape": case(
        lambda: call(nc.clip_by_average_norm, slices(dense_shape=(-4, 3)), 1.0),
        ValueError,
        "`t.dense_shape`",
        "-4",
    ),
    "average of slices of other rows": case(
        lambda: call(nc.clip_by_average_norm, slices(dense_shape=(4, 9)), 1.0),
        ValueError,
        "`t.values`",
        "(3,)",
    ),
}


def clip_list(t_list: Any, out: Any = None, **options: Any) -> Call:
    return call(nc.clip_by_global_norm, t_list, 1.0, out=out, **options)


NOT_LISTS: dict[str, tuple[Callable[[], Any], str]] = {
    "array": (vector, "ndarray"),
    "generator": (lambda: (each for each in [vector()]), "generator"),
    "string": (lambda: "abc", "str"),
    "bytes": (lambda: b"abc", "bytes"),
    "set": (lambda: {1.0, 2.0}, "set"),
    "bare IndexedSlices": (slices, "IndexedSlices"),
    "None": (lambda: None, "NoneType"),
    "number": (lambda: 1.0, "float"),
    "Variable": (lambda: nc.Variable(vector()), "Variable"),
    "values of a dict": (lambda: {"a": vector()}.values(), "dict_values"),
}


def not_lists() -> dict[str, Case]:
    takers: dict[str, tuple[str, Callable[[Any], Call]]] = {
        "global_norm": ("t_list", lambda t_list: call(nc.global_norm, t_list)),
        "clip_by_global_norm": ("t_list", clip_list),
        "clip_by_global_norm, out": ("out", lambda out: clip_list([vector()], out)),
    }
    return {
        f"{name}, {label}": case(
            lambda taker=taker, make=make: taker(make()), TypeError, f"`{argument}`", came
        )
        for name, (argument, taker) in takers.items()
        for label, (make, came) in NOT_LISTS.items()
        if not (argument == "out" and label == "None")
    }


def same_array_twice() -> Call:
    t = vector()
    return clip_list([t, t], [t, t])


def in_place_overlap() -> Call:
    t = np.arange(6.0)
    t_list = [t[:4], t[3:]]
    return clip_list(t_list, t_list)


def out_overlaps_other_input() -> Call:
    first, second = vector(), vector()
    return clip_list([first, second], [second, np.zeros(3)])


def out_overlaps_later_input() -> Call:
    first, second = vector(), vector()
    return clip_list([first, second], [np.zeros(3), first[::-1]])


def out_interleaves() -> Call:
    t = np.arange(12.0)
    return clip_list([vector(), vector()], [t[:6:2], t[2:5]])


def out_of_slices_overlaps() -> Call:
    values = matrix()
    return clip_list([slices(values), vector()], [slices(), values[0]])


def overlap_in_dicts() -> Call:
    t = vector()
    return clip_list({"a": t, "b": vector()}, {"b": t, "a": np.zeros(3)})


GLOBAL: Table = {
    "use_norm negative": case(
        lambda: clip_list([vector()], use_norm=-1.0), ValueError, "`use_norm`", "-1.0"
    ),
    "use_norm an array": case(
        lambda: clip_list([vector()], use_norm=np.ones(3)), ValueError, "`use_norm`", "(3,)"
    ),
    "use_norm a string": case(
        lambda: clip_list([vector()], use_norm="1"), TypeError, "`use_norm`", "<U1"
    ),
    "use_norm complex": case(
        lambda: clip_list([vector()], use_norm=1j), TypeError, "`use_norm`", "complex128"
    ),
    "nonfinite unknown": case(
        lambda: clip_list([vector()], nonfinite="skip"), ValueError, "`nonfinite`", "skip"
    ),
    "nonfinite None": case(
        lambda: clip_list([vector()], nonfinite=None), ValueError, "`nonfinite`", "None"
    ),
    "NaN in the second of three": case(
        lambda: clip_list([vector(), vector() * np.nan, vector() * np.inf], nonfinite="raise"),
        FloatingPointError,
        "`t_list[1]`",
        "nan",
    ),
    "infinity after None, in place": case(
        lambda: in_place([vector(), None, np.array([1.0, -np.inf]), np.array([np.nan])]),
        FloatingPointError,
        "`t_list[2]`",
        "inf",
    ),
    "NaN in a dict": case(
        lambda: clip_list({"a": vector(), "b": np.array(np.nan)}, nonfinite="raise"),
        FloatingPointError,
        "`t_list['b']`",
        "nan",
    ),
    "NaN in slices, in place": case(
        lambda: in_place([vector(), slices(matrix() * np.nan)]),
        FloatingPointError,
        "`t_list[1]`",
        "nan",
    ),
    "use_norm NaN": case(
        lambda: clip_list([vector()], use_norm=np.nan, nonfinite="raise"),
        FloatingPointError,
        "`use_norm`",
        "nan",
    ),
    "an entry of a dict": case(
        lambda: clip_list({"a": vector(), "b": np.array([1])}), TypeError, "`t_list['b']`", "int64"
    ),
    "an entry of an entry": case(
        lambda: call(nc.global_norm, [[vector(), vector()[:2]]]), TypeError, "`t_list[0]`", "list"
    ),
    "out shorter": case(
        lambda: clip_list([vector(), vector()], [np.zeros(3)]), ValueError, "`out`", "1"
    ),
    "out longer": case(
        lambda: clip_list([vector()], [np.zeros(3), np.zeros(3)]), ValueError, "`out`", "2"
    ),
    "out with other keys": case(
        lambda: clip_list({"a": vector()}, {"b": np.zeros(3)}), ValueError, "`out`", "'b'"
    ),
    "out with one key more": case(
        lambda: clip_list({"a": vector()}, {"a": np.zeros(3), "b": np.zeros(3)}),
        ValueError,
        "`out`",
        "2",
    ),
    "out a list for a dict": case(
        lambda: clip_list({"a": vector()}, [np.zeros(3)]), ValueError, "`out`"
    ),
    "out a dict for a list": case(
        lambda: clip_list([vector()], {"a": np.zeros(3)}), ValueError, "`out`"
    ),
    "out None for an array": case(
        lambda: clip_list([vector(), vector()], [np.zeros(3), None]), TypeError, "`out[1]`", "None"
    ),
    "out read-only in a dict": case(
        lambda: clip_list(
            {"a": vector(), "b": vector()}, {"b": read_only(vector()), "a": np.zeros(3)}
        ),
        ValueError,
        "`out['b']`",
        "read-only",
    ),
    "the same array twice": case(same_array_twice, ValueError, "`out`", "0 and 1"),
    "in place, overlapping": case(in_place_overlap, ValueError, "`out`", "0 and 1"),
    "out overlaps another's input": case(out_overlaps_other_input, ValueError, "`out`", "0 and 1"),
    "out overlaps a previous input": case(out_overlaps_later_input, ValueError, "`out`", "0 and 1"),
    "out overlaps out": case(out_interleaves, ValueError, "`out`", "0 and 1"),
    "out overlaps slices": case(out_of_slices_overlaps, ValueError, "`out`", "0 and 1"),
    "out overlaps in dicts": case(overlap_in_dicts, ValueError, "`out`", "share memory"),
}


def in_place(t_list: list[Any]) -> Call:
    return clip_list(t_list, t_list, nonfinite="raise")


def methods_of_slices() -> dict[str, Case]:
    wrong: dict[str, tuple[Callable[[], Slices], type[Exception], str, str]] = {
        "negative index": (lambda: slices(indices=(1, -1)), IndexError, "indices", "-1"),
        "index too large": (lambda: slices(indices=(4, 0)), IndexError, "indices", "4"),
        "uint64 index too large": (
            lambda: slices(indices=np.array([0, 2**63], np.uint64)),
            IndexError,
            "indices",
            str(2**63),
        ),
        "other rows": (lambda: slices(dense_shape=(4, 2)), ValueError, "values", "(3,)"),
        "fewer indices": (lambda: slices(indices=(1,)), ValueError, "indices", "(1,)"),
        "float indices": (lambda: slices(indices=(1.0, 0.0)), TypeError, "indices", "float64"),
        "integer values": (lambda: slices(np.ones((2, 3), int)), TypeError, "values", "int64"),
        "dense_shape a number": (lambda: slices(dense_shape=4), TypeError, "dense_shape", "4"),
        "dense_shape negative": (
            lambda: slices(dense_shape=(-4, 3)),
            ValueError,
            "dense_shape",
            "-4",
        ),
        "dense_shape with a float": (
            lambda: slices(dense_shape=(4.5, 3)),
            TypeError,
            "dense_shape",
            "4.5",
        ),
        "dense_shape with None": (
            lambda: slices(dense_shape=(None, 3)),
            TypeError,
            "dense_shape",
            "None",
        ),
    }
    return {
        f"{method}, {label}": case(
            lambda method=method, make=make: call(getattr(make(), method)),
            error,
            f"`self.{field}`",
            came,
        )
        for method in ("coalesce", "to_dense", "to_scipy")
        for label, (make, error, field, came) in wrong.items()
    }


SLICES: Table = {
    "to_dense without shape": case(
        lambda: call(slices(dense_shape=None).to_dense), ValueError, "`self.dense_shape`", "None"
    ),
    "to_scipy without shape": case(
        lambda: call(slices(dense_shape=None).to_scipy), ValueError, "`self.dense_shape`", "None"
    ),
    "coalesce, index too large without shape": case(
        lambda: call(slices(indices=np.array([0, 2**63], np.uint64), dense_shape=None).coalesce),
        IndexError,
        "`self.indices`",
        str(2**63),
    ),
    "to_scipy of one dimension": case(
        lambda: call(Slices(vector(), np.arange(3), (4,)).to_scipy),
        ValueError,
        "`self.dense_shape`",
        "(4,)",
    ),
    "to_scipy of three dimensions": case(
        lambda: call(Slices(np.ones((1, 2, 3)), np.arange(1), (4, 2, 3)).to_scipy),
        ValueError,
        "`self.dense_shape`",
        "(4, 2, 3)",
    ),
    "to_scipy of float16": case(
        lambda: call(slices(matrix().astype(np.float16)).to_scipy),
        TypeError,
        "`self.values`",
        "float16",
    ),
    "to_scipy of bfloat16": case(
        lambda: call(slices(matrix().astype(ml_dtypes.bfloat16)).to_scipy),
        TypeError,
        "`self.values`",
        "bfloat16",
    ),
    "array plus slices without shape": case(
        lambda: call(slices(dense_shape=None).__radd__, np.ones((4, 3))),
        ValueError,
        "`self.dense_shape`",
        "None",
    ),
    "from_scipy of an array": case(
        lambda: call(Slices.from_scipy, matrix()), TypeError, "`matrix`", "ndarray"
    ),
    "from_scipy of None": case(
        lambda: call(Slices.from_scipy, None), TypeError, "`matrix`", "None"
    ),
    "from_scipy of one dimension": case(
        lambda: call(Slices.from_scipy, scipy.sparse.coo_array(vector())),
        TypeError,
        "`matrix`",
        "(3,)",
    ),
}


def assigned(value: Callable[[], Any], new: Any, error: type[Exception], came: str) -> Case:
    return case(lambda: call(nc.Variable(value()).assign, new), error, "`value`", came)


CONSTRAINTS: dict[str, tuple[Any, ...]] = {
    "a number": (0.5, vector, TypeError, "`constraint`", "0.5"),
    "a string": ("ab", vector, TypeError, "`constraint`", "'ab'"),
    "one bound": ((0.5,), vector, TypeError, "`constraint`", "tuple"),
    "three bounds": ((0.0, 0.5, 1.0), vector, TypeError, "`constraint`", "tuple"),
    "an array": (np.array([0.0, 1.0]), vector, TypeError, "`constraint`", "ndarray"),
    "None for no bound": ((None, 1.0), vector, TypeError, "`constraint[0]`", "None"),
    "string bound": ((0.0, "1"), vector, TypeError, "`constraint[1]`", "<U1"),
    "array bound": ((0.0, np.ones(3)), vector, ValueError, "`constraint[1]`", "(3,)"),
    "crossed": ((0.5, 0.25), vector, ValueError, "`constraint`", "(0.5, 0.25)"),
    "NaN below": ((np.nan, 1.0), vector, ValueError, "`constraint`", "nan"),
    "NaN above": ((0.0, np.nan), vector, ValueError, "`constraint`", "nan"),
    "on integers": ((0, 1), integers, TypeError, "`constraint`", "int32"),
    "on complex": ((0, 1), single(np.complex64), TypeError, "`constraint`", "complex64"),
}
VARIABLES: Table = {
    **{
        f"initial value, {label}": case(
            lambda make=make: call(nc.Variable, make()), TypeError, "`initial_value`", came
        )
        for label, (make, came) in NO_TENSORS.items()
    },
    "initial value, slices": case(
        lambda: call(nc.Variable, slices()), TypeError, "`initial_value`", "IndexedSlices"
    ),
    "name of a number": case(lambda: call(nc.Variable, vector(), name=3), TypeError, "`name`", "3"),
    "initial value, read-only": case(
        lambda: call(nc.Variable, read_only(vector())), ValueError, "`initial_value`", "read-only"
    ),
    **{
        f"constraint, {label}": case(
            lambda value=value, make=make: call(nc.Variable, make(), constraint=value),
            error,
            *texts,
        )
        for label, (value, make, error, *texts) in CONSTRAINTS.items()
    },
    "assign, other shape": assigned(vector, np.ones((3, 1)), ValueError, "(3, 1)"),
    "assign, a scalar": assigned(vector, 1.0, ValueError, "()"),
    "assign, complex": assigned(vector, np.ones(3, complex), TypeError, "complex128"),
    "assign, float to integer": assigned(integers, vector(), TypeError, "float64"),
    "assign, string": assigned(lambda: 1.0, "abc", TypeError, "abc"),
    "assign, None": assigned(lambda: 1.0, None, TypeError, "None"),
    "assign, ragged": assigned(vector, RAGGED, TypeError, str(RAGGED)),
    "assign, slices of the shape of the tuple": assigned(
        lambda: np.zeros((3, 2)), Slices([1.0, 2.0], [0, 1], (3, 5)), TypeError, "IndexedSlices"
    ),
    "assign, slices": assigned(matrix, slices(), TypeError, "IndexedSlices"),
}


def gathered(params: Callable[[], Any], indices: Any, error: type[Exception], *texts: str) -> Case:
    return case(lambda: call(nc.gather, params(), indices), error, *texts)


GATHER: Table = {
    "params a string": gathered(lambda: "abc", [1], ValueError, "`params`", "scalar"),
    "params slices": gathered(slices, [1], TypeError, "`params`", "IndexedSlices"),
    "float indices": gathered(matrix, [0.5], TypeError, "`indices`", "[0.5]"),
    "bool indices": gathered(matrix, np.array([True]), TypeError, "`indices`", "bool"),
    "string": gathered(matrix, "0", TypeError, "`indices`", "'0'"),
    "None": gathered(matrix, None, TypeError, "`indices`", "None"),
    "ragged indices": gathered(matrix, RAGGED, TypeError, "`indices`", str(RAGGED)),
    "negative index": gathered(matrix, [0, -1], IndexError, "`indices`", "-1"),
    "index too large": gathered(matrix, np.uint8([[0, 2]]), IndexError, "`indices`", "2"),
    "no rows at all": gathered(lambda: np.zeros((0, 3)), [0], IndexError, "`indices`", "0"),
    "of a scalar": gathered(lambda: nc.Variable(1.0), [0], ValueError, "`params`", "scalar"),
    "of slices": gathered(slices, [0], TypeError, "`params`", "IndexedSlices"),
}


def taking_loss(function: Callable[..., Any], argument: str) -> dict[str, Case]:
    """Return the errors of a function that takes a loss and variables that it may read."""
    x = nc.Variable(vector(), name="x")
    losses: dict[str, tuple[Any, str]] = {
        "a number": (1.0, "1.0"),
        "an array": (vector(), "ndarray"),
        "a Variable": (x, "Variable"),
        "returns None": (lambda: None, "None"),
        "returns an integer": (lambda: 3, "3"),
        "returns a string": (lambda: "abc", "'abc'"),
        "returns complex": (lambda: x * 1j, "complex128"),
        "returns a list": (lambda: [x.value, x.value], "list"),
        "returns slices": (lambda: slices(x * 1.0, (0, 1, 2), (3,)), "IndexedSlices"),
    }
    return {
        f"loss {label}": case(
            lambda loss=loss: call(function, loss, [x]), TypeError, argument, came
        )
        for label, (loss, came) in losses.items()
    }


def taking_variables(function: Callable[..., Any], argument: str) -> dict[str, Case]:
    x = nc.Variable(vector(), name="x")
    variables: dict[str, tuple[Any, str, str]] = {
        "an array": ([x, vector()], f"{argument}[1]", "ndarray"),
        "a name": (["x"], f"{argument}[0]", "'x'"),
        "None among them": ([x, None], f"{argument}[1]", "None"),
        "a number": (5, argument, "5"),
    }
    return {
        f"variables, {label}": case(
            lambda given=given: call(function, lambda: anp.sum(x**2), given),
            TypeError,
            f"`{where}`",
            came,
        )
        for label, (given, where, came) in variables.items()
    }


def square_of(x: nc.Variable) -> Callable[[], Any]:
    return lambda: x**2


def with_weights(weights: Any, losses: int = 0) -> Call:
    x = nc.Variable(vector())
    ys = [square_of(x)] * losses if losses else square_of(x)
    return call(nc.gradients, ys, x, grad_ys=weights)


def computing(*arguments: Any, **options: Any) -> Call:
    x = nc.Variable(vector())
    return call(Adam().compute_gradients, square_of(x), *arguments, **options)


def compute_gradients(loss: Any, variables: Any) -> Any:
    return Adam().compute_gradients(loss, variables)


def minimize(loss: Any, variables: Any) -> Any:
    return Adam().minimize(loss, var_list=variables)


GRADIENTS: Table = {
    "xs None": case(
        lambda: call(nc.gradients, square_of(nc.Variable(1.0)), None), TypeError, "`xs`", "None"
    ),
    "the second of ys": case(
        lambda: call(nc.gradients, [square_of(nc.Variable(1.0)), 5], []), TypeError, "`ys", "5"
    ),
    "grad_ys of another shape": case(
        lambda: with_weights(np.ones(2)), ValueError, "`grad_ys`", "(2,)"
    ),
    "grad_ys a scalar": case(lambda: with_weights(1.0), ValueError, "`grad_ys`", "()"),
    "grad_ys a number for a list": case(
        lambda: with_weights(2.0, losses=1), ValueError, "`grad_ys`", "2.0"
    ),
    "grad_ys too few": case(
        lambda: with_weights([np.ones(3)], losses=2), ValueError, "`grad_ys`", "1"
    ),
    "grad_ys too many": case(
        lambda: with_weights([np.ones(3)] * 3, losses=2), ValueError, "`grad_ys`", "3"
    ),
    "grad_ys a string": case(lambda: with_weights("a"), TypeError, "`grad_ys`", "a"),
    "grad_ys complex": case(
        lambda: with_weights(vector() * 1j), TypeError, "`grad_ys`", "complex128"
    ),
    "gate_gradients": case(
        lambda: computing(gate_gradients=5), ValueError, "`gate_gradients`", "5"
    ),
    "aggregation_method": case(
        lambda: computing(aggregation_method=7), ValueError, "`aggregation_method`", "7"
    ),
    "grad_loss of another shape": case(
        lambda: computing(grad_loss=np.ones(2)), ValueError, "`grad_loss`", "(2,)"
    ),
    "grad_loss a string": case(lambda: computing(grad_loss="a"), TypeError, "`grad_loss`", "a"),
    "minimize, no variable": case(
        lambda: call(Adam().minimize, lambda: 1.0), ValueError, "`grads_and_vars`", "empty"
    ),
    "minimize, no gradient": case(
        lambda: call(Adam().minimize, lambda: 1.0, var_list=[nc.Variable(1.0, name="x")]),
        ValueError,
        "`grads_and_vars`",
        "name='x'",
    ),
}

# What no optimizer takes as one of its pairs: gradient and variable, the error, the part of the
# pair that its message names, and what came.
PAIRS: dict[str, tuple[Callable[[], Any], type[Exception], str, str]] = {
    "wrong dtype": (
        lambda: (vector().astype(np.float32), variable(vector())),
        TypeError,
        "[0]",
        "layer/weights",
    ),
    "float64 for float32": (
        lambda: (vector(), variable(vector().astype(np.float32))),
        TypeError,
        "[0]",
        "float64",
    ),
    "integer gradient": (lambda: (np.arange(3), variable(vector())), TypeError, "[0]", "int64"),
    "string gradient": (lambda: ("abc", variable(vector())), TypeError, "[0]", "<U3"),
    "ragged gradient": (lambda: (RAGGED, variable(vector())), TypeError, "[0]", str(RAGGED)),
    "strings as a gradient": (
        lambda: (["1", "2", "3"], variable(vector())),
        TypeError,
        "[0]",
        "['1', '2', '3']",
    ),
    "float64 number for float32": (
        lambda: (np.float64(0.5), variable(np.float32(1.0))),
        TypeError,
        "[0]",
        "float64",
    ),
    "masked gradient": (
        lambda: (masked(vector()), variable(vector())),
        TypeError,
        "[0]",
        "with masked elements",
    ),
    "scipy gradient": (lambda: (sparse(), variable(matrix())), TypeError, "[0]", "csr_array"),
    "wrong shape": (lambda: (np.ones(4), variable(vector())), ValueError, "[0]", "(4,)"),
    "row for column": (
        lambda: (np.ones(2), variable(np.ones((2, 1)))),
        ValueError,
        "[0]",
        "(2,)",
    ),
    "scalar gradient": (lambda: (np.array(1.0), variable(vector())), ValueError, "[0]", "()"),
    "slices of wrong dtype": (
        lambda: (slices(matrix().astype(np.float32)), variable(np.ones((4, 3)))),
        TypeError,
        "[0]",
        "float32",
    ),
    "slices of another shape": (
        lambda: (slices(), variable(np.ones((5, 3)))),
        ValueError,
        "[0]",
        "(4, 3)",
    ),
    "slices of other rows": (
        lambda: (slices(dense_shape=None), variable(np.ones((4, 2)))),
        ValueError,
        "[0].values",
        "(3,)",
    ),
    "slices of a scalar": (
        lambda: (Slices(np.ones(1), np.array([0])), variable(1.0)),
        ValueError,
        "[0]",
        "shape=()",
    ),
    "row too large": (
        lambda: (slices(indices=(1, 4), dense_shape=None), variable(np.ones((4, 3)))),
        IndexError,
        "[0].indices",
        "4",
    ),
    "row negative": (
        lambda: (slices(indices=(-1, 1)), variable(np.ones((4, 3)))),
        IndexError,
        "[0].indices",
        "-1",
    ),
    "float rows": (
        lambda: (slices(indices=(0.0, 1.0)), variable(np.ones((4, 3)))),
        TypeError,
        "[0].indices",
        "float64",
    ),
    "fewer indices than rows": (
        lambda: (slices(indices=(0,)), variable(np.ones((4, 3)))),
        ValueError,
        "[0].indices",
        "(1,)",
    ),
    "integer variable": (lambda: (np.arange(3), variable([1, 2, 3])), TypeError, "[1]", "int64"),
    "complex variable": (
        lambda: (np.ones(1, complex), variable(np.ones(1, complex))),
        TypeError,
        "[1]",
        "complex128",
    ),
    "read-only by now": (
        lambda: (vector(), made_read_only(variable(vector()))),
        ValueError,
        "[1]",
        "read-only",
    ),
    "read-only by now, strided": (
        lambda: (vector(), made_read_only(variable(np.ones(6)[::2]))),
        ValueError,
        "[1]",
        "read-only",
    ),
    "read-only by now, sparse": (
        lambda: (slices(), made_read_only(variable(np.ones((4, 3))))),
        ValueError,
        "[1]",
        "read-only",
    ),
    "an array as variable": (lambda: (vector(), vector()), TypeError, "[1]", "ndarray"),
    "None as variable": (lambda: (vector(), None), TypeError, "[1]", "None"),
    "pair turned round": (lambda: (variable(vector()), vector()), TypeError, "[1]", "ndarray"),
    "bare gradient": (vector, ValueError, "", "ndarray"),
    "bare variable": (lambda: variable(vector()), ValueError, "", "Variable"),
    "bare scalar gradient": (lambda: np.array(1.0), ValueError, "", "ndarray"),
    "bare scalar variable": (lambda: variable(1.0), ValueError, "", "Variable"),
    "bare slices": (slices, ValueError, "", "IndexedSlices"),
    "triple": (lambda: (vector(), variable(vector()), "x"), ValueError, "", "tuple"),
    "single": (lambda: (vector(),), ValueError, "", "tuple"),
    "None": (lambda: None, ValueError, "", "None"),
    "string": (lambda: "ab", ValueError, "", "'ab'"),
    "number": (lambda: 1.0, ValueError, "", "1.0"),
}


def variable(value: Any) -> nc.Variable:
    return nc.Variable(value, name="layer/weights")


def made_read_only(given: nc.Variable) -> nc.Variable:
    given.value.flags.writeable = False
    return given


def stepped(make: Callable[[], nc.train.Optimizer], *bad: Any, **options: Any) -> Call:
    """Take one good step, then prepare a step whose last pairs are bad."""
    first, last = nc.Variable(vector(), name="first"), nc.Variable(matrix(), name="last")
    single = nc.Variable(np.float32([1.0, 2.0]), name="single")
    optimizer = make()
    optimizer.apply_gradients([(vector(), first), (matrix(), last)])
    good = [(vector(), first), (Slices(matrix(), [1, 1]), last), (np.ones(2, np.float32), single)]
    return call(optimizer.apply_gradients, [*good, *bad], **options)


def pairs_refused() -> dict[str, Case]:
    return {
        f"{name}, {label}": case(
            lambda row=row, make=make: stepped(row.make, make()),
            error,
            f"`grads_and_vars[3]{field}`",
            came,
        )
        for name, row in OPTIMIZERS.items()
        for label, (make, error, field, came) in PAIRS.items()
    }


GLOBAL_STEPS: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "int": (lambda: 3, TypeError, "3"),
    "NumPy scalar": (lambda: np.int64(3), TypeError, "int64"),
    "list": (lambda: [3], TypeError, "[3]"),
    "float array": (lambda: np.zeros(()), TypeError, "float64"),
    "float Variable": (lambda: nc.Variable(0.0, name="step"), TypeError, "step"),
    "bool array": (lambda: np.array(False), TypeError, "bool"),
    "two of them": (lambda: np.zeros(2, int), ValueError, "(2,)"),
    "none of them": (lambda: np.zeros(0, int), ValueError, "(0,)"),
    "read-only": (lambda: read_only(np.array(3)), ValueError, "writable"),
    "string": (lambda: "step", TypeError, "step"),
}
NO_HYPERPARAMETERS: dict[str, tuple[Any, type[Exception], str]] = {
    "array": (np.array([0.1, 0.2]), ValueError, "(2,)"),
    "array of one": (np.array([0.1]), ValueError, "(1,)"),
    "string": ("0.1", TypeError, "<U3"),
    "None": (None, TypeError, "None"),
    "complex": (0.1j, TypeError, "complex128"),
    "callable that returns a string": (lambda: "abc", TypeError, "<U3"),
    "callable that returns an array": (lambda: np.ones(2), ValueError, "(2,)"),
    "callable that returns None": (lambda: None, TypeError, "None"),
}
CLIPPING = ("clipvalue", "clipnorm", "global_clipnorm")
# None is no limit.
NO_CLIPPING = {k: each for k, each in (NO_LIMITS | ARRAYS_AS_LIMIT).items() if k != "None"}
# What each optimizer takes as a number or as a callable, and what else it asks for.
HYPERPARAMETERS: dict[type[nc.train.Optimizer], tuple[str, ...]] = {
    GradientDescent: ("learning_rate",),
    nc.train.MomentumOptimizer: ("learning_rate", "momentum"),
    nc.train.AdagradOptimizer: ("learning_rate",),
    nc.train.AdadeltaOptimizer: ("learning_rate", "rho", "epsilon"),
    Adam: ("learning_rate", "beta1", "beta2", "epsilon"),
    nc.train.AdamWOptimizer: ("learning_rate", "weight_decay", "beta1", "beta2", "epsilon"),
    nc.train.RMSPropOptimizer: ("learning_rate", "decay", "momentum", "epsilon"),
    nc.train.FtrlOptimizer: ("learning_rate",),
    nc.train.ProximalGradientDescentOptimizer: ("learning_rate",),
    nc.train.ProximalAdagradOptimizer: ("learning_rate",),
    nc.train.AdagradDAOptimizer: ("learning_rate",),
}
REQUIRED: dict[type[nc.train.Optimizer], dict[str, Any]] = {
    nc.train.MomentumOptimizer: {"momentum": 0.5},
    nc.train.AdagradDAOptimizer: {"global_step": nc.Variable(3)},
}


def arguments_of(kind: type[nc.train.Optimizer], **options: Any) -> dict[str, Any]:
    """Return arguments of an optimizer, these in place of good ones."""
    return {"learning_rate": 0.5, **REQUIRED.get(kind, {}), **options}


def applying(
    hyperparameter: str, value: Any, kind: type[nc.train.Optimizer] = Adam, **options: Any
) -> Call:
    """Prepare a step that has a bad hyperparameter, after one that had a good one."""
    now = [0.5]
    arguments = arguments_of(kind, **{hyperparameter: lambda: now[0]})
    made = stepped(lambda: kind(**arguments), **options)
    now[0] = value() if callable(value) else value
    return made


def pairs_of(table: Mapping[Any, tuple[str, ...]]) -> list[tuple[Any, str]]:
    return [(kind, argument) for kind, arguments in table.items() for argument in arguments]


def steps_refused() -> dict[str, Case]:
    cases = {
        f"global_step, {label}": case(
            lambda make=make: stepped(lambda: Adam(0.5), global_step=make()),
            error,
            "`global_step`",
            came,
        )
        for label, (make, error, came) in GLOBAL_STEPS.items()
    }
    for kind, argument in pairs_of(HYPERPARAMETERS):
        for label, (value, error, came) in NO_HYPERPARAMETERS.items():
            cases[f"{kind.__name__}, {argument}, {label}"] = case(
                lambda kind=kind, argument=argument, value=value: applying(
                    argument, value, kind, global_step=np.zeros((), int)
                ),
                error,
                f"`{argument}`",
                came,
            )
            cases[f"{kind.__name__}, {argument}, {label}, at the first step"] = case(
                lambda kind=kind, argument=argument, value=value: call(
                    kind(**arguments_of(kind, **{argument: value})).apply_gradients,
                    [(vector(), nc.Variable(vector()))],
                ),
                error,
                f"`{argument}`",
                came,
            )
    for option in CLIPPING:
        for label, (value, error, came) in NO_CLIPPING.items():
            cases[f"{option}, {label}"] = case(
                lambda option=option, value=value: applying(
                    option, value, global_step=np.zeros((), int)
                ),
                error,
                f"`{option}`",
                came,
            )
    return cases


PROXIMAL = (
    nc.train.ProximalGradientDescentOptimizer,
    nc.train.ProximalAdagradOptimizer,
    nc.train.AdagradDAOptimizer,
    nc.train.FtrlOptimizer,
)
NOT_POSITIVE = {"0": 0.0, "negative": -0.1, "NaN": np.nan}
NEGATIVE = {"negative": -0.1, "NaN": np.nan, "minus infinity": -np.inf}
# Numbers that a constructor checks, and such as it refuses.
NUMBERS: dict[tuple[type[nc.train.Optimizer], str], dict[str, float]] = {
    (nc.train.AdagradOptimizer, "initial_accumulator_value"): NOT_POSITIVE,
    (nc.train.ProximalAdagradOptimizer, "initial_accumulator_value"): NOT_POSITIVE,
    (
        nc.train.AdagradDAOptimizer,
        "initial_gradient_squared_accumulator_value",
    ): NOT_POSITIVE,
    (nc.train.FtrlOptimizer, "initial_accumulator_value"): NEGATIVE,
    (nc.train.FtrlOptimizer, "learning_rate_power"): {"positive": 0.1, "NaN": np.nan},
    (nc.train.FtrlOptimizer, "l2_shrinkage_regularization_strength"): NEGATIVE,
    (nc.train.FtrlOptimizer, "beta"): NEGATIVE,
    **{(kind, "l1_regularization_strength"): NEGATIVE for kind in PROXIMAL},
    **{(kind, "l2_regularization_strength"): NEGATIVE for kind in PROXIMAL},
}


def constructors_refused() -> dict[str, Case]:
    cases: dict[str, Case] = {}

    def refuse(kind: Any, label: str, error: type[Exception], *texts: str, **options: Any) -> None:
        cases[f"{kind.__name__}, {label}"] = case(
            lambda: call(kind, **arguments_of(kind, **options)), error, *texts
        )

    for (kind, argument), wrong in NUMBERS.items():
        for label, number in wrong.items():
            came = str(float(number))
            refuse(
                kind,
                f"{argument}, {label}",
                ValueError,
                f"`{argument}`",
                came,
                **{argument: number},
            )
        for label, (value, error, came) in NO_HYPERPARAMETERS.items():
            if not callable(value) and (argument, label) != ("beta", "None"):
                refuse(
                    kind, f"{argument}, {label}", error, f"`{argument}`", came, **{argument: value}
                )
    for label, (step, error, came) in GLOBAL_STEPS.items():
        refuse(
            nc.train.AdagradDAOptimizer,
            f"global_step, {label}",
            error,
            "`global_step`",
            came,
            global_step=step(),
        )
    for kind in HYPERPARAMETERS:
        for option in CLIPPING:
            for label, (value, error, came) in NO_CLIPPING.items():
                refuse(kind, f"{option}, {label}", error, f"`{option}`", came, **{option: value()})
        for first, second in itertools.combinations(CLIPPING, 2):
            texts = ("clipvalue, clipnorm, global_clipnorm", f"`{first}`", f"`{second}`")
            refuse(kind, f"{first} and {second}", ValueError, *texts, **{first: 1.0, second: 1.0})
        refuse(kind, "all clips", ValueError, "only one of", **dict.fromkeys(CLIPPING, 1.0))
        for nonfinite in ("zero", "RAISE", "", None, True, 1.0):
            label, came = f"nonfinite {nonfinite!r}", repr(nonfinite)
            refuse(kind, label, ValueError, "`nonfinite`", came, nonfinite=nonfinite)
        refuse(kind, "no name", ValueError, "`name`", "empty", name="")
        refuse(kind, "unknown", TypeError, "'clip_norm'", clip_norm=1.0)
    return cases


def apply(grads_and_vars: Any, **options: Any) -> Call:
    return call(stepped(lambda: Adam(0.5)).function, grads_and_vars, **options)


STEPS: Table = {
    "empty": case(lambda: apply([]), ValueError, "`grads_and_vars`", "empty"),
    "empty iterator": case(lambda: apply(iter([])), ValueError, "`grads_and_vars`", "empty"),
    "all None": case(
        lambda: apply([(None, variable(1.0)), (None, variable(2.0))]),
        ValueError,
        "`grads_and_vars`",
        "layer/weights",
    ),
    "None": case(lambda: apply(None), TypeError, "`grads_and_vars`", "None"),
    "number": case(lambda: apply(5), TypeError, "`grads_and_vars`", "5"),
    "dict, no variables": case(lambda: apply({"a": vector()}), TypeError, "`variables`", "dict"),
    "dict, a name that is not there": case(
        lambda: apply({"a": vector()}, variables=[variable(vector())]),
        ValueError,
        "`grads_and_vars['a']`",
        "layer/weights",
    ),
    "dict, two variables of a name": case(
        lambda: apply({"a": vector()}, variables=[variable(vector()), variable(vector())]),
        ValueError,
        "`variables`",
        "layer/weights",
    ),
    "dict, variables of arrays": case(
        lambda: apply({"a": vector()}, variables=[variable(vector()), vector()]),
        TypeError,
        "`variables[1]`",
        "ndarray",
    ),
    "dict, variables a number": case(
        lambda: apply({"a": vector()}, variables=5), TypeError, "`variables`", "5"
    ),
    "dict, variables a Variable": case(
        lambda: apply({"a": vector()}, variables=variable(vector())),
        TypeError,
        "`variables`",
        "Variable of dtype float64",
    ),
    "variables, but no dict": case(
        lambda: apply([(vector(), variable(vector()))], variables=[]),
        TypeError,
        "`variables`",
        "dict",
    ),
    "a pair that is not in a list": case(
        lambda: apply((vector(), variable(vector()))),
        ValueError,
        "`grads_and_vars[0]`",
        "ndarray",
    ),
    "no name, gradient descent": case(
        lambda: call(GradientDescent, 0.1, name=""), ValueError, "`name`", "empty"
    ),
    "no name, adam": case(lambda: call(Adam, 0.1, name=""), ValueError, "`name`", "empty"),
}


def fail() -> float:
    raise RuntimeError("no rate today")


# The numbers that a schedule takes besides its learning rate and its step.
SCHEDULES: dict[Callable[..., Any], dict[str, Any]] = {
    nc.train.exponential_decay: {"decay_steps": 10, "decay_rate": 0.5},
    nc.train.natural_exp_decay: {"decay_steps": 10, "decay_rate": 0.5},
    nc.train.inverse_time_decay: {"decay_steps": 10, "decay_rate": 0.5},
    nc.train.polynomial_decay: {"decay_steps": 10, "end_learning_rate": 0.1, "power": 2.0},
    nc.train.cosine_decay: {"decay_steps": 10, "alpha": 0.1},
    nc.train.cosine_decay_restarts: {
        "first_decay_steps": 10,
        "t_mul": 2.0,
        "m_mul": 0.5,
        "alpha": 0.1,
    },
    nc.train.linear_cosine_decay: {
        "decay_steps": 10,
        "num_periods": 0.5,
        "alpha": 0.1,
        "beta": 0.1,
    },
    nc.train.noisy_linear_cosine_decay: {
        "decay_steps": 10,
        "initial_variance": 1.0,
        "variance_decay": 0.5,
        "num_periods": 0.5,
        "alpha": 0.1,
        "beta": 0.1,
    },
}
NO_STEPS: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "None": (lambda: None, ValueError, "None"),
    "string": (lambda: "1", TypeError, "<U1"),
    "complex": (lambda: 1j, TypeError, "complex128"),
    "callable": (lambda: fail, TypeError, "fail"),
    "list": (lambda: [1], ValueError, "(1,)"),
    "array": (lambda: np.zeros(2, int), ValueError, "(2,)"),
    "Variable of two": (lambda: nc.Variable([1, 2]), ValueError, "(2,)"),
    "complex Variable": (lambda: nc.Variable(1j), TypeError, "complex128"),
}
POSITIVE = {"0": 0, "negative": -1, "NaN": np.nan, "infinite": np.inf}
NOT_NEGATIVE = {"negative": -1, "minus infinity": -np.inf, "NaN": np.nan}
WRONG_NUMBERS: dict[tuple[Callable[..., Any], str], dict[str, float]] = {
    (nc.train.exponential_decay, "decay_steps"): NOT_NEGATIVE,
    (nc.train.natural_exp_decay, "decay_steps"): NOT_NEGATIVE,
    (nc.train.inverse_time_decay, "decay_steps"): NOT_NEGATIVE,
    (nc.train.polynomial_decay, "decay_steps"): POSITIVE,
    (nc.train.cosine_decay, "decay_steps"): POSITIVE,
    (nc.train.cosine_decay_restarts, "first_decay_steps"): POSITIVE,
    (nc.train.cosine_decay_restarts, "t_mul"): POSITIVE | {"below 1": 0.999},
    (nc.train.linear_cosine_decay, "decay_steps"): POSITIVE,
    (nc.train.noisy_linear_cosine_decay, "decay_steps"): POSITIVE,
    (nc.train.noisy_linear_cosine_decay, "initial_variance"): NOT_NEGATIVE,
}


def schedules_refused() -> dict[str, Case]:
    """Schedules of a Variable: what is wrong is said when they are made, not at the first step."""
    cases: dict[str, Case] = {}

    def refuse(
        function: Callable[..., Any],
        label: str,
        argument: str,
        value: Callable[[], Any],
        error: type[Exception],
        came: str,
    ) -> None:
        def make() -> Call:
            given = {"learning_rate": 0.5, "global_step": nc.Variable(3), **SCHEDULES[function]}
            if function is nc.train.noisy_linear_cosine_decay:
                given["rng"] = np.random.default_rng(7)
            return call(function, **given | {argument: value()})

        name = f"{function.__name__}, {argument}, {label}"
        cases[name] = case(make, error, f"`{argument}`", came)

    for function, numbers in SCHEDULES.items():
        for label, (step, error, came) in NO_STEPS.items():
            refuse(function, label, "global_step", step, error, came)
        for argument in ("learning_rate", *numbers):
            for label, (value, error, came) in NO_HYPERPARAMETERS.items():
                if not callable(value):
                    refuse(function, label, argument, lambda value=value: value, error, came)
    for (function, argument), wrong in WRONG_NUMBERS.items():
        for label, number in wrong.items():
            came = str(float(number))
            refuse(function, label, argument, lambda number=number: number, ValueError, came)
    noisy = nc.train.noisy_linear_cosine_decay
    refuse(noisy, "string", "rng", lambda: "7", TypeError, "7")
    refuse(noisy, "float", "rng", lambda: 0.5, TypeError, "0.5")
    refuse(noisy, "negative", "rng", lambda: -7, ValueError, "-7")
    return cases


def schedules_refused_at_a_step() -> dict[str, Case]:
    cases = {}
    for function, numbers in SCHEDULES.items():
        for label, (value, error, came) in NO_HYPERPARAMETERS.items():
            if callable(value):
                cases[f"{function.__name__}, {label}"] = case(
                    lambda function=function, numbers=numbers, value=value: call(
                        function(value, nc.Variable(3), **numbers)
                    ),
                    error,
                    "`learning_rate`",
                    came,
                )
    return cases


def piecewise(boundaries: Any, values: Any, error: type[Exception], *texts: str) -> Case:
    return case(
        lambda: call(nc.train.piecewise_constant, nc.Variable(3), boundaries, values),
        error,
        *texts,
    )


BOUNDARIES, VALUES = "`boundaries`", "`values`"
PIECEWISE: Table = {
    "as many values": piecewise([1, 2], [0.1, 0.2], ValueError, VALUES, "2 values"),
    "two more values": piecewise([1], [0.1, 0.2, 0.3], ValueError, VALUES, "3 values"),
    "no values": piecewise([], [], ValueError, VALUES, "0 values"),
    "not in order": piecewise([2, 1], [0.1, 0.2, 0.3], ValueError, BOUNDARIES, "[2.0, 1.0]"),
    "NaN among boundaries": piecewise(
        [1, np.nan], [0.1, 0.2, 0.3], ValueError, BOUNDARIES, "[1.0, nan]"
    ),
    "NaN the only boundary": piecewise([np.nan], [0.1, 0.2], ValueError, BOUNDARIES, "[nan]"),
    "boundaries a number": piecewise(1, [0.1, 0.2], ValueError, BOUNDARIES, "1"),
    "values a number": piecewise([], 0.1, ValueError, VALUES, "0.1"),
    "boundaries a table": piecewise([[1]], [0.1, 0.2], ValueError, BOUNDARIES, "[[1]]"),
    "boundaries None": piecewise(None, [0.1], TypeError, BOUNDARIES, "None"),
    "values strings": piecewise([1], ["a", "b"], TypeError, VALUES, "['a', 'b']"),
    "values complex": piecewise([1], [1j, 2], TypeError, VALUES, "complex128"),
    "values ragged": piecewise([1], RAGGED, TypeError, VALUES, str(RAGGED)),
    **{
        f"x, {label}": case(
            lambda step=step: call(nc.train.piecewise_constant, step(), [1], [0.1, 0.2]),
            error,
            "`x`",
            came,
        )
        for label, (step, error, came) in NO_STEPS.items()
    },
}

CASES: dict[str, Case] = {
    f"{group}: {label}": chosen
    for group, table in {
        "tensor": tensors_refused(),
        "slices as tensor": slices_refused(),
        "out": outs_refused(),
        "bound": BOUNDS,
        "limit": limits_refused(),
        "axes": axes_refused(),
        "norm": NORMS,
        "list": not_lists(),
        "global": GLOBAL,
        "method of slices": methods_of_slices(),
        "slices": SLICES,
        "variable": VARIABLES,
        "gather": GATHER,
        "gradients": GRADIENTS
        | taking_loss(nc.gradients, "`ys")
        | taking_variables(nc.gradients, "xs"),
        "value_and_gradients": taking_loss(nc.value_and_gradients, "`loss`")
        | taking_variables(nc.value_and_gradients, "xs"),
        "compute_gradients": taking_loss(compute_gradients, "`loss`")
        | taking_variables(compute_gradients, "var_list"),
        "minimize": taking_loss(minimize, "`loss`") | taking_variables(minimize, "var_list"),
        "pair": pairs_refused(),
        "step": STEPS | steps_refused(),
        "optimizer": constructors_refused(),
        "schedule": schedules_refused() | PIECEWISE,
        "schedule at a step": schedules_refused_at_a_step(),
    }.items()
    for label, chosen in table.items()
}


@pytest.mark.parametrize("label", CASES)
def test_error(label: str) -> None:
    check(CASES[label])


@pytest.mark.parametrize(
    ("kind", "argument"), pairs_of(HYPERPARAMETERS) + pairs_of({Adam: CLIPPING})
)
def test_a_hyperparameter_that_raises_changes_nothing(
    kind: type[nc.train.Optimizer], argument: str
) -> None:
    rates = iter([0.5])

    def rate() -> float:
        return next(rates, None) or fail()

    arguments = arguments_of(kind, **{argument: rate})
    made = stepped(lambda: kind(**arguments), global_step=np.zeros((), int))
    assert "no rate today" in message(made, RuntimeError)


def test_a_step_after_a_failed_one_is_as_without_it() -> None:
    outcomes = []
    for fails in (False, True):
        made = stepped(lambda: Adam(0.5), *([("abc", variable(1.0))] if fails else []))
        if fails:
            message(made, TypeError)
        optimizer, pairs = made.function.__self__, made.arguments[0]
        named = {each.name: each for _, each in pairs}
        optimizer.apply_gradients([(vector(), named["first"]), (matrix(), named["last"])])
        changed = [named["first"], named["last"], *optimizer.variables()]
        outcomes.append([each.value.tobytes() for each in changed])
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("bound", [2**70, 10**400], ids=["2**70", "10**400"])
def test_a_python_integer_of_any_size_is_a_bound_for_floats(bound: int) -> None:
    t = vector()
    assert nc.clip_by_value(t, -bound, bound).tobytes() == t.tobytes()


class TwoPartsError(ValueError):
    """An error of a user's, which is not made of one message."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(first, second)


def test_an_error_of_a_users_class_comes_as_it_is_where_a_name_is_given() -> None:
    error = TwoPartsError("one", "two")

    def rate() -> float:
        raise error

    optimizer = GradientDescent(rate)
    variable = nc.Variable(vector())
    for name in (None, "step"):
        with pytest.raises(TwoPartsError) as raised:
            optimizer.apply_gradients([(vector(), variable)], name=name)
        assert raised.value is error
    assert variable.value.tolist() == vector().tolist()


@pytest.mark.parametrize("kind", [np.float64, nc.Variable, nc.IndexedSlices])
def test_a_class_in_the_place_of_an_array(kind: type[Any]) -> None:
    with pytest.raises(TypeError, match=r"`t` must be .*, got type "):
        nc.clip_by_norm(kind, 1.0)


def test_bounds_that_round_to_zero_are_no_error() -> None:
    with np.errstate(all="raise"):
        array = np.zeros(2, np.float32)
        assert nc.clip_by_value(array, -1e-300, 1e-300).tolist() == [0.0, 0.0]
        assert nc.Variable(array, constraint=(1e-300, 1.0)).bounds == (0.0, 1.0)
