"""Formulas as MathML, which browsers draw themselves.

MathJax, Sphinx's own choice, is fetched from another host by everyone who reads a page.
"""

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util.logging import getLogger
from sphinx.writers.html5 import HTML5Translator


def write(translator: HTML5Translator, node: nodes.math | nodes.math_block) -> None:
    try:
        formula = tex2mathml(node.astext(), as_block=isinstance(node, nodes.math_block))
        translator.body.append(formula)
    except MathError as error:
        getLogger(__name__).warning("no MathML for this: %s", error, location=node)
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_html_math_renderer("mathml", (write, None), (write, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
