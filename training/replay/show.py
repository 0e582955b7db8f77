"""Show a replay's figures as a table, with their assumptions below."""

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dinrank.model.bundle.reader import Bundle
from dinrank.training.replay.estimate import CONFIDENCE, Comparison, Interval
from dinrank.training.replay.slates import Slates

_UNDEFINED = "undefined"
_DIFFERENCES = ("A − B", "A − B, relative to B")
_FORMS = ((".4f", 1.0, ""), (".4f", 1.0, ""), ("+.4f", 1.0, ""), ("+.2f", 100.0, " %"))  # form, factor, unit


def show(
    console: Console,
    bundles: tuple[Bundle, Bundle],
    known: tuple[float, float],
    comparison: Comparison,
    slates: Slates,
    assumptions: Sequence[str],
) -> None:
    """Args:
    known: the share of the candidates that each bundle's catalogue has.
    """
    title = f"{len(slates):,} slates of {slates.num_users:,} users"
    table = Table(title=title, title_justify="left", title_style="")
    for heading in ("", "estimate", f"{100 * CONFIDENCE:.0f} % interval"):
        table.add_column(heading)
    names = [
        f"{letter}: {bundle.manifest.model_name} {bundle.manifest.model_version[:8]}"
        for letter, bundle in zip("AB", bundles, strict=True)
    ]
    a, b = comparison.a, comparison.b
    of_clicks = (a.clicks_per_slate, b.clicks_per_slate, comparison.clicks_difference, comparison.clicks_relative)
    of_revenue = (a.revenue_per_slate, b.revenue_per_slate, comparison.revenue_difference, comparison.revenue_relative)
    for heading, intervals in (("clicks per slate", of_clicks), ("revenue per slate", of_revenue)):
        table.add_row(f"[bold]{heading}")
        for label, (form, factor, unit), interval in zip([*names, *_DIFFERENCES], _FORMS, intervals, strict=True):
            table.add_row(f"  {escape(label)}", *_cells(interval, form, factor, unit))
        table.add_section()
    table.add_row("[bold]Σctr/Σclicks of what is shown")
    for name, figures in zip(names, (a, b), strict=True):
        table.add_row(f"  {escape(name)}", _plain(figures.expected_over_observed))
    console.print(table)
    for letter, bundle, share in zip("AB", bundles, known, strict=True):
        told = f"{letter} is {bundle.path}, and knows the items of {share:.1%} of the candidates."
        console.print(told, highlight=False, markup=False)
    console.print(
        f"A shows {a.shown:,} ads with {a.clicks:,} clicks, B {b.shown:,} with {b.clicks:,}. "
        f"Both show the same ads in {comparison.agreement:.1%} of the slates.",
        highlight=False,
    )
    console.print(_verdict(comparison), highlight=False, style="bold")
    console.print("\nThis is so if:", highlight=False)
    for sentence in assumptions:
        console.print(f"- {sentence}", highlight=False, markup=False)


def _verdict(comparison: Comparison) -> str:
    difference = comparison.revenue_difference
    if not difference.excludes_zero():
        return "The log does not tell their revenue apart: the interval of the difference holds 0."
    more, less = ("A", "B") if difference.estimate is not None and difference.estimate > 0 else ("B", "A")
    return f"{more} brings more revenue than {less}: the interval of the difference does not hold 0."


def _cells(interval: Interval, form: str, factor: float, unit: str) -> tuple[str, str]:
    """Format estimate and bounds."""

    def text(value: float | None) -> str:
        return _UNDEFINED if value is None else f"{format(factor * value, form)}{unit}"

    return text(interval.estimate), f"{text(interval.low)} to {text(interval.high)}" if interval.low is not None else ""


def _plain(value: float | None) -> str:
    return _UNDEFINED if value is None else f"{value:.4f}"
