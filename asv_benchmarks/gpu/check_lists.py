"""clip_by_global_norm and global_norm: lists of every kind, and where the results go."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

import numclip as nc

from ..benchmarks.workloads import Array
from .agreement import agree
from .operations import Case, Operation, checks_of
from .outcomes import Check
from .places import Library, Place
from .samples import Scale, cast, normal


def _several(case: Case) -> list[Any]:
    return [case.x, None, case.other(), case.other(0), case.other(1)]


def _by_name(case: Case) -> dict[str, Any]:
    return {"weights": case.x, "frozen": None, "bias": case.other()}


def _mixed(case: Case) -> list[Any]:
    """Add other dtypes: float64 whose squares underflow, zeros, and numbers of about 1."""
    others: tuple[Array, ...] = (
        np.linspace(-1e-200, 1e-200, 130),
        np.zeros(3, np.float32),
        np.array([[0.5]], np.float16),
        np.array([0.25 - 0.125j]),
    )
    return [case.x, *map(case.place.put, others)]


def _slices(case: Case) -> list[Any]:
    indices = case.place.put(np.arange(case.shape[0]) // 2)
    shape = (case.shape[0] + 3, *case.shape[1:])
    return [nc.IndexedSlices(case.x, indices, shape), case.other()]


def _clip(make: Callable[[Case], Any], case: Case) -> Any:
    """Return results, norm, and what was given, which has to stay as it was."""
    given = make(case)
    return [nc.clip_by_global_norm(given, case.limit), given, nc.global_norm(given)]


def _under(case: Case) -> Any:
    return nc.clip_by_global_norm(_several(case), 1e3 * case.limit)


def _in_place(make: Callable[[Case], Any], case: Case) -> Any:
    given = make(case)
    results, norm = nc.clip_by_global_norm(given, case.limit, out=given)
    pairs = zip(_entries(results), _entries(given), strict=True)
    return [results, norm, [one is other for one, other in pairs]]


def _entries(tensors: Any) -> list[Any]:
    return list(tensors.values()) if isinstance(tensors, dict) else tensors


def _elsewhere(case: Case) -> Any:
    given = [case.x, None, case.other()]
    out = [case.zeros(), None, case.put(np.zeros(37))]
    results, norm = nc.clip_by_global_norm(given, case.limit, out=out)
    return [out, norm, [one is other for one, other in zip(results, out, strict=True)]]


def _given_norm(case: Case) -> Any:
    return nc.clip_by_global_norm(_several(case), case.limit, 1.5 * case.limit)


def _given_norm_there(case: Case) -> Any:
    norm = case.place.put(np.array(1.5 * case.limit))
    results, same = nc.clip_by_global_norm(_several(case), case.limit, norm)
    return [results, same is norm]


def _given_norm_of_single(case: Case) -> Any:
    limit = min(max(case.limit, 1e-30), 1e30)
    return nc.clip_by_global_norm(
        [case.x], limit, case.place.put(np.array(1.5 * limit, np.float32))
    )


def _zero(case: Case) -> Any:
    return nc.clip_by_global_norm(_several(case), case.limit, nonfinite="zero")


def _raise(case: Case) -> Any:
    given = _several(case)
    try:
        nc.clip_by_global_norm(given, case.limit, nonfinite="raise", out=given)
    except FloatingPointError as error:
        return [str(error), given]
    return given


_OPERATIONS = (
    Operation("a list", partial(_clip, _several), is_for_long=True),
    Operation("a tuple", partial(_clip, lambda case: (case.x, case.other()))),
    Operation("a dict", partial(_clip, _by_name)),
    Operation("mixed dtypes", partial(_clip, _mixed)),
    Operation("slices", partial(_clip, _slices), 1),
    Operation("under the limit", _under),
    Operation("a list in place", partial(_in_place, _several)),
    Operation("a dict in place", partial(_in_place, _by_name)),
    Operation("mixed dtypes in place", partial(_in_place, _mixed)),
    Operation("slices in place", partial(_in_place, _slices), 1),
    Operation("out=", _elsewhere),
    Operation("use_norm", _given_norm),
    Operation("use_norm on the device", _given_norm_there),
    Operation("use_norm of float32 on the device", _given_norm_of_single),
    Operation('nonfinite="zero"', _zero),
    Operation('nonfinite="raise"', _raise),
)


def checks(library: Library, scale: Scale) -> Iterator[Check]:
    yield from checks_of(_OPERATIONS, library, scale)
    for name, build in (
        ("many tensors", partial(_many, scale.tensors)),
        ("squares that underflow", partial(_extremes, (1e-200, 5e-324))),
        ("squares that overflow", partial(_extremes, (1e200, 3e307))),
        ("squares that do either", partial(_extremes, (1e-200, 1.0, 1e200))),
    ):
        yield Check(name, partial(agree, library, build))


def _many(tensors: int, place: Place) -> Any:
    dtypes = [np.dtype(each) for each in (np.float32, np.float16, np.float64)]
    hosts = [normal(dtypes[i % 3], i % 97, seed=i) for i in range(tensors)]
    given = [place.put(host) for host in hosts]
    return [nc.clip_by_global_norm(given, 1.0), nc.clip_by_global_norm(given, 1.0, out=given)]


def _extremes(magnitudes: tuple[float, ...], place: Place) -> Any:
    fractions = np.random.default_rng(0).uniform(-1, 1, 5000)
    with np.errstate(under="ignore"):
        hosts = [
            cast(fractions[: 50 * (1 + i)] * magnitude, np.dtype(dtype))
            for i, magnitude in enumerate(magnitudes)
            for dtype in (np.float64, np.complex128)
        ]
    given = [place.put(host) for host in hosts]
    limits = (float(nc.global_norm(hosts)) / 3, 1e-300, 1e300)
    return [nc.clip_by_global_norm(given, limit) for limit in limits]
