"""`OUT.report.html`, rendered from the report alone."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from dinrank.model.bundle.staging import write_whole
from dinrank.training.data.split import TEST, VALID
from dinrank.training.report import tables
from dinrank.training.report.theme import css_variables


def write_html_report(path: Path, report: Mapping[str, Any]) -> None:
    write_whole(path, render_page(report))


def render_page(report: Mapping[str, Any]) -> str:
    """Render the page, which is well-formed XML too. Equal reports give equal pages; timings are left out.

    Args:
        report: the content of report.json, before or after it was written.
    """
    from dinrank.training.report import charts  # matplotlib, which nothing else in the trainer needs

    report = json.loads(json.dumps(report))
    diagnostics = report["diagnostics"]
    activations = diagnostics["activations"]
    environment = Environment(
        loader=PackageLoader("dinrank.training.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    light, dark = css_variables()
    return environment.get_template("page.html.jinja").render(
        report=report,
        facts=tables.facts(report),
        metrics=tables.metrics(report, (VALID, TEST)),
        options=tables.options(report["config"]),
        training=charts.training_charts(report),
        reliability=charts.reliability_charts(diagnostics["reliability"], diagnostics["reliability_before"]),
        gauc=[
            charts.gauc_chart(
                "history-length",
                "GAUC by history length",
                diagnostics["gauc_by_history_length"],
                x_label="number of behaviours",
            ),
            charts.gauc_chart(
                "popularity",
                "GAUC by item popularity",
                diagnostics["gauc_by_item_popularity"],
                x_label="occurrences in training",
            ),
        ],
        activations=activations,
        weights=charts.activation_charts(activations) if activations else [],
        light=light,
        dark=dark,
    )
