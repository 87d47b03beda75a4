"""How compiled kernels are kept on disk, and when one that is kept is stale."""

import hashlib
import os
import pickle
from collections.abc import Hashable
from functools import cache
from typing import Any


@cache
def sources_hash() -> str:
    """Digest numclip's own sources."""
    package = os.path.dirname(__file__)
    # In half of the time that `pathlib` takes, at each import.
    paths = [
        os.path.join(folder, name)
        for folder, _, names in os.walk(package)
        for name in names
        if name.endswith(".py")
    ]
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(os.path.relpath(path, package).encode())
        with open(path, "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()


class KernelFiles:
    """A file for each form of a kernel, named after the types it was compiled for.

    Numba numbers the files of a kernel, and notes the numbers in another. Of two processes that
    compile at once, each may give its own form the number that the other gives: a form is loaded
    for another then, and computes wrong numbers. And it takes a file for fresh as long as the
    kernel's own source is unchanged, whatever became of the rules that the kernel calls.
    """

    def __init__(self, numbas: Any) -> None:
        self._numbas = numbas
        self._folder = numbas._cache_path
        self._kernel = numbas._index_name.removesuffix(".nbi")
        self._state = f"{sources_hash()} {numbas._version}".encode()

    def load(self, key: Hashable) -> Any:
        """Return what was saved; None if it is not there, stale or damaged."""
        try:
            with open(self._path(key), "rb") as file:
                digest, content = file.read(32), file.read()
        except OSError:
            return None
        if digest != self._digest(content):
            return None
        saved, form = pickle.loads(content)
        return form if saved == key else None

    def save(self, key: Hashable, form: Any) -> None:
        content = self._numbas._dump((key, form))
        with self._numbas._open_for_write(self._path(key)) as file:
            file.write(self._digest(content))
            file.write(content)

    def flush(self) -> None:
        """Remove nothing: what is compiled anew replaces what is there."""

    def _path(self, key: Hashable) -> str:
        name = hashlib.sha256(repr(key).encode()).hexdigest()[:16]
        return os.path.join(self._folder, f"{self._kernel}.{name}.nbc")

    def _digest(self, content: bytes) -> bytes:
        return hashlib.sha256(self._state + content).digest()


_PRIVATE = ("_cache_path", "_index_name", "_version", "_dump", "_open_for_write")


def keep_on_disk(dispatcher: Any) -> bool:
    """Let a kernel of Numba's keep its forms in `KernelFiles`; tell whether it keeps them."""
    keeper = getattr(dispatcher, "_cache", None)
    numbas = getattr(keeper, "_cache_file", None)
    if not all(hasattr(numbas, name) for name in _PRIVATE):
        return False
    keeper._cache_file = KernelFiles(numbas)  # type: ignore[union-attr]
    return True


def cache_folder(kernel: Any) -> str | None:
    """Return where a kernel is kept on disk, None if it is not."""
    folder: str | None = getattr(getattr(kernel, "stats", None), "cache_path", None)
    return folder
