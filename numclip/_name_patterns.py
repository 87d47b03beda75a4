"""Which names are chosen: by scopes, with wildcards or without, regular expressions, functions."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Sequence
from functools import reduce
from operator import or_
from typing import Any, TypeAlias

from numclip import _array

Pattern: TypeAlias = str | re.Pattern[str] | Callable[[str], Any]
Patterns: TypeAlias = Pattern | Sequence[Pattern] | set[Pattern] | frozenset[Pattern]

_WILDCARD = re.compile(r"(\*+|\?|\[!?\]?[^\]]*\])")


def path_of(name: str) -> str:
    """Separate the components of a name by "/", where it has dots alone, as PyTorch's names do."""
    return name if "/" in name else name.replace(".", "/")


def choose(
    names: Sequence[str | None],
    include: Patterns | None,
    exclude: Patterns | None,
    strict: bool,
) -> list[bool]:
    """Return for each name whether it is included, and not excluded.

    All patterns are matched with all names, so that one that is strange to them is found out.
    """
    included = None if include is None else _as_patterns(include, "include")
    excluded = None if exclude is None else _as_patterns(exclude, "exclude")
    chosen = [True] * len(names)
    if included is not None:
        chosen = match(names, included, "include", strict)
    if excluded is not None:
        dropped = match(names, excluded, "exclude", strict)
        chosen = [keep and not drop for keep, drop in zip(chosen, dropped, strict=True)]
    return chosen


def _as_patterns(given: Any, argument: str) -> list[Pattern]:
    is_list = isinstance(given, list | tuple | set | frozenset)
    patterns = list(given) if is_list else [given]
    if not patterns:
        raise ValueError(f"`{argument}` must not be empty, got {given!r}")
    for i, pattern in enumerate(patterns):
        where = f"{argument}[{i}]" if is_list else argument
        if not (isinstance(pattern, str) or is_expression(pattern) or callable(pattern)):
            raise TypeError(
                f"`{where}` must be a string, a compiled regular expression of one, a function,"
                f" or a list of these, got {_array.describe(pattern)}"
            )
        if isinstance(pattern, str) and not pattern.rstrip("/"):
            raise ValueError(f"`{where}` must not be empty, got {pattern!r}")
    return patterns


def is_expression(pattern: object) -> bool:
    """Tell a compiled regular expression of strings, and not of bytes."""
    return isinstance(pattern, re.Pattern) and isinstance(pattern.pattern, str)


def match(
    names: Sequence[str | None], patterns: list[Pattern], argument: str, strict: bool
) -> list[bool]:
    """Return for each name whether any of the patterns matches it; None has no match."""
    given = [name for name in names if name is not None]
    matched, unmatched = _match(given, patterns)
    if strict and unmatched:
        raise ValueError(
            f"`{argument}` must match something, got {some(unmatched)},"
            f" and the names are {some(given)}"
        )
    if len(given) == len(names):
        return matched
    flags = iter(matched)
    return [name is not None and next(flags) for name in names]


def some(values: Sequence[object]) -> str:
    if not values:
        return "none"
    more = f" and {len(values) - 3} more" if len(values) > 3 else ""
    return ", ".join(map(repr, values[:3])) + more


def _match(names: Sequence[str], patterns: list[Pattern]) -> tuple[list[bool], list[Pattern]]:
    """Return for each name whether it was matched, and the patterns that matched nothing."""
    paths = list(map(path_of, names)) if any(isinstance(each, str) for each in patterns) else []
    scopes: list[str] = []
    found: list[list[bool]] = []
    unmatched: list[Pattern] = []
    for pattern in patterns:
        if isinstance(pattern, str) and not _WILDCARD.search(pattern):
            scopes.append(pattern)
            continue
        if isinstance(pattern, str):
            glob = _compiled(pattern).match
            found.append([glob(path) is not None for path in paths])
        else:
            function = pattern.match if isinstance(pattern, re.Pattern) else pattern
            found.append([bool(function(name)) for name in names])
        if True not in found[-1]:
            unmatched.append(pattern)
    if scopes:
        flags, missed = _match_scopes(paths, scopes)
        found.append(flags)
        unmatched += missed
    return reduce(lambda one, other: list(map(or_, one, other)), found), unmatched


def _match_scopes(paths: Sequence[str], scopes: list[str]) -> tuple[list[bool], list[Pattern]]:
    """Look scopes up, so that it takes no longer for thousands of them than for one."""
    written = set[str]().union(*map(ways_to_write, scopes))
    met = set[str]()

    def is_under(path: str) -> bool:
        found = False
        while path:
            if path in written:
                met.add(path)
                found = True
            path = path.rpartition("/")[0]
        return found

    # What lies in one scope is looked up once.
    inherited: dict[str, bool] = {}
    matched = []
    for path in paths:
        scope = path.rpartition("/")[0]
        found = inherited.get(scope)
        if found is None:
            found = inherited[scope] = is_under(scope)
        if path in written:
            met.add(path)
            found = True
        matched.append(found)
    return matched, [scope for scope in scopes if met.isdisjoint(ways_to_write(scope))]


def ways_to_write(scope: str) -> set[str]:
    """Return a scope as it is, and with its dots taken for separators."""
    plain = scope.rstrip("/")
    return {plain, plain.replace(".", "/").rstrip("/") or plain}


def _compiled(glob: str) -> re.Pattern[str]:
    ways = "|".join(sorted(map(_as_regular_expression, ways_to_write(glob))))
    return re.compile(rf"(?:{ways})(?:/|\Z)")


def _as_regular_expression(glob: str) -> str:
    *scopes, last = glob.split("/")
    above = [r"(?:[^/]*/)*" if each == "**" else _component(each) + "/" for each in scopes]
    return "".join([*above, _component(last)])


def _component(glob: str) -> str:
    texts = _WILDCARD.split(glob)
    texts[::2] = map(re.escape, texts[::2])
    texts[1::2] = map(_wildcard, texts[1::2])
    return "".join(texts)


def _wildcard(text: str) -> str:
    if text.startswith("["):
        # Of a set alone it makes "(?s:[...])\Z".
        return "(?!/)" + fnmatch.translate(text).rpartition(")")[0] + ")"
    return "[^/]*" if text.startswith("*") else "[^/]"
