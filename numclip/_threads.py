"""How many threads a loop runs on, and whether it may run on more than one."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import cache
from typing import Any, TypeVar

from numclip import _compile
from numclip._pace import Pace

# Below this number of elements starting threads costs more than they save: 16 Ki elements take
# 1.4 us on one thread and 2.5 us on two, 64 Ki take 5.2 and 4.5.
SERIAL_SIZE = 1 << 16

_Part = TypeVar("_Part")

_is_forked = False
_wanted: int | None = None
_pace = Pace()


def _after_fork() -> None:  # pragma: no cover (in children, which count no lines)
    global _is_forked
    _is_forked = _is_forked or _compile.threads_were_started()
    _compile.go_on_compiling()
    _pool.cache_clear()


# GNU OpenMP kills a child that uses threads after its parent did. And a child that is born while
# another thread compiles would wait forever for that thread to end.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_compile.stop_compiling,
        after_in_parent=_compile.go_on_compiling,
        after_in_child=_after_fork,
    )


@cache
def _from_environment() -> int:
    text = os.environ.get("NUMCLIP_NUM_THREADS")
    return _compile.most_threads() if text is None else _checked(text, "NUMCLIP_NUM_THREADS")


def _checked(value: object, argument: str) -> int:
    threads: int
    try:
        threads = int(value)  # type: ignore[call-overload]
    except ValueError:
        threads = 0
    if threads < 1:
        raise ValueError(f"`{argument}` must be a whole number of 1 or more, got {value!r}")
    return min(threads, _compile.most_threads())


def get_num_threads() -> int:
    """Return the number of threads that numclip uses for large arrays.

    Returns
    -------
    int
        What `set_num_threads` set; else the environment variable ``NUMCLIP_NUM_THREADS``; else as
        many as Numba has (``NUMBA_NUM_THREADS``, by default one for each processor).

    Raises
    ------
    ValueError
        If ``NUMCLIP_NUM_THREADS`` is not a whole number of 1 or more.

    Examples
    --------
    >>> import numclip as nc
    >>> nc.set_num_threads(1)
    >>> nc.get_num_threads()
    1
    """
    if _wanted is not None:
        return _wanted
    threads: int = _from_environment()
    return threads


def set_num_threads(n: int) -> None:
    """Set the number of threads that numclip uses for large arrays, in the whole process.

    No result depends on it: any number of threads gives the same bits. Numba's own setting, and
    that of other libraries, stay as they are.

    Parameters
    ----------
    n : int
        1 or more; more than Numba has (``NUMBA_NUM_THREADS``) are as many as it has.

    Raises
    ------
    TypeError
        If `n` is not an integer.
    ValueError
        If it is below 1.

    Examples
    --------
    >>> import numclip as nc
    >>> nc.set_num_threads(2)
    """
    global _wanted
    if not hasattr(n, "__index__"):
        raise TypeError(f"`n` must be an integer, got {n!r}")
    _wanted = _checked(n, "n")


def parts_for(size: int) -> int:
    """Return into how many parts to divide a loop over so many elements, one to a thread."""
    if size < SERIAL_SIZE or _is_forked:
        return 1
    threads = get_num_threads()
    if threads == 1 or not _pace.asks_for_threads(size):
        return 1
    return threads if _compile.threads_are_safe() else 1


def in_parts(
    size: int, count: int, loop: Callable[..., Any], parallel: Callable[..., Any], *arguments: Any
) -> None:
    """Call a loop over `count` units, of `size` numbers in all: at once, or some on each thread.

    The loop takes the first and the last of its units after its arguments; its parallel twin takes
    how many there are, and in how many parts to divide them.
    """
    parts = min(parts_for(size), count)
    if parts <= 1:
        loop(*arguments, 0, count)
    else:
        on_threads(parts, parallel, *arguments, count)


def on_threads(parts: int, loop: Callable[..., Any], *arguments: Any) -> Any:
    """Call a parallel kernel on so many threads, and restore the number that the caller had set."""
    before = _compile.get_num_threads()
    if before == parts:
        return loop(*arguments, parts)
    _compile.set_num_threads(parts)
    try:
        return loop(*arguments, parts)
    finally:
        _compile.set_num_threads(before)


@cache
def _pool() -> ThreadPoolExecutor:
    # Kept: threads of Python's take 140 us to start and to end, and 85 us to be asked again.
    return ThreadPoolExecutor(_compile.most_threads(), "numclip")


def call_each(function: Callable[[_Part], None], parts: Sequence[_Part]) -> None:
    """Call a function for each part, at once: one that is mostly NumPy's, which lets others run.

    Each call has the caller's `numpy.errstate`.
    """
    others = [_pool().submit(copy_context().run, function, part) for part in parts[1:]]
    try:
        function(parts[0])
    finally:
        for other in others:
            other.result()
