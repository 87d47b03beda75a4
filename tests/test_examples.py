"""The examples run, and what they print is so."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CLIP_FIELD = ROOT / "examples" / "clip_field.py"
TRANSFER_LEARNING = ROOT / "examples" / "transfer_learning.py"

needs_scikit_learn = pytest.mark.skipif(
    importlib.util.find_spec("sklearn") is None, reason="scikit-learn is not installed"
)


def run(*arguments: str | Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-W", "error", *map(str, arguments)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80", **environment},
        check=False,
    )


def row(output: str, title: str) -> list[str]:
    (found,) = re.findall(rf"│ {title} +│(.*)│", output)
    return [cell.strip() for cell in found.split("│")]


@needs_scikit_learn
def test_transfer_learning(tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    process = run(TRANSFER_LEARNING, "--quick", "--output", picture)
    assert process.returncode == 0, process.stderr
    assert process.stderr == ""
    ways = ("head only", "head, then all", "from scratch")
    rows = {way: row(process.stdout, way) for way in ways}
    # Guessing gives 20 %.
    assert all(float(cells[0].removesuffix("%")) > 80 for cells in rows.values())
    assert [cells[-1] for cells in rows.values()] == ["unchanged", "changed", "changed"]
    assert picture.read_bytes().startswith(b"\x89PNG")


@needs_scikit_learn
def test_a_seed_gives_the_same_accuracies(tmp_path: Path) -> None:
    arguments = (TRANSFER_LEARNING, "--quick", "--seed", "3", "--output", tmp_path / "picture.png")
    first, second = (row(run(*arguments).stdout, "head, then all") for _ in range(2))
    assert first[:2] == second[:2]


def test_without_scikit_learn_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "sklearn.py").write_text("raise ModuleNotFoundError('none', name='sklearn')")
    process = run(TRANSFER_LEARNING, PYTHONPATH=os.pathsep.join([str(tmp_path), str(ROOT)]))
    assert process.returncode == 1
    assert process.stderr == "sklearn is missing: pip install 'numclip[examples]'\n"
    assert process.stdout == ""


def test_clip_field(tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    process = run(CLIP_FIELD, "--output", picture)
    assert process.returncode == 0, process.stderr
    assert process.stderr == ""
    # Longest, norm of all, turned by up to, unchanged.
    assert row(process.stdout, "before") == ["2.93", "12.11", "0°", "35"]
    assert row(process.stdout, "clip_by_value") == ["1.41", "6.94", "23°", "5"]
    assert row(process.stdout, "clip_by_norm") == ["1.00", "5.66", "0°", "5"]
    assert row(process.stdout, "clip_by_average_norm") == ["2.00", "9.83", "0°", "21"]
    assert row(process.stdout, "clip_by_global_norm") == ["1.45", "6.00", "0°", "1"]
    assert picture.read_bytes().startswith(b"\x89PNG")
