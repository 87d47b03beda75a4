"""The gallery: a card and a page for each program in examples/, from its source and its picture.

A program begins with a docstring. Its first line is the title, or the title, a colon and a summary.
The program's picture is docs/examples/NAME.png. Nothing is run.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ROOT = Path(__file__).parent.parent.parent
PAGE = """\
# {title}

{summary}

![What the program draws.](../{name}.png)

{text}

## Source

[`examples/{name}.py`](../../../examples/{name}.py):

```{{literalinclude}} ../../../examples/{name}.py
:language: python
```
"""
CARD = """\
:::{{grid-item-card}} {title}
:link: generated/{name}
:link-type: doc
:img-top: {name}.png
:img-alt: What the program draws.

{summary}
:::
"""


class Example(NamedTuple):
    """A program and what its docstring says, in Markdown."""

    name: str
    title: str
    summary: str
    text: str

    @property
    def picture(self) -> Path:
        return ROOT / "docs" / "examples" / f"{self.name}.png"


def read_example(path: Path) -> Example:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    first, _, text = docstring.partition("\n")
    title, _, summary = first.partition(": ")
    title = title.removesuffix(".")
    commands = re.compile(r"(?:^    .+\n?)+", re.MULTILINE)
    text = commands.sub(lambda lines: f"```bash\n{dedent(lines[0]).rstrip()}\n```\n", text)
    return Example(path.stem, title, summary[:1].upper() + summary[1:], text.strip())


def read_examples() -> list[Example]:
    return [read_example(path) for path in sorted((ROOT / "examples").glob("*.py"))]


def write_pages(app: Sphinx) -> None:
    folder = app.srcdir / "examples" / "generated"
    folder.mkdir(exist_ok=True)
    examples = read_examples()
    for example in examples:
        page = PAGE.format(**example._asdict())
        (folder / f"{example.name}.md").write_text(page, encoding="utf-8")
    cards = "\n".join(CARD.format(**example._asdict()) for example in examples)
    (folder / "cards.txt").write_text(cards, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", write_pages)
    return {"parallel_read_safe": True}
