import pytest

from dinrank.training.report.theme import LEVELS, css_variables, diverging_scale, text_colour


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2 defines it."""
    channels = [value / 255 for value in bytes.fromhex(colour[1:])]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(first: str, second: str) -> float:
    darker, lighter = sorted((luminance(first), luminance(second)))
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("variables", css_variables(), ids=["light", "dark"])
def test_text_and_series_stand_out_from_the_surface(variables: dict[str, str]) -> None:
    """WCAG 2 AA: 4.5 for text, 3 for graphics."""
    assert contrast(variables["ink"], variables["surface"]) >= 4.5
    assert contrast(variables["muted"], variables["surface"]) >= 4.5
    assert contrast(variables["blue"], variables["surface"]) >= 3
    assert contrast(variables["orange"], variables["surface"]) >= 3


@pytest.mark.parametrize("variables", css_variables(), ids=["light", "dark"])
def test_a_weight_can_be_read_on_the_colour_of_its_cell(variables: dict[str, str]) -> None:
    names = {colour: name for name, colour in css_variables()[0].items()}
    for level in range(2 * LEVELS + 1):
        text = variables[names[text_colour(abs(level - LEVELS) / LEVELS)]]
        assert contrast(text, variables[f"level-{level}"]) >= 3


def test_the_diverging_scale_is_even_around_its_middle() -> None:
    scale = diverging_scale(("#000000", "#808080", "#ffffff"))
    assert len(scale) == len(set(scale)) == 2 * LEVELS + 1
    assert (scale[0], scale[LEVELS], scale[-1]) == ("#000000", "#808080", "#ffffff")
    assert scale[LEVELS // 2] == "#404040"
