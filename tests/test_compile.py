"""When kernels are compiled, and when what was compiled is used again."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from numba import njit

from numclip import _compile

PACKAGE = Path(_compile.__file__).parent

PROGRAM = """
import json
from numba.core import event
listener = event.RecordingListener()
event.register("numba:compile", listener)
def compiled():
    return sum(item.is_start for _, item in listener.buffer)
import numpy as np, numclip as nc
at_import = compiled()
clipped, _ = nc.clip_by_global_norm([np.float32([3.0, 4.0])], 1.0)
at_first_clip = compiled()
from numclip import _pace
_pace.LARGE_SIZE = 0
large = [np.ones(100_000, dtype) for dtype in ("f2", "f4", "f8")]
for out in (None, large):
    nc.clip_by_global_norm(large, 1.0, out=out)
nc.clip_by_value(large[0], 0, 1)
from numclip._kernels.clip import clip_arrays
print(json.dumps({
    "at_import": at_import,
    "at_first_clip": at_first_clip,
    "compiled": compiled(),
    "cached": clip_arrays.stats.cache_path is not None,
    "clipped": [float(x) for x in clipped[0]],
}))
"""


def run(package_parent: Path, cache: Path | None, **environment: str) -> dict[str, Any]:
    """Clip in a process of its own, with the numclip that lies in this folder."""
    environment = {**os.environ, "PYTHONPATH": str(package_parent), **environment}
    if cache is None:
        del environment["NUMBA_CACHE_DIR"]
    else:
        environment["NUMBA_CACHE_DIR"] = str(cache)
    process = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM],
        capture_output=True,
        text=True,
        env=environment,
        cwd=package_parent,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    parent = tmp_path_factory.mktemp("sources")
    shutil.copytree(PACKAGE, parent / "numclip", ignore=shutil.ignore_patterns("__pycache__"))
    return parent


def test_second_process_compiles_nothing(sources: Path, tmp_path: Path) -> None:
    first, second = run(sources, tmp_path), run(sources, tmp_path)
    assert first["at_import"] == 0
    assert 0 < first["at_first_clip"] < first["compiled"]
    assert second["compiled"] == 0
    assert second["clipped"] == first["clipped"]


def test_where_the_install_is_read_only_the_users_cache_serves(
    sources: Path, tmp_path: Path
) -> None:
    # What Numba's first locator needs, a folder beside the sources, is not to be had.
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    users = {"NUMBA_CACHE_LOCATOR_CLASSES": "UserWideCacheLocator", **home}
    first, second = run(sources, None, **users), run(sources, None, **users)
    assert first["compiled"] > 0
    assert second["compiled"] == 0
    assert not list(sources.rglob("*.nbc"))


def test_change_of_a_rule_in_another_file_compiles_anew(sources: Path, tmp_path: Path) -> None:
    before = run(sources, tmp_path)
    rules = sources / "numclip" / "_kernels" / "elementwise.py"
    original = rules.read_text()
    changed = original.replace("value * kind(factor)", "value * kind(2 * factor)")
    assert changed != original
    rules.write_text(changed)
    try:
        after = run(sources, tmp_path)
    finally:
        rules.write_text(original)
    assert after["compiled"] > 0
    assert after["clipped"] == pytest.approx([2 * x for x in before["clipped"]])


def test_nowhere_to_write_the_cache(sources: Path, tmp_path: Path) -> None:
    # The one locator that is left takes only packages that lie in a zip file.
    result = run(sources, tmp_path, NUMBA_CACHE_LOCATOR_CLASSES="ZipCacheLocator")
    assert not result["cached"]
    assert result["clipped"] == pytest.approx([0.6, 0.8])


WITHOUT_JIT = """
import numba, numpy as np, numclip as nc
def own(x):
    return x
assert numba.njit(own) is own
clipped, _ = nc.clip_by_global_norm([np.array([3.0, 4.0])], 1.0)
large, norm = nc.clip_by_global_norm([np.ones(1 << 18, np.float32)], 1.0)
x = nc.Variable([1.0, 2.0])
nc.train.AdamOptimizer(0.5).apply_gradients([(np.array([2.0, 0.0]), x)])
assert numba.njit(own) is own
print(clipped[0].round(3).tolist(), float(norm), x.value.round(3).tolist())
"""


def test_kernels_compile_where_users_have_turned_that_off() -> None:
    process = subprocess.run(
        [sys.executable, "-c", WITHOUT_JIT],
        capture_output=True,
        text=True,
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        check=False,
    )
    assert process.stdout == "[0.6, 0.8] 512.0 [0.5, 2.0]\n", process.stderr


def test_a_kernel_that_is_not_kept_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_compile, "keep_on_disk", lambda dispatcher: False)
    kernel: Any = _compile.kernel(_double)
    assert kernel(2.0) == 4.0
    assert kernel.stats.cache_path is None


def _double(x):  # type: ignore[no-untyped-def]
    return 2 * x


class Pair(NamedTuple):
    """Two numbers of a rule."""

    first: float
    second: float


@pytest.mark.parametrize("pairs", [((1, 2), (0.5, 0.25)), ((0.5, 0.25), (1, 2))])
def test_no_field_is_cut_short_by_what_a_kernel_was_called_with_before(pairs: Any) -> None:
    add = _compile.by_classes(njit(lambda pair: pair.first + pair.second))
    for first, second in (*pairs, *pairs):
        assert add(Pair(first, second)) == first + second


@pytest.mark.parametrize("features", ["+sse2,+f16c", "+sse2,-f16c", None])
def test_float16_of_a_processor_that_numba_was_told(
    features: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_compile.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(_compile.config, "CPU_NAME", "generic")
    monkeypatch.setattr(_compile.config, "CPU_FEATURES", features)
    assert _compile.converts_float16() == (features == "+sse2,+f16c")
