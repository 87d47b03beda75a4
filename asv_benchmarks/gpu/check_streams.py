"""The caller's stream: nothing runs before what was enqueued there, and nothing waits for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np

import numclip as nc

from .agreement import require, require_same
from .outcomes import Check
from .places import Library
from .samples import Scale, normal
from .waiting import wait

_STREAMS = 4
# More lists than numclip keeps tables of.
_LISTS = 12
_MILLISECONDS = 100
_LONGEST_SHARE = 0.2


def _hosts(seed: int, size: int) -> list[Any]:
    return [
        normal(np.dtype(dtype), *shape, seed=seed + i)
        for i, (dtype, shape) in enumerate(
            (("float32", (size,)), ("float64", (67, 131)), ("float16", (4097,)))
        )
    ]


def _at_once(library: Library, scale: Scale) -> None:
    """Clip on several streams what a slow producer on each leaves there."""
    size = scale.sizes[-1]
    limits = [0.5 + i for i in range(_STREAMS)]
    hosts = [_hosts(10 * i, size) for i in range(_STREAMS)]
    sources = [[library.put(host) for host in each] for each in hosts]
    streams = [library.new_stream() for _ in range(_STREAMS)]
    targets = []
    for stream, each in zip(streams, hosts, strict=True):
        with library.work_on(stream):
            there = [library.put(np.ones_like(host)) for host in each]
            targets.append([library.bound(target, stream) for target in there])
    library.synchronize()
    for _ in range(3):
        results = []
        for stream, source, target, limit in zip(streams, sources, targets, limits, strict=True):
            with library.work_on(stream):
                wait(library.address_of(stream), _MILLISECONDS // 5)
                for pair in zip(source, target, strict=True):
                    library.copy(*pair, stream)
                fresh = nc.clip_by_global_norm(target, limit)
                results.append([fresh, nc.clip_by_global_norm(target, limit, out=target)])
        library.synchronize()
        for result, host, limit in zip(results, hosts, limits, strict=True):
            expected = nc.clip_by_global_norm(host, limit)
            require_same([expected, expected], result, library)


def _many_lists(library: Library, scale: Scale) -> None:
    """Clip more lists than tables are kept of, before the first has been clipped."""
    hosts = [_hosts(10 * i, 4097 + i) for i in range(_LISTS)]
    given = [[library.put(host) for host in each] for each in hosts]
    stream = library.new_stream()
    given = [[library.bound(array, stream) for array in each] for each in given]
    library.synchronize()
    with library.work_on(stream):
        wait(library.address_of(stream), _MILLISECONDS)
        results = [nc.clip_by_global_norm(each, 1.0) for each in given]
    library.synchronize()
    for host, result in zip(hosts, results, strict=True):
        require_same(nc.clip_by_global_norm(host, 1.0), result, library)


def _returns_at_once(
    prepare: Callable[[Library, Scale], Callable[[], Any]], library: Library, scale: Scale
) -> None:
    call = prepare(library, scale)
    stream = library.new_stream()
    library.synchronize()
    with library.work_on(stream):
        # Has compiled whatever there is to compile, and left tables on this stream.
        call()
        library.synchronize()
        start = perf_counter()
        wait(library.address_of(stream), _MILLISECONDS)
        begin = perf_counter()
        kept = call()
        returned = perf_counter()
        library.synchronize()
        end = perf_counter()
    del kept
    seconds, taken = returned - begin, end - start
    require(taken > _MILLISECONDS / 4000, f"the wait took only {taken * 1e3:.1f} ms")
    require(
        seconds < _LONGEST_SHARE * taken,
        f"the call returned after {seconds * 1e3:.1f} ms, the device was done after"
        f" {taken * 1e3:.1f} ms",
    )


def _in_place(library: Library, scale: Scale) -> Callable[[], Any]:
    given = [library.put(host) for host in _hosts(0, scale.sizes[-1])]
    return lambda: nc.clip_by_global_norm(given, 1.0, out=given)


def _fresh(library: Library, scale: Scale) -> Callable[[], Any]:
    given = [library.put(host) for host in _hosts(0, scale.sizes[-1])]
    return lambda: nc.clip_by_global_norm(given, 1.0, nonfinite="zero")


def _new_list(library: Library, scale: Scale) -> Callable[[], Any]:
    """Call with another list each time, whose table has to be sent."""
    lists = iter([[library.put(host) for host in _hosts(0, size)] for size in (4097, 5000)])
    return lambda: nc.clip_by_global_norm(next(lists), 1.0)


def _step(library: Library, scale: Scale) -> Callable[[], Any]:
    gradients = [library.put(host) for host in _hosts(0, scale.sizes[-1])]
    variables = [nc.Variable(library.put(host)) for host in _hosts(5, scale.sizes[-1])]
    optimizer = nc.train.AdamOptimizer()
    return lambda: optimizer.apply_gradients(list(zip(gradients, variables, strict=True)))


_CALLS = {
    "clip_by_global_norm in place": _in_place,
    "clip_by_global_norm to new arrays": _fresh,
    "clip_by_global_norm of a new list": _new_list,
    "a step of Adam": _step,
}


def checks(library: Library, scale: Scale) -> Iterator[Check]:
    yield Check(f"{_STREAMS} streams at once", partial(_at_once, library, scale))
    yield Check(f"{_LISTS} lists on a stream", partial(_many_lists, library, scale))
    if library.never_waits:
        for name, prepare in _CALLS.items():
            run = partial(_returns_at_once, prepare, library, scale)
            yield Check(f"{name} returns at once", run)
