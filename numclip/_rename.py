"""New names for old ones: by scopes that take the place of others, or by a function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from numclip import _array
from numclip._name_patterns import path_of, some, ways_to_write

Rename: TypeAlias = Mapping[str, str] | Callable[[str], str]


def renamed(names: list[str], rename: Rename | None, strict: bool) -> dict[str, str]:
    """Return what each name is to be called; the longest scope that fits is replaced."""
    if rename is None:
        return {name: name for name in names}
    if isinstance(rename, Mapping):
        return _by_scope(names, rename, strict)
    if not callable(rename):
        raise TypeError(f"`rename` must be a dict or a function, got {_array.describe(rename)}")
    new_names = {name: rename(name) for name in names}
    for name, new_name in new_names.items():
        if not isinstance(new_name, str):
            raise TypeError(
                f"`rename` must return strings, got {_array.describe(new_name)} for {name!r}"
            )
    return new_names


def _by_scope(names: list[str], rename: Mapping[str, str], strict: bool) -> dict[str, str]:
    for pair in rename.items():
        for text in pair:
            if not isinstance(text, str):
                raise TypeError(
                    f"`rename` must lead from strings to strings, got {_array.describe(text)}"
                )
    keys = {way: key for key in rename for way in ways_to_write(key)}
    used = set()
    new_names = {}
    for name in names:
        scope, below = path_of(name), ""
        while scope and scope not in keys:
            scope, _, last = scope.rpartition("/")
            below = f"/{last}{below}"
        new_names[name] = name
        if scope in keys:
            used.add(keys[scope])
            new_names[name] = f"{rename[keys[scope]].rstrip('/')}{below}".lstrip("/")
    if strict and used != set(rename):
        unknown = [key for key in rename if key not in used]
        raise ValueError(
            f"`rename` must lead from what is there, got {some(unknown)},"
            f" and the names are {some(names)}"
        )
    return new_names
