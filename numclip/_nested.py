"""Nested dicts, and the keys that lead to what is in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from numclip import _array

# From the outermost dict on.
Keys: TypeAlias = tuple[str, ...]


def subscripts(keys: Iterable[object]) -> str:
    return "".join(f"[{key!r}]" for key in keys)


def leaves(
    mapping: Mapping[str, Any], argument: str, outer: Keys = ()
) -> Iterator[tuple[Keys, Any]]:
    """Yield what is not a dict, and each empty dict, with its keys."""
    for key, value in mapping.items():
        keys = (*outer, key)
        if not isinstance(key, str):
            raise TypeError(
                f"`{argument}{subscripts(keys)}` must have a string as key,"
                f" got {_array.describe(key)}"
            )
        if isinstance(value, Mapping) and value:
            yield from leaves(value, argument, keys)
        else:
            yield keys, value


def insert(mapping: dict[str, Any], keys: Keys, value: Any) -> None:
    """Put something where its keys lead, making the dicts on the way."""
    *outer, last = keys
    for i, key in enumerate(outer):
        mapping = mapping.setdefault(key, {})
        if not isinstance(mapping, dict):
            raise ValueError(f"{subscripts(keys[: i + 1])} is there, and is no dict")
    if last in mapping:
        raise ValueError("it is there twice")
    mapping[last] = value
