"""Checkpoints: nested dicts of arrays in one file, which is whole at any moment."""

from __future__ import annotations

import io
import json
import os
import secrets
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.lib import format as npy

from numclip import _array, _cuda_memory
from numclip._array import Array, Tensor
from numclip._cuda_array import CudaArray
from numclip._dtypes import dtype_named
from numclip._nested import Keys, insert, leaves, subscripts
from numclip._slices import IndexedSlices
from numclip._variable import Variable

MANIFEST = "numclip.json.npy"
_HEADING = {"format": "numclip checkpoint", "version": 1}

# How the numbers of a dtype lie in the file, by its name. NumPy's format has no bfloat16.
_STORED_AS = {
    "bool": "|b1",
    **{f"{kind}{8 * n}": f"<{kind[0]}{n}" for kind in ("int", "uint") for n in (1, 2, 4, 8)},
    "float16": "<f2",
    "bfloat16": "<u2",
    "float32": "<f4",
    "float64": "<f8",
    "complex64": "<c8",
    "complex128": "<c16",
}


class _Entry(NamedTuple):
    """What the manifest says of an array, or of an empty dict, which is no member of the file.

    The keys, from the outermost dict on, tell apart what is joined to the same name.
    """

    keys: Keys
    member: str | None
    dtype: str | None
    shape: tuple[int, ...]


def save(path: str | os.PathLike[str], mapping: Mapping[str, Any]) -> None:
    """Write a nested dict of arrays to a file, which is replaced as a whole or not at all.

    Parameters
    ----------
    path : str or path
        The file, whose name is taken as it is given. A symbolic link is followed.
    mapping : dict of array, number, Variable or dict
        Keys are strings, any of them; dicts may be nested, and empty. Values are booleans,
        integers of NumPy's, float16, bfloat16, float32, float64, complex64 or complex128, on the
        host or on a CUDA device, or what `numpy.asarray` makes such an array of. Of a Variable,
        its array is saved.

    Raises
    ------
    TypeError
        If a key is not a string, or a value is of another kind or dtype.
    ValueError
        If `path` is that of a device or a pipe.
    OSError
        If the file cannot be written, as the system says it.

    Notes
    -----
    All is checked before anything is written. The bytes go to a new file in the same directory
    first, and from there to the disk; then it takes the place of the old one, and its
    permissions. So whatever stops the program or the machine leaves the old file or the new one,
    and a call that raises the old one. What is killed may leave behind a file ``.numclip-*.tmp``.

    It is an .npz file without compression or pickled objects, in which `numpy.load` finds the
    array of ``{"layer1": {"w": ...}}``, as well as that of ``{"layer1/w": ...}``, by the name
    ``layer1/w``; bfloat16 as uint16 of the same bits. The member ``numclip.json`` says which keys,
    dtype and shape each has. The same mapping gives the same bytes.

    References
    ----------
    ``tf.compat.v1.train.Saver`` of TensorFlow. T. S. Pillai et al., All file systems are not
    created equal: on the complexity of crafting crash-consistent applications, OSDI 2014.

    Examples
    --------
    >>> import tempfile, numpy as np, numclip as nc
    >>> weights = nc.Variable([[1.0, 2.0]], name="layer1/weights")
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     nc.save(f"{directory}/model.npz", {"step": 7, "variables": {weights.name: weights}})
    ...     nc.load(f"{directory}/model.npz")
    {'step': array(7), 'variables': {'layer1/weights': array([[1., 2.]])}}
    """
    name = _as_path(path)
    if not isinstance(mapping, Mapping):
        raise TypeError(f"`mapping` must be a dict, got {_array.describe(mapping)}")
    values = dict(_flatten(mapping))
    entries = _entries_of(values)
    manifest = json.dumps({**_HEADING, "entries": [entry._asdict() for entry in entries]})
    _check_replaceable(name)
    with _replaced(name) as file, zipfile.ZipFile(file, "w") as archive:
        _write(archive, MANIFEST, np.array(manifest.encode()))
        for entry in entries:
            if entry.member is not None:
                _write(archive, entry.member, _as_stored(values[entry.keys], entry))


def load(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read what `save` wrote.

    Parameters
    ----------
    path : str or path
        The file.

    Returns
    -------
    dict of array or dict
        Of the keys, and in the order, that were saved; dicts where there were dicts. All else
        comes back as NumPy arrays, new and writable, of the dtype, shape and bits that were saved,
        in C order and the machine's order of bytes: also what was on a CUDA device, or a
        Variable. Numbers come back as arrays without dimensions: int64 for an int, float64 for a
        float, complex128 for a complex, bool for a bool.

    Raises
    ------
    OSError
        If the file cannot be opened, as the system says it: FileNotFoundError and others.
    ValueError
        If the file is not such a file, or not whole: the numbers of each array are compared with
        their checksum. Nothing is ever unpickled.
    ImportError
        If an array is bfloat16, and the package ml_dtypes is not installed.

    References
    ----------
    ``tf.compat.v1.train.Saver.restore`` of TensorFlow; `numpy.load` for the format.

    Examples
    --------
    >>> import tempfile, numpy as np, numclip as nc
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     nc.save(f"{directory}/a.npz", {"rate": 0.5, "slots": {"m": np.zeros(2, np.float32)}})
    ...     nc.load(f"{directory}/a.npz")
    {'rate': array(0.5), 'slots': {'m': array([0., 0.], dtype=float32)}}
    """
    name = _as_path(path)
    expected = f"`path` must be a file that numclip.save wrote, got {name!r}"
    with open(name, "rb") as file, as_value_error(expected), zipfile.ZipFile(file) as archive:
        entries = _read_manifest(archive)
        mapping: dict[str, Any] = {}
        for entry in entries:
            with as_value_error(f"entry {subscripts(entry.keys)}"):
                insert(mapping, entry.keys, _read(archive, entry))
        return mapping


def _as_path(path: object) -> str:
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"`path` must be a string or a path, got {_array.describe(path)}")
    return os.fsdecode(path)


def _flatten(mapping: Mapping[str, Any]) -> Iterator[tuple[Keys, Tensor | None]]:
    """Yield the keys of each array with the array, and those of an empty dict with None."""
    for keys, value in leaves(mapping, "mapping"):
        is_empty = isinstance(value, Mapping)
        yield keys, None if is_empty else as_tensor(value, f"mapping{subscripts(keys)}")


def as_tensor(value: object, argument: str) -> Tensor:
    if isinstance(value, IndexedSlices):
        raise TypeError(f"`{argument}` must be dense, got IndexedSlices")
    return _array.as_tensor(
        value.array if isinstance(value, Variable) else value,
        argument,
        lambda dtype: dtype.name in _STORED_AS,
        f"{', '.join(_STORED_AS)}, or a dict",
    )


def _entries_of(values: Mapping[Keys, Tensor | None]) -> list[_Entry]:
    taken = {MANIFEST}
    entries = []
    for keys, tensor in values.items():
        if tensor is None:
            entries.append(_Entry(keys, None, None, ()))
            continue
        member = _new_member(keys, taken)
        taken.add(member)
        entries.append(_Entry(keys, member, tensor.dtype.name, tuple(tensor.shape)))
    return entries


def _new_member(keys: Keys, taken: set[str]) -> str:
    """Return a name for people to read, short and of characters that every zip program takes."""
    joined = "/".join(keys)[:200]
    readable = "".join([c if c.isprintable() and c != "\\" else "_" for c in joined])
    member, count = f"{readable}.npy", 1
    while member in taken:
        count += 1
        member = f"{readable}~{count}.npy"
    return member


def _as_stored(tensor: Any, entry: _Entry) -> Array:
    assert entry.dtype is not None
    stored = np.dtype(_STORED_AS[entry.dtype])
    if isinstance(tensor, CudaArray):
        tensor = downloaded(tensor)
    native = np.asarray(tensor, tensor.dtype.newbyteorder("="), order="C")
    return np.asarray(native.view(stored.newbyteorder("=")), stored)


def downloaded(array: CudaArray) -> Array:
    """Copy the bits through a plain array of the library's, which is sure to hand it to NumPy.

    PyTorch refuses bfloat16, and tensors that require a gradient.
    """
    if array.dtype.name == "bfloat16":
        array = array._replace(dtype=np.dtype(np.int16))
    plain = _cuda_memory.empty(array.shape, array.dtype, array)
    _cuda_memory.copy(array, plain)
    return _cuda_memory.download(plain)


def _write(archive: zipfile.ZipFile, member: str, array: Array) -> None:
    # ZipInfo's time is that of no clock.
    with archive.open(zipfile.ZipInfo(member), "w", force_zip64=True) as stream:
        npy.write_array(stream, array, version=(1, 0), allow_pickle=False)


def _check_replaceable(path: str) -> None:
    """Refuse what could not be opened to be written, though it could be replaced."""
    if os.path.exists(path):
        if not (os.path.isfile(path) or os.path.isdir(path)):
            raise ValueError(f"`path` must be that of an ordinary file, got {path!r}")
        open(path, "r+b").close()


@contextmanager
def _replaced(path: str) -> Iterator[IO[bytes]]:
    """Open a file that takes the place of another once it is on the disk."""
    if os.path.islink(path):
        path = os.path.realpath(path)
    directory = os.path.dirname(path) or os.curdir
    temporary = os.path.join(directory, f".numclip-{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as file:
            with suppress(FileNotFoundError):
                shutil.copymode(path, temporary)
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    _synchronize(directory)


def _synchronize(directory: str) -> None:
    """Have the names in a directory written to the disk, by systems that can."""
    with suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def as_value_error(opening: str) -> Iterator[None]:
    """Have whatever damaged bytes lead to raised as one error.

    Of zipfile alone: BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError.
    """
    try:
        yield
    except (ImportError, MemoryError):
        raise
    except Exception as error:
        raise ValueError(f"{opening}: {error}") from error


def _read_manifest(archive: zipfile.ZipFile) -> list[_Entry]:
    # Not so where this is the end of a file that was cut, in which another lay as an array's bytes.
    if archive.getinfo(MANIFEST).header_offset != 0:
        raise ValueError("it does not begin with its manifest")
    # All is read, and compared with its checksum, before anything is made of it.
    text = npy.read_array(io.BytesIO(archive.read(MANIFEST)), allow_pickle=False).item()
    manifest = json.loads(text)
    heading = {key: manifest.get(key) for key in _HEADING}
    if heading != _HEADING:
        raise ValueError(f"its manifest must be headed {_HEADING}, got {heading}")
    entries = [_Entry(**fields) for fields in manifest["entries"]]
    return [each._replace(keys=tuple(each.keys), shape=tuple(each.shape)) for each in entries]


def readers(archive: zipfile.ZipFile) -> Iterator[tuple[Keys, Callable[[], Array]]]:
    """Yield the keys of each array, and what reads it."""
    for entry in _read_manifest(archive):
        if entry.member is not None:
            yield entry.keys, partial(_read, archive, entry)


def _read(archive: zipfile.ZipFile, entry: _Entry) -> Any:
    if entry.member is None:
        return {}
    stored = np.dtype(_STORED_AS[entry.dtype or ""])
    # What says how much memory to take is to be right before it is taken.
    with archive.open(entry.member) as stream:
        version = npy.read_magic(stream)
        shape, _, dtype = npy.read_array_header_1_0(stream)
    if (version, shape, dtype) != ((1, 0), entry.shape, stored):
        raise ValueError(
            f"it must be of dtype {stored} and shape {entry.shape}, got {dtype} and {shape}"
        )
    with archive.open(entry.member) as stream:
        numbers = npy.read_array(stream, allow_pickle=False)
        if stream.read(1):  # the checksum is compared at the end
            raise ValueError(f"it holds more than its {numbers.size} numbers")
    return numbers.astype(stored.newbyteorder("="), copy=False).view(dtype_named(entry.dtype))
