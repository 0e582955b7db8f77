"""Matplotlib figures as inline SVG: same bytes for the same figure, colours as CSS variables."""

import io
import re
import warnings
from collections.abc import Callable
from xml.etree import ElementTree

import matplotlib.style
from matplotlib.figure import Figure

from dinrank.training.report.theme import GRID, INK, MUTED, SURFACE, css_variables

_STYLE = {
    "svg.fonttype": "none",  # text stays text: small, selectable, in the reader's font
    "svg.hashsalt": "dinrank",
    "text.parse_math": False,  # labels come from data: a dollar sign is not math
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.grid": True,
    "grid.color": GRID,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.facecolor": SURFACE,
    "lines.markersize": 5,
}

_SVG, _XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"


def draw_svg(
    draw: Callable[[Figure], None], *, name: str, title: str, description: str, width: float, height: float
) -> str:
    """Render a figure as an <svg> element with the width of its container.

    Args:
        draw: draws on the empty figure that it gets.
        name: makes the element's ids unique in the page.
        title, description: for screen readers.
        width, height: in inches of 72 units; text has about 10 units.
    """
    with matplotlib.style.context(_STYLE, after_reset=True), warnings.catch_warnings():
        # The browser has glyphs of all scripts; the font used to measure text does not.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return _for_page(buffer.getvalue(), name, title, description)


def _for_page(document: str, name: str, title: str, description: str) -> str:
    """Strip the parts that only a standalone file needs, and make ids unique."""
    root = ElementTree.fromstring(document)
    for defs in root.findall(f"{_SVG}defs"):
        for style in defs.findall(f"{_SVG}style"):  # would apply to the whole page, which has its own style sheet
            defs.remove(style)
    referenced = set(re.findall(r"(?:href=\"|url\()#([\w.-]+)", document))
    for element in root.iter():
        _prepare(element, name, referenced)
    for attribute in ("width", "height", "version"):
        del root.attrib[attribute]
    root.attrib |= {"role": "img", "aria-labelledby": f"{name}-title {name}-description"}
    for place, (part, tag, text) in enumerate((("title", "title", title), ("description", "desc", description))):
        element = ElementTree.Element(tag, {"id": f"{name}-{part}"})
        element.text = text
        root.insert(place, element)
    return ElementTree.tostring(root, encoding="unicode")


def _prepare(element: ElementTree.Element, name: str, referenced: set[str]) -> None:
    element.tag = element.tag.removeprefix(_SVG)
    if (link := element.attrib.pop(f"{_XLINK}href", None)) is not None:
        element.set("href", f"#{name}-{link[1:]}")
    identifier = element.attrib.pop("id", None)
    if identifier in referenced:
        element.set("id", f"{name}-{identifier}")
    if (clip := element.get("clip-path")) is not None:
        element.set("clip-path", clip.replace("#", f"#{name}-"))
    if (style := element.get("style")) is not None:
        style = _FONT_FAMILY.sub("", style)
        element.set("style", _COLOURS.sub(lambda found: f"var(--{_VARIABLES[found[0]]})", style))


_VARIABLES = {colour: variable for variable, colour in css_variables()[0].items()}

_FONT_FAMILY = re.compile(r"font-family:[^;]*;?\s*")  # the page's own style is used

_COLOURS = re.compile("|".join(_VARIABLES))
