"""The site has a page for every public name and a picture for every example; links in it hold."""

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from gallery import Example, read_example, read_examples
from markdown_it import MarkdownIt

import numclip as nc

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [
    *ROOT.glob("*.md"),
    *(p for p in ROOT.glob("docs/**/*.md") if not {"_build", "generated"} & set(p.parts)),
]
EXAMPLES = read_examples()


def public_names() -> list[str]:
    modules = {"nn.": nc.nn, "train.": nc.train}
    inner = [f"{prefix}{name}" for prefix, module in modules.items() for name in vars(module)]
    return [name for name in nc.__all__ if f"{name}." not in modules] + [
        name for name in inner if "._" not in name
    ]


def listed_names() -> list[str]:
    """Return what the pages of the API list for autosummary, which makes a page for each."""
    text = "\n".join(page.read_text(encoding="utf-8") for page in sorted(DOCS.glob("api/*.rst")))
    tables = re.findall(r"\.\. autosummary::\n   :toctree: generated\n\n((?:   \S+\n)+)", text)
    return " ".join(tables).split()


def test_every_public_name_has_one_page() -> None:
    assert sorted(listed_names()) == sorted(public_names())


def test_there_are_examples() -> None:
    assert EXAMPLES


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_an_example_has_title_picture_text_and_test(example: Example) -> None:
    assert example.title and example.text
    assert f"python examples/{example.name}.py" in example.text
    assert example.picture.read_bytes().startswith(b"\x89PNG")
    assert example.name in (ROOT / "tests" / "test_examples.py").read_text(encoding="utf-8")


def test_no_picture_is_left_over() -> None:
    pictures = {path.stem for path in DOCS.glob("examples/*.png")}
    assert pictures == {example.name for example in EXAMPLES}


@pytest.mark.parametrize(
    ("first", "title", "summary"),
    [
        ("Title: what it: shows.", "Title", "What it: shows."),
        ("What it shows.", "What it shows", ""),
    ],
)
def test_an_example_is_read_from_its_docstring(
    tmp_path: Path, first: str, title: str, summary: str
) -> None:
    path = tmp_path / "program.py"
    path.write_text(f'"""{first}\n\nText.\n\n    python program.py\n\nMore.\n"""\n')
    text = "Text.\n\n```bash\npython program.py\n```\n\nMore."
    assert read_example(path) == Example("program", title, summary, text)


def anchors_of(text: str) -> set[str]:
    """Return the names that GitHub gives the headings."""
    tokens = MarkdownIt("commonmark").parse(text)
    headings = [after.content for token, after in pairwise(tokens) if token.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


def links_of(text: str) -> Iterator[str]:
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        for each in token.children or ():
            target = each.attrGet("href") or each.attrGet("src")
            if target is not None:
                yield str(target)


def dead_links(page: Path, text: str) -> list[str]:
    return [link for link in links_of(text) if not leads_somewhere(page, text, link)]


def leads_somewhere(page: Path, text: str, link: str) -> bool:
    if re.match("https?:|mailto:", link):
        return True
    path, _, anchor = link.partition("#")
    if not (page.parent / path).exists():
        return False
    if path and anchor:
        text = (page.parent / path).read_text(encoding="utf-8")
    return not anchor or anchor in anchors_of(text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_between_files_hold(page: Path) -> None:
    """Those that readers of the files themselves follow; the site's are checked as it is built."""
    assert dead_links(page, page.read_text(encoding="utf-8")) == []


def test_a_dead_link_is_found() -> None:
    text = """
# A title, of `two` parts

[a](#a-title-of-two-parts) [b](README.md) [c](README.md#speed) [d](https://example.org) ![e](docs)
[f](missing.md) ![g](missing.png) [h](README.md#missing) [i](#missing)

| table |
|---|
| [j](missing) |
"""
    missing = ["missing.md", "missing.png", "README.md#missing", "#missing", "missing"]
    assert dead_links(ROOT / "CHANGELOG.md", text) == missing
