"""Trained arrays in place of the variables' own: all of them, or those of a part."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import compress
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from numclip import _array, _checkpoint, _nested, _weight_file
from numclip._array import Array, Tensor
from numclip._cuda_array import CudaArray
from numclip._name_patterns import Patterns, choose, path_of, some
from numclip._rename import Rename, renamed
from numclip._variable import Variable, as_value_of, write

Source: TypeAlias = str | os.PathLike[str] | Mapping[str, Any]


class RestoreReport(NamedTuple):
    """Say what `VariableStore.restore` has done: names, in the order of the store.

    Parameters
    ----------
    loaded : tuple of str
        The variables that were overwritten.
    left : tuple of str
        Those that were not asked for.
    missing : tuple of str
        Those for which there was no array.
    mismatched : tuple of str
        Those whose array was of another shape, or of a dtype that cannot be cast to theirs.
    unused : tuple of str
        The arrays for which there was no variable, by their own names.

    Notes
    -----
    Each variable is in one of the first four. Where `restore` is strict, there are none missing
    or mismatched.

    Examples
    --------
    >>> import numclip as nc
    >>> store = nc.VariableStore.from_dict({"w": [0.0, 0.0], "b": [0.0]})
    >>> report = store.restore({"w": [1.0], "gain": [2.0]}, strict=False)
    >>> report
    RestoreReport(1 missing: 'b'; 1 mismatched: 'w'; 1 unused: 'gain')
    >>> report.missing
    ('b',)
    """

    loaded: tuple[str, ...]
    left: tuple[str, ...]
    missing: tuple[str, ...]
    mismatched: tuple[str, ...]
    unused: tuple[str, ...]

    def __repr__(self) -> str:
        parts = [
            f"{len(names)} {field}: {some(names)}"
            for field, names in self._asdict().items()
            if names
        ]
        return f"RestoreReport({'; '.join(parts)})"


def restore(
    variables: Mapping[str, Variable],
    source: Source,
    include: Patterns | None,
    exclude: Patterns | None,
    rename: Rename | None,
    strict: bool,
) -> RestoreReport:
    names = list(variables)
    asked_for = set(compress(names, choose(names, include, exclude, strict)))
    with _opened(source) as pairs:
        readers = _by_name(pairs)
        origins, unused = _origins(renamed(list(readers), rename, strict), names)
        missing = tuple([name for name in names if name in asked_for and name not in origins])
        if strict and missing:
            raise ValueError(
                f"`path_or_mapping` must have what is asked for, and is without {some(missing)};"
                f" what it has that no variable goes by: {some(unused)}"
            )
        values: dict[str, Tensor] = {}
        mismatched = []
        for name in names:
            if name not in asked_for or name not in origins:
                continue
            array = readers[origins[name]]()
            mismatch = _mismatch(array, variables[name], name)
            if mismatch is None:
                values[name] = _as_value(array, variables[name], name)
            elif strict:
                raise mismatch
            else:
                mismatched.append(name)
    for name, value in values.items():
        write(variables[name], value)
    left = tuple([name for name in names if name not in asked_for])
    return RestoreReport(tuple(values), left, missing, tuple(mismatched), unused)


def _mismatch(array: Array, variable: Variable, name: str) -> Exception | None:
    opening = f"`path_or_mapping` must have {name!r} of"
    if array.shape != variable.shape:
        return ValueError(f"{opening} shape {variable.shape}, got {array.shape}")
    if not np.can_cast(array.dtype, variable.dtype, "same_kind"):
        return TypeError(f"{opening} dtype {variable.dtype}, got {array.dtype}")
    return None


def _as_value(array: Array, variable: Variable, name: str) -> Tensor:
    # Cast here, where what floating-point errors lead to changes nothing.
    with _array.named(name):
        return as_value_of(variable, array.astype(variable.dtype, copy=False))


@contextmanager
def _opened(source: Source) -> Iterator[_weight_file.Readers]:
    """Give the keys of each array, and what returns it as one that shares no memory with ours."""
    if isinstance(source, Mapping):
        yield [
            (keys, partial(_copied, value, f"path_or_mapping{_nested.subscripts(keys)}"))
            for keys, value in _nested.leaves(source, "path_or_mapping")
            if not isinstance(value, Mapping)
        ]
    elif isinstance(source, str | os.PathLike):
        path = os.fsdecode(source)
        expected = f"`path_or_mapping` must be an .npz or .safetensors file, got {path!r}"
        with _weight_file.opened(path, expected) as readers:
            yield readers
    else:
        raise TypeError(
            f"`path_or_mapping` must be a string, a path or a dict, got {_array.describe(source)}"
        )


def _copied(value: Any, argument: str) -> Array:
    tensor = _checkpoint.as_tensor(value, argument)
    if isinstance(tensor, CudaArray):
        return _checkpoint.downloaded(tensor)
    return np.array(tensor)


def _by_name(readers: _weight_file.Readers) -> dict[str, Callable[[], Array]]:
    found: dict[str, Callable[[], Array]] = {}
    for keys, reader in readers:
        name = "/".join(keys)
        if name in found:
            raise ValueError(f"`path_or_mapping` must have each name once, got {name!r} twice")
        found[name] = reader
    return found


def _origins(
    new_names: Mapping[str, str], names: list[str]
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the array for each variable that there is one for, and the arrays for none."""
    by_path = {path_of(name): name for name in names} | {name: name for name in names}
    origins: dict[str, str] = {}
    unused = []
    for origin, new_name in new_names.items():
        name = by_path.get(new_name, by_path.get(path_of(new_name)))
        if name is None:
            unused.append(origin)
        elif name in origins:
            raise ValueError(
                f"`path_or_mapping` must have one array for {name!r},"
                f" got {origins[name]!r} and {origin!r}"
            )
        else:
            origins[name] = origin
    return origins, tuple(unused)
