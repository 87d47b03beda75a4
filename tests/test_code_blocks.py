"""No block of code in README.md, CONTRIBUTING.md or docs/ is shown that was not run or checked.

Python with prompts is run by doctest, on its page; Python without prompts is run here, or stands
below a comment that says why not, as ``<!-- not run: it needs a GPU -->``. Commands are ```bash, or
indented: what they name has to exist. Output is ```text.
"""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest
from markdown_it import MarkdownIt

import numclip as nc
from numclip.__main__ import main

ROOT = Path(__file__).parent.parent
PAGES = [
    *ROOT.glob("*.md"),
    *(p for p in ROOT.glob("docs/**/*.md") if not {"_build", "generated"} & set(p.parts)),
]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = set(PROJECT["project"]["optional-dependencies"])
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
TOOLS = {"asv", "build", "git", "mypy", "rm", "ruff", "tar", "twine", "venv"}


class Block(NamedTuple):
    page: str
    line: int
    language: str
    code: str
    comment: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks_of(text: str, page: str = "") -> Iterator[Block]:
    comment = ""
    for token in MarkdownIt("commonmark").parse(text):
        if token.type in ("fence", "code_block"):
            language = "bash" if token.type == "code_block" else token.info
            assert token.map is not None
            yield Block(page, token.map[0] + 1, language, token.content, comment)
        comment = token.content if token.type == "html_block" else ""


def check(block: Block) -> None:
    if block.language == "python":
        check_python(block)
    elif block.language == "bash":
        for command in re.split(r"\n| && ", block.code.replace("\\\n", " ")):
            check_command(shlex.split(command, comments=True))
    else:
        assert block.language == "text" or block.language.startswith("{"), block.language


def check_python(block: Block) -> None:
    if block.code.lstrip().startswith(">>> "):
        collected = PROJECT["tool"]["pytest"]["ini_options"]["testpaths"]
        assert block.page.split("/")[0] in collected, "doctest does not read this page"
        return
    compile(block.code, str(block), "exec")
    if not re.match(r"<!-- not run: \S.* -->", block.comment):
        command = [sys.executable, "-W", "error", "-c", block.code]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        process = subprocess.run(
            command, capture_output=True, text=True, env=environment, check=False
        )
        assert process.returncode == 0, process.stderr


def check_command(words: list[str]) -> None:
    while words and re.match(r"[A-Z_]+=", words[0]):
        del words[0]
    if not words:
        return
    name, *arguments = words
    name = Path(name).name
    if name in ("python", "python3"):
        check_program(arguments)
    elif name == "make":
        assert TARGETS.issuperset(each for each in arguments if "=" not in each), words
    elif name == "pip":
        check_installation(arguments)
    elif name == "numclip":
        check_program(["-m", *words])
    elif name == "cd":
        (folder,) = map(Path, arguments)
        assert folder == Path("numclip") or folder.is_absolute() or (ROOT / folder).is_dir()
    else:
        assert name in TOOLS, f"a command that is not known here: {words}"


def check_program(arguments: list[str]) -> None:
    if arguments[0] == "-c":
        compile(arguments[1], "-c", "exec")
        return
    if arguments[0] != "-m":
        assert (ROOT / arguments[0]).is_file(), arguments
        return
    _, module, *rest = arguments
    if module == "pip":
        check_installation(rest)
    elif module == "pytest":
        options = re.compile(r"(?:-[kmn] \S+|-\S+)\s?")
        for path in options.sub("", " ".join(rest)).split():
            assert (ROOT / path.partition("::")[0]).exists(), path
    elif module == "numclip":
        with pytest.raises(SystemExit) as exit_of_help:
            main([*rest[:1], "--help"])
        assert exit_of_help.value.code == 0, arguments
    else:
        assert module in TOOLS or find_spec(module), arguments


def check_installation(arguments: list[str]) -> None:
    command, *requirements = arguments
    assert command == "install", arguments
    for each in requirements:
        ours = re.fullmatch(r"(?:\.|numclip)\[(.+)\]", each)
        assert ours is None or EXTRAS.issuperset(ours[1].split(",")), each
        assert not each.startswith("numclip-") or each.startswith(f"numclip-{nc.__version__}-")


BLOCKS = [
    block
    for page in PAGES
    for block in blocks_of(page.read_text(encoding="utf-8"), page.relative_to(ROOT).as_posix())
]


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_block(block: Block) -> None:
    check(block)


@pytest.mark.parametrize(
    "text",
    [
        "```python\n1 / 0\n```",
        "```python\nx =\n```",
        "<!-- not run: it needs a GPU -->\n```python\nx =\n```",
        "<!-- not run: -->\n```python\n1 / 0\n```",
        "<!-- not run: it needs a GPU -->\n\nText.\n\n```python\n1 / 0\n```",
        "```python\n>>> 1 + 1\n2\n\n```",
        "```\nmake test\n```",
        "```console\n$ make test\n```",
        "    make tests",
        "```bash\nmake test\nmake tests\n```",
        "```bash\nmake test && make tests\n```",
        "```bash\npython -c 'x ='\n```",
        "```bash\nmake test \\\n    tests\n```",
        "```bash\ncurl\n```",
        "```bash\npip install '.[example]'\n```",
        "```bash\nLEVEL=1 pip install numclip-0.0.9-py3-none-any.whl\n```",
        "```bash\npython examples/missing.py\n```",
        "```bash\npython -m numclip.missing\n```",
        "```bash\npython -m numclip dome\n```",
        "```bash\n.venv/bin/python -m pytest -k tests tests/test_missing.py\n```",
        "```bash\ncd missing\n```",
    ],
)
def test_a_bad_block_is_found(text: str) -> None:
    with pytest.raises((AssertionError, ModuleNotFoundError, SyntaxError)):
        for block in blocks_of(text, "CHANGELOG.md"):
            check(block)
