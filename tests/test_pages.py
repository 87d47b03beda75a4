"""What the pages of docs/ say about the code and its tests agrees with them."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from test_layers import LEVELS

import numclip as nc

ROOT = Path(__file__).parent.parent
TESTS = ROOT / "tests"
PAGES = sorted((ROOT / "docs").rglob("*.md"))
DIFFERENCES = (ROOT / "docs" / "differences.md").read_text(encoding="utf-8")


ARCHITECTURE = (ROOT / "docs" / "development" / "architecture.md").read_text(encoding="utf-8")


def functions_of(file: Path) -> set[str]:
    return set(re.findall(r"^def (test_\w+)", file.read_text(encoding="utf-8"), re.MULTILINE))


ALL_TESTS = {
    file.relative_to(TESTS).as_posix(): functions_of(file) for file in TESTS.rglob("test_*.py")
}


def named_by_case(text: str) -> dict[str, list[str]]:
    """Return the cases of tables whose last column is "test", with the tests that it names."""
    found: dict[str, list[str]] = {}
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        header, _, *rows = [line.strip("| ").split(" | ") for line in table.splitlines()]
        if header[-1] == "test":
            found |= {row[0]: re.findall(r"`(test_[^`]*)`", row[-1]) for row in rows}
    return found


CASES = named_by_case(DIFFERENCES)


@pytest.mark.parametrize("case", CASES)
def test_each_difference_names_tests_that_exist(case: str) -> None:
    assert CASES[case]
    for name in CASES[case]:
        file, _, test = name.rpartition("::")
        assert test in ALL_TESTS[file or "test_differences.py"], name


def test_each_test_of_a_difference_is_named() -> None:
    named = {name for names in CASES.values() for name in names}
    assert ALL_TESTS["test_differences.py"] - named == set()


def test_a_table_of_tests_is_read() -> None:
    text = (
        "| a | test |\n|---|---|\n| b | `test_c`, `test_d.py::test_e` |\n\n| f | g |\n|---|---|\n"
    )
    assert named_by_case(text) == {"b": ["test_c", "test_d.py::test_e"]}


def test_levels_are_those_that_imports_are_held_to() -> None:
    rows = re.findall(r"^\| (\d+) \| (.+?) \|", ARCHITECTURE, re.MULTILINE)
    levels = [
        (module, int(level))
        for level, modules in rows
        for module in re.findall(r"`(\w+)`", modules)
    ]
    assert sorted(levels) == sorted(LEVELS.items())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_files_and_tests_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for path in re.findall(r"`((?:tests|numclip|examples|asv_benchmarks)/[\w/.-]*)`", text):
        root = Path(nc.__file__).parent.parent if path.startswith("numclip/") else ROOT
        assert (root / path).exists(), path
    for name in re.findall(r"`(test_\w+)`", text):
        assert any(name in tests for tests in ALL_TESTS.values()), name


STEP = """
import numpy as np, numclip as nc
x = nc.Variable(np.array([1, 2, 3, 4], np.float32))
gradient = np.array([-7, 0, 0.25, np.nan], np.float32)
SignGradientDescentOptimizer(0.5, clipvalue=1.0).apply_gradients([(gradient, x)])
print(x.value.tolist())
"""


def test_the_optimizer_of_the_page_takes_a_step(tmp_path: Path) -> None:
    page = ROOT / "docs" / "development" / "adding-an-operation.md"
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    (source,) = [block for block in blocks if "class SignGradientDescentOptimizer" in block]
    process = subprocess.run(
        [sys.executable, "-W", "error", "-c", source + STEP],
        capture_output=True,
        text=True,
        # A cache of its own: Numba's index of kernels would name a class that is nowhere else.
        env={**os.environ, "PYTHONPATH": str(ROOT), "NUMBA_CACHE_DIR": str(tmp_path)},
        check=False,
    )
    assert process.stdout.strip() == "[1.5, 2.0, 2.5, nan]", process.stderr


def measured(page: str, section: str, title: str, case: str) -> str:
    """Return a line of what `make compare` has written."""
    text = (ROOT / "docs" / "performance" / page).read_text(encoding="utf-8")
    lines = text.split(f"## {section}\n")[1].splitlines()
    return next(line for line in lines if line.startswith(f"| {title} | {case} |"))


MEASURED = {
    "clip, over the limit": ("comparison.md", "In place", "over"),
    "clip, and a step of Adam": ("steps.md", "Clip by the global norm, and step", "Adam"),
}


def test_the_figures_of_the_readme_are_those_that_were_measured() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    table = readme.split("<!-- written by make compare -->")[1].split("<!-- to here -->")[0]
    _, _, *rows = [line.strip("| ").split(" | ") for line in table.strip().splitlines()]
    assert len(rows) == 7
    for title, what, *cells in rows:
        page, section, case = MEASURED[what]
        line = measured(page, section, title, case)
        for cell in filter(None, cells):
            time, _, times = cell.partition(", ")
            assert f" {time}<br>{times}" in line, (title, what, cell)


def test_the_version_is_that_of_the_project_and_of_the_changelog() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert nc.__version__ == project["version"]
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (\S+),", changelog, re.MULTILINE)[0] == nc.__version__
