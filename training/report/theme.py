"""The colours of page and figures, light and dark.

Figures are drawn in the light colours; `svg.py` turns each into its CSS variable, which the page sets for both modes.
Series differ in marker and line style as well, and in lightness for eyes that confuse blue and orange.
"""

from collections.abc import Mapping

INK = "#1f2328"

MUTED = "#59636e"

GRID = "#dde2e8"

SURFACE = "#ffffff"

BLUE = "#0b5cad"

ORANGE = "#c2570c"

LEVELS = 16  # shades of each sign in a diverging scale, around 0 in the middle

_LIGHT_SCALE = ("#083a78", "#f1f1ee", "#8a3606")  # lowest, 0, highest

_DARK_SCALE = ("#79bdff", "#2a3038", "#ffa657")

_LIGHT = {"ink": INK, "muted": MUTED, "grid": GRID, "surface": SURFACE, "blue": BLUE, "orange": ORANGE}

_DARK = {
    "ink": "#e6edf3",
    "muted": "#9da7b3",
    "grid": "#30363d",
    "surface": "#161b22",
    "blue": "#6cb6ff",
    "orange": "#f0883e",
}


def diverging_scale(scale: tuple[str, str, str] = _LIGHT_SCALE) -> list[str]:
    """Return 2·LEVELS + 1 colours from the lowest to the highest."""
    low, middle, high = scale
    falling = [_mix(low, middle, level / LEVELS) for level in range(LEVELS)]
    return [*falling, *(_mix(middle, high, level / LEVELS) for level in range(LEVELS + 1))]


def text_colour(share: float) -> str:
    """Return a legible text colour on the scale's colour at `share` of its end, from 0 to 1."""
    return SURFACE if share > 0.6 else INK


def css_variables() -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Return names and colours in light mode, and the same names in dark mode."""
    named = [{f"level-{level}": colour for level, colour in enumerate(diverging_scale(scale))} for scale in _SCALES]
    return _LIGHT | named[0], _DARK | named[1]


_SCALES = (_LIGHT_SCALE, _DARK_SCALE)


def _mix(first: str, second: str, share: float) -> str:
    """Return the colour `share` of the way from `first` to `second`."""
    pairs = zip(bytes.fromhex(first[1:]), bytes.fromhex(second[1:]), strict=True)
    return "#" + bytes(round(a + (b - a) * share) for a, b in pairs).hex()
