"""A module imports only from levels below its own."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import numclip

PACKAGE = Path(numclip.__file__).parent

LEVELS = {
    "_kernel_cache": 0,
    "_pace": 0,
    "_compile": 1,
    "_compile_cuda": 1,
    "_kernels": 2,
    "_threads": 3,
    "_cuda_array": 3,
    "_dtypes": 3,
    "_cuda_libraries": 4,
    "_cuda_memory": 5,
    "_array": 6,
    "_cuda_tensors": 7,
    "_headers": 7,
    "_image_windows": 7,
    "_nested": 7,
    "_name_patterns": 7,
    "_rename": 8,
    "_cuda_axes": 8,
    "_cuda_slices": 8,
    "_slices": 9,
    "_operand": 10,
    "_tensors": 11,
    "_variable": 11,
    "_boxes": 12,
    "_clip_gradient": 13,
    "_gather": 13,
    "_gradient_override": 13,
    "_norm": 14,
    "_clip": 14,
    "_checkpoint": 14,
    "_gradient": 15,
    "_weight_file": 15,
    "_custom_gradient": 16,
    "_gradient_flow": 16,
    "_convolution": 16,
    "_restore": 16,
    "nn": 17,
    "_variable_store": 17,
    "_filter": 18,
    "train": 19,
    "__init__": 20,
    "_demo": 21,
    "_info": 21,
    "__main__": 22,
}
# One file of a folder may import another, and a module nothing of its own level otherwise.
FOLDERS = {"_kernels", "train", "_demo"}
FILES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))


def imported_modules(source: str) -> Iterator[str]:
    """Yield what a source imports from numclip, wherever in the file, as dotted names."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
        elif isinstance(node, ast.ImportFrom) and node.module == "numclip":
            for alias in node.names:
                yield f"numclip.{alias.name}"
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the level"
            yield node.module or ""


def part_of(file: str) -> str:
    return Path(file).parts[0].removesuffix(".py")


def part_imported(module: str) -> str:
    name = module.split(".")[1] if "." in module else "__init__"
    return name if name in LEVELS else "__init__"


def imports_upward(file: str, source: str) -> list[str]:
    part = part_of(file)
    return [
        module
        for module in imported_modules(source)
        if module.split(".")[0] == "numclip"
        and not (part in FOLDERS and part == part_imported(module))
        and LEVELS[part_imported(module)] >= LEVELS[part]
    ]


@pytest.mark.parametrize("file", FILES)
def test_imports_only_from_below(file: str) -> None:
    assert imports_upward(file, (PACKAGE / file).read_text()) == []


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("_array.py", "from numclip._clip import clip_by_norm"),
        ("_tensors.py", "from numclip import _variable"),
        ("_kernels/norm.py", "import numclip._array"),
        ("_clip.py", "def f():\n    from numclip import train"),
        ("_slices.py", "import numclip as nc"),
    ],
)
def test_an_import_that_goes_up_is_found(file: str, line: str) -> None:
    assert imports_upward(file, line)


@pytest.mark.parametrize("file", FILES)
def test_numba_is_imported_in_one_place(file: str) -> None:
    modules = list(imported_modules((PACKAGE / file).read_text()))
    importers = ("_compile.py", "_compile_cuda.py")
    assert file in importers or not any(m.split(".")[0] == "numba" for m in modules)
