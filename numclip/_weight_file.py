"""Files of named arrays: those of `save`, NumPy's .npz, and safetensors."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, TypeAlias

from numpy.lib import format as npy

from numclip import _checkpoint
from numclip._array import Array
from numclip._dtypes import dtype_named
from numclip._nested import Keys, subscripts

# The keys of an array, and what reads it.
Readers: TypeAlias = Iterable[tuple[Keys, Callable[[], Array]]]


@contextmanager
def opened(path: str, expected: str) -> Iterator[Readers]:
    """Open a file, to read some of its arrays; what is wrong with it is a ValueError."""
    with open(path, "rb") as file, ExitStack() as stack:
        with _checkpoint.as_value_error(expected):
            if path.endswith(".safetensors"):
                readers = list(_in_safetensors(path, stack))
            else:
                readers = list(_in_archive(stack.enter_context(zipfile.ZipFile(file))))
        yield [
            (keys, partial(_read, reader, f"{expected}: entry {subscripts(keys)}"))
            for keys, reader in readers
        ]


def _read(reader: Callable[[], Array], opening: str) -> Array:
    with _checkpoint.as_value_error(opening):
        return reader()


def _in_archive(archive: zipfile.ZipFile) -> Readers:
    members = archive.infolist()
    if _checkpoint.MANIFEST in archive.namelist():
        yield from _checkpoint.readers(archive)
        return
    if not any(member.filename.endswith(".npy") for member in members):
        raise ValueError("it holds no arrays")
    # As for a manifest: what is left of a larger file, in which this one lay.
    if min(member.header_offset for member in members) != 0:
        raise ValueError("it does not begin with its first member")
    for member in members:
        # Compares the name with that beside the numbers. A manifest whose name is damaged would
        # pass for absent, and the integers that stand for bfloat16 for the numbers themselves.
        archive.open(member).close()
    for member in members:
        name = member.filename
        if name.endswith(".npy"):
            yield (name.removesuffix(".npy"),), partial(_read_npy, archive, member)


def _read_npy(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Array:
    # All is read, and compared with its checksum, before a header asks for memory.
    stream = io.BytesIO(archive.read(member))
    array: Array = npy.read_array(stream, allow_pickle=False)
    return array


def _in_safetensors(path: str, stack: ExitStack) -> Readers:
    try:
        import safetensors
    except ImportError as error:
        raise ImportError("safetensors files need a package: pip install safetensors") from error
    file = stack.enter_context(safetensors.safe_open(path, "np"))
    for name in file.keys():
        yield (name,), partial(_read_safetensor, file, name)


def _read_safetensor(file: Any, name: str) -> Array:
    if file.get_slice(name).get_dtype() == "BF16":
        # NumPy knows the dtype only once the package that makes it is there.
        dtype_named("bfloat16")
    array: Array = file.get_tensor(name)
    return array
