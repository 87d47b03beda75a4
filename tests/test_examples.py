"""The examples run, and what they print is so."""

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
CLIP_FIELD = EXAMPLES / "clip_field.py"
TRANSFER_LEARNING = EXAMPLES / "transfer_learning.py"
ACCUMULATE = EXAMPLES / "accumulate_gradients.py"
VANISHING = EXAMPLES / "vanishing_gradients.py"
EXPLODING = EXAMPLES / "exploding_gradients.py"

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


# What each example prints, as a pattern, and what has to hold of the numbers in it.
PROGRAMS: dict[str, tuple[tuple[str, ...], dict[str, Callable[..., bool]]]] = {
    "matrix_gradients": (
        (),
        {
            r"images: .* \(1797, 64\), by hand within (\S+)": lambda error: error < 1e-14,
            r"weights: .* \(64, 10\), by hand within (\S+)": lambda error: error < 1e-14,
            r"mean images: .* within (\S+)": lambda error: error < 1e-14,
        },
    ),
    "softmax_regression": (
        ("--quick",),
        {
            # Guessing gives 10 %, and a loss of log 10.
            rf"{name} rate: from a loss of (\S+) to (\S+); (\S+)%": (
                lambda first, last, accuracy: first == 2.303 and last < 1.5 and accuracy > 80
            )
            for name in ("constant", "decaying")
        },
    ),
    "second_derivatives": (
        (),
        {
            r"sin 2x and 2 cos 2x within (\S+)": lambda error: error < 1e-14,
            r"curvature: (\S+), by NumPy's eigenvalues (\S+)": lambda found, exact: found == exact,
            r"5 % below 2 / curvature: a loss of (\S+)": lambda loss: loss < 0.5,
            r"5 % above 2 / curvature: a loss of (\S+)": lambda loss: loss > 100,
        },
    ),
    "custom_gradients": (
        ("--quick",),
        {
            r"custom_gradient and gradient_override_map: the same\n": lambda: True,
            r"the plain gradient: another\n": lambda: True,
        },
    ),
    "gradient_reversal": (
        ("--quick",),
        {
            r"no reversal: (\S+)%[^%]*right; (\S+)%[^%]*reversal: (\S+)%[^%]*right; (\S+)%": (
                lambda plain, apart, adversarial, less_apart: (
                    min(plain, adversarial) > 40 and less_apart < apart - 3
                )
            ),
        },
    ),
    "binary_network": (
        ("--quick",),
        {
            r"straight-through: (\S+)%[^%]* no gradient: (\S+)%": (
                lambda straight, without: straight > 60 and straight > without + 10
            ),
            r"straight-through: (\S+) and (\S+)\n": lambda same, other: same + 2 < other,
        },
    ),
    "convolution_gradients": (
        (),
        {
            r"convolution: the same by hand": lambda: True,
            r"gradient of the image: the same by hand": lambda: True,
            r"gradient of the filters: the same by hand": lambda: True,
        },
    ),
}


@needs_scikit_learn
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_prints_what_is_so(name: str, tmp_path: Path) -> None:
    arguments, facts = PROGRAMS[name]
    picture = tmp_path / "picture.png"
    process = run(EXAMPLES / f"{name}.py", *arguments, "--output", picture)
    assert process.returncode == 0, process.stderr
    assert process.stderr == ""
    for pattern, holds in facts.items():
        found = re.search(pattern, process.stdout)
        assert found, f"{pattern!r} is not in {process.stdout!r}"
        assert holds(*map(float, found.groups())), found[0]
    assert picture.read_bytes().startswith(b"\x89PNG")


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
    assert process.stderr == "sklearn is missing: pip install '.[examples]'\n"
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
