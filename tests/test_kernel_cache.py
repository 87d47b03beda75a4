"""What is kept on disk of a kernel is what comes back, whatever else is written meanwhile."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from greenlet import getcurrent, greenlet
from numba import config, float32, float64, njit
from numba.core.caching import IndexDataCacheFile

from numclip import _kernel_cache
from numclip._kernel_cache import KernelFiles, cache_folder, keep_on_disk, sources_hash

SINGLE, DOUBLE = ("sum", (float32,)), ("sum", (float64,))


class Numbas(IndexDataCacheFile):  # type: ignore[misc]
    """Numba's cache file, which pauses before each of its steps."""

    def __init__(self, folder: Path, pause: Callable[[], object] = lambda: None) -> None:
        super().__init__(str(folder), "kernels.sum-12.py311", ())
        self._pause = pause

    def _dump(self, content: Any) -> Any:
        self._pause()
        return super()._dump(content)

    @contextmanager
    def _open_for_write(self, path: str) -> Iterator[Any]:
        self._pause()
        with super()._open_for_write(path) as file:
            yield file
            self._pause()
        self._pause()


def files(folder: Path) -> KernelFiles:
    return KernelFiles(Numbas(folder))


def test_each_form_comes_back(tmp_path: Path) -> None:
    assert files(tmp_path).load(SINGLE) is None
    files(tmp_path).save(SINGLE, b"single")
    files(tmp_path).save(DOUBLE, b"double")
    assert files(tmp_path).load(SINGLE) == b"single"
    assert files(tmp_path).load(DOUBLE) == b"double"
    files(tmp_path).flush()
    files(tmp_path).save(SINGLE, b"anew")
    assert files(tmp_path).load(SINGLE) == b"anew"
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("other", [SINGLE, DOUBLE])
def test_two_processes_that_save_at_once(tmp_path: Path, other: Any) -> None:
    """In any order of their steps; Numba's own files gave one form for the other in 94 of 400."""

    def saving(folder: Path, key: Any) -> greenlet:
        pause = getcurrent().switch
        return greenlet(lambda: KernelFiles(Numbas(folder, pause)).save(key, key))

    steps = range(10)
    for i, turns_of_first in enumerate(combinations(steps, len(steps) // 2)):
        folder = tmp_path / str(i)
        folder.mkdir()
        first, second = saving(folder, SINGLE), saving(folder, other)
        for step in steps:
            (first if step in turns_of_first else second).switch()
        assert first.dead and second.dead
        for key in (SINGLE, other):
            assert files(folder).load(key) == key


@pytest.mark.parametrize("position", [0, 40, -1])
def test_a_damaged_file_is_not_taken(tmp_path: Path, position: int) -> None:
    files(tmp_path).save(SINGLE, b"single")
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    damaged = bytearray(whole)
    damaged[position] ^= 1
    for content in (bytes(damaged), whole[:position], b""):
        file.write_bytes(content)
        assert files(tmp_path).load(SINGLE) is None
    file.write_bytes(whole)
    assert files(tmp_path).load(SINGLE) == b"single"


def test_two_forms_of_one_name_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(KernelFiles, "_path", lambda self, key: str(tmp_path / "kernel.nbc"))
    files(tmp_path).save(SINGLE, b"single")
    assert files(tmp_path).load(DOUBLE) is None
    assert files(tmp_path).load(SINGLE) == b"single"


def test_another_state_of_the_sources_replaces_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files(tmp_path).save(SINGLE, b"single")
    monkeypatch.setattr(_kernel_cache, "sources_hash", lambda: "another")
    assert files(tmp_path).load(SINGLE) is None
    files(tmp_path).save(SINGLE, b"anew")
    assert files(tmp_path).load(SINGLE) == b"anew"
    assert len(list(tmp_path.iterdir())) == 1


def test_another_numba_takes_nothing(tmp_path: Path) -> None:
    files(tmp_path).save(SINGLE, b"single")
    another = Numbas(tmp_path)
    another._version = "1.0"
    assert KernelFiles(another).load(SINGLE) is None


def test_a_kernel_is_kept_where_numba_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path))
    kernel = njit(cache=True)(_double)
    assert keep_on_disk(kernel)
    assert kernel(2.0) == 4.0
    again = njit(cache=True)(_double)
    assert keep_on_disk(again)
    assert again(2.0) == 4.0
    assert sum(again.stats.cache_hits.values()) == 1
    folder = cache_folder(kernel)
    assert folder is not None
    (kept,) = os.listdir(folder)
    assert kept.endswith(".nbc")
    assert Path(folder).parent == tmp_path


def test_without_what_is_private_to_numba_nothing_is_kept() -> None:
    assert not keep_on_disk(SimpleNamespace())
    assert not keep_on_disk(njit(_double))
    kernel = njit(cache=True)(_double)
    del kernel._cache._cache_file._version
    assert not keep_on_disk(kernel)


def _double(x):  # type: ignore[no-untyped-def]
    return 2 * x


def test_the_hash_of_the_same_sources_is_the_same() -> None:
    assert len(sources_hash()) == 64
    sources_hash.cache_clear()
    assert sources_hash() == sources_hash()
