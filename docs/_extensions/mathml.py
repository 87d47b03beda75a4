"""Formulas as MathML, which browsers draw themselves.

MathJax, Sphinx's own choice, is fetched from another host by everyone who reads a page.
"""

import re

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util.logging import getLogger
from sphinx.writers.html5 import HTML5Translator

THIN = '<mspace width="0.17em"/>'


def mathml(formula: str, as_block: bool) -> str:
    # Docutils takes the 12 of \frac12 for one number, and \_ in a text for two signs.
    formula = re.sub(r"(\\[dt]?frac)(\d)(\d)", r"\1{\2}{\3}", formula)
    drawn = tex2mathml(formula, as_block).replace(r"\_", "_")
    # Browsers leave room around these, and draw bars as high as the whole formula. TeX does not.
    close = 'lspace="0" rspace="0"' + ("" if r"\left" in formula else ' stretchy="false"')
    drawn = re.sub("<mo[^>]*>([|‖/])<", rf"<mo {close}>\1<", drawn)
    drawn = re.sub("<mo([^>]*)>(max|min)<", r'<mo\1 lspace="0.17em" rspace="0">\2<', drawn)
    # It leaves some between the name of a function and a number or variable beside it.
    function = r"<mi[^>]*>\w+</mi>\s*<mo>&ApplyFunction;</mo>"
    drawn = re.sub(rf"(?<=</m[ins]>)(\s*{function})", rf"{THIN}\1", drawn)
    return re.sub(rf"({function}\s*)(?=<m[^o])", rf"\1{THIN}", drawn)


def write(translator: HTML5Translator, node: nodes.math | nodes.math_block) -> None:
    try:
        translator.body.append(mathml(node.astext(), isinstance(node, nodes.math_block)))
    except MathError as error:
        getLogger(__name__).warning("no MathML for this: %s", error, location=node)
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_html_math_renderer("mathml", (write, None), (write, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
