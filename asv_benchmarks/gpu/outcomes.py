"""What is checked, what came of it, and running one check after another."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from time import perf_counter
from typing import NamedTuple

from .agreement import Disagreement
from .places import Library, Unavailable, why_not
from .samples import Scale

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"

_MOST_SHOWN = 10


class Check(NamedTuple):
    """Something that has to hold, else `run` raises."""

    name: str
    run: Callable[[], None]


class Part(NamedTuple):
    """Checks of one kind."""

    title: str
    checks: Callable[[Library, Scale], Iterable[Check]]


class Outcome(NamedTuple):
    """What came of a check."""

    library: str
    part: str
    name: str
    status: str
    detail: str = ""


def say(text: str) -> None:
    print(text, flush=True)


def of_each_dtype(
    library: Library, dtypes: Iterable[str], checks: Callable[[str], Iterable[Check]]
) -> Iterator[Check]:
    """Yield the checks of each dtype, or one that cannot be made where the library has none."""
    for dtype in dtypes:
        reason = why_not(library, dtype)
        if reason:
            yield _unavailable(dtype, reason)
        else:
            yield from checks(dtype)


def _unavailable(name: str, reason: str) -> Check:

    def run() -> None:
        raise Unavailable(reason)

    return Check(name, run)


def run_part(library: Library, part: Part, scale: Scale) -> list[Outcome]:
    """Run the checks of a part; one that fails leaves the others."""
    start = perf_counter()
    outcomes: list[Outcome] = []
    checks = iter(part.checks(library, scale))
    while _answers(library):
        check = next(checks, None)
        if check is None:
            break
        status, detail = _result_of(check)
        outcomes.append(Outcome(library.name, part.title, check.name, status, detail))
        if status == FAILED:
            _show(outcomes)
    else:
        detail = "not run: the device gives nothing but errors"
        outcomes.append(Outcome(library.name, part.title, "the rest", FAILED, detail))
        _show(outcomes)
    with suppress(Exception):
        library.release()
    say(f"{library.name:6} {part.title:28} {counted(outcomes)}, {perf_counter() - start:.1f} s")
    return outcomes


def counted(outcomes: Iterable[Outcome]) -> str:
    statuses = [outcome.status for outcome in outcomes]
    return ", ".join(f"{statuses.count(each)} {each}" for each in (PASSED, FAILED, SKIPPED))


def _result_of(check: Check) -> tuple[str, str]:
    try:
        check.run()
    except Unavailable as reason:
        return SKIPPED, str(reason)
    except Disagreement as found:
        return FAILED, str(found)
    except Exception as error:
        return FAILED, f"{type(error).__name__}: {error}, {_origin(error)}"
    return PASSED, ""


def _origin(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    return " < ".join(f"{frame.name}, line {frame.lineno}" for frame in reversed(frames))


def _show(outcomes: list[Outcome]) -> None:
    failures = [outcome for outcome in outcomes if outcome.status == FAILED]
    if len(failures) <= _MOST_SHOWN:
        last = failures[-1]
        say(f"  FAILED {last.library}, {last.part}, {last.name}: {last.detail}")
    elif len(failures) == _MOST_SHOWN + 1:
        say("  and more, which are in the report")


def _answers(library: Library) -> bool:
    try:
        library.synchronize()
    except Exception:
        return False
    return True
