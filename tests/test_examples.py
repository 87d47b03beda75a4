"""The examples run, and what they print is so."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TRANSFER_LEARNING = ROOT / "examples" / "transfer_learning.py"
ACCUMULATE = ROOT / "examples" / "accumulate_gradients.py"
VANISHING = ROOT / "examples" / "vanishing_gradients.py"
EXPLODING = ROOT / "examples" / "exploding_gradients.py"

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


def quick(example: Path, folder: Path) -> str:
    """Return what an example prints, once it has drawn its picture."""
    picture = folder / "picture.png"
    process = run(example, "--quick", "--output", picture)
    assert process.returncode == 0, process.stderr
    assert process.stderr == ""
    assert picture.read_bytes().startswith(b"\x89PNG")
    return process.stdout


@needs_scikit_learn
def test_accumulated_gradients(tmp_path: Path) -> None:
    output = quick(ACCUMULATE, tmp_path)
    accumulated, smallest = (
        [float(cell.removesuffix("%")) for cell in row(output, title)]
        for title in ("all sizes, accumulated", "8 x 8 alone")
    )
    # Guessing gives 10 %.
    assert min(accumulated) > 50
    assert accumulated[-2] > smallest[-2]


@needs_scikit_learn
def test_vanishing_gradients(tmp_path: Path) -> None:
    sigmoid, rectifier = re.findall(
        r"Layer 1 gets (.*) of the gradient", quick(VANISHING, tmp_path)
    )
    assert float(sigmoid) < 1e-4
    assert float(rectifier) > 0.1


@needs_scikit_learn
def test_exploding_gradients(tmp_path: Path) -> None:
    output = quick(EXPLODING, tmp_path)
    free, limited = map(float, row(output, "largest finite norm"))
    assert free > 10 * limited
    without, with_limit = (
        float(each.removesuffix("%")) for each in row(output, "digits read right")
    )
    assert with_limit > 2 * without


@pytest.mark.parametrize("example", [TRANSFER_LEARNING, ACCUMULATE, VANISHING, EXPLODING])
def test_without_scikit_learn_it_says_what_to_install(tmp_path: Path, example: Path) -> None:
    (tmp_path / "sklearn.py").write_text("raise ModuleNotFoundError('none', name='sklearn')")
    process = run(example, PYTHONPATH=os.pathsep.join([str(tmp_path), str(ROOT)]))
    assert process.returncode == 1
    assert process.stderr == "sklearn is missing: pip install 'numclip[examples]'\n"
    assert process.stdout == ""
