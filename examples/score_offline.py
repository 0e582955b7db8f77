"""Score a Parquet file of users and candidates offline, with a bundle and no service: for reports and simulations.

    pip install 'dinrank[publish]'
    python examples/score_offline.py --bundle bundles/din-ml-100k --data data/ml-100k \
        --pairs pairs.parquet --out scored.parquet

`pairs.parquet` has a row per user and candidate: user_id, item_id and the model's context features, if any.
The same rows come out in the same order with the column `ctr` and, if there is a column `bid`, `ecpm`. Histories and
profiles are those of the dataset directory as `python -m service publish` would write them to Redis, so that the CTRs
are the service's own: the same encoding, the same graphs. Both tables are in memory at once.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import polars as pl
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from dinrank.model.bundle.encoding import Attributes
from dinrank.model.bundle.errors import BundleError
from dinrank.model.bundle.reader import Bundle, open_bundle
from dinrank.model.bundle.request import ScoringRequest, encode_request
from dinrank.model.bundle.schema import Group
from dinrank.model.bundle.vocabulary import token
from dinrank.service.errors import ServiceError
from dinrank.service.publish import DatasetUnreadable
from dinrank.service.publish.dataset import PublishableDataset, read_dataset
from dinrank.service.scoring.predictor import Predictor
from dinrank.service.store.redis_writer import UserRecord

# A candidate's CTR does not depend on the others, so a request may be split anywhere; this bounds its memory.
CANDIDATES_PER_RUN = 2_000
_ROW = "pairs.row"  # the dot: no feature has such a name

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass(frozen=True, slots=True)
class Run:
    """Candidates of one user in one context.

    Attributes:
        rows: positions in the table of pairs.
    """

    rows: pl.Series
    user_id: str
    item_ids: list[str]
    context: Attributes


class PairsUnusable(Exception):
    """The table of pairs lacks something; the message says what."""


def runs(pairs: pl.DataFrame, context_names: list[str]) -> Iterator[Run]:
    """Yield the pairs by user and context, in order of first appearance."""
    for _, group in pairs.with_row_index(_ROW).group_by(["user_id", *context_names], maintain_order=True):
        for part in group.iter_slices(CANDIDATES_PER_RUN):
            first = part.select(context_names).row(0, named=True) if context_names else {}
            yield Run(
                rows=part[_ROW],
                user_id=_id(part["user_id"][0]),
                item_ids=[_id(item_id) for item_id in part["item_id"].to_list()],
                context={name: value for name, value in first.items() if value is not None},
            )


def _id(value: str | int) -> str:
    """Format an id as the bundle does."""
    found = token(value)
    assert found is not None, "rows without an id are refused when they are read"
    return found


def request_of(
    run: Run, user: UserRecord, new_items: Mapping[str, Attributes], item_names: list[str]
) -> ScoringRequest:
    """Build the request as the service would: items newer than the bundle bring their attributes."""

    def attributes(item_id: str) -> Attributes:
        return {name: new_items[item_id].get(name) for name in item_names}

    behaviours = [behaviour.item_id for behaviour in user.behaviours]
    return ScoringRequest(
        candidates=run.item_ids,
        behaviours=behaviours,
        profile=user.profile,
        context=run.context,
        candidate_attributes={at: attributes(each) for at, each in enumerate(run.item_ids) if each in new_items},
        behaviour_attributes={at: attributes(each) for at, each in enumerate(behaviours) if each in new_items},
    )


def scored(bundle: Bundle, dataset: PublishableDataset, pairs: pl.DataFrame, progress: Progress) -> pl.DataFrame:
    """Return the pairs with their CTRs.

    Raises:
        BundleError: the bundle cannot be trusted.
        ServiceError: ONNX Runtime failed, or returned an invalid CTR.
    """
    predictor = Predictor.load(bundle)
    users = {record.user_id: record for record in dataset.records()}
    schema = bundle.schema
    context_names = [each.name for each in schema.group(Group.CONTEXT) if each.name in pairs.columns]
    item_names = [each.name for each in schema.group(Group.ITEM) if each.name != "item_id"]
    ctr_N = np.empty(pairs.height)
    task = progress.add_task("scoring", total=pairs.height)
    for run in runs(pairs, context_names):
        user = users.get(run.user_id, UserRecord(run.user_id, (), {}))  # an unknown user: an empty history
        request = request_of(run, user, dataset.new_items, item_names)
        ctr_N[run.rows.to_numpy()] = predictor.predict(encode_request(bundle.encoder, request)).ctr_C
        progress.advance(task, len(run.item_ids))
    return _with_ecpm(pairs.with_columns(ctr=ctr_N))


def _with_ecpm(pairs: pl.DataFrame) -> pl.DataFrame:
    return pairs.with_columns(ecpm=pl.col("bid") * pl.col("ctr")) if "bid" in pairs.columns else pairs


def read_pairs(file: Path) -> pl.DataFrame:
    """Raises: PairsUnusable."""
    try:
        pairs = pl.read_parquet(file)
    except (OSError, pl.exceptions.PolarsError) as exc:
        raise PairsUnusable(f"{file} cannot be read as Parquet: {exc}") from exc
    for column in ("user_id", "item_id"):
        if column not in pairs.columns:
            raise PairsUnusable(f"{file} needs a column {column}; it has {', '.join(pairs.columns)}")
        if pairs[column].null_count():
            raise PairsUnusable(f"{file} has {pairs[column].null_count()} rows without {column}")
    return pairs


class _PairsPerSecond(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.finished_speed or task.speed or 0.0:,.0f} pairs/s")


@app.command(
    epilog="Example: python examples/score_offline.py --bundle bundles/din-ml-100k --data data/ml-100k "
    "--pairs pairs.parquet --out scored.parquet"
)
def main(
    bundle: Annotated[Path, typer.Option(help="Directory of the bundle.")],
    data: Annotated[Path, typer.Option(help="Dataset directory with histories and profiles.")],
    pairs: Annotated[Path, typer.Option(help="Parquet file with user_id, item_id and context features.")],
    out: Annotated[Path, typer.Option(help="Parquet file to write: the same with ctr, and ecpm where bids are.")],
) -> None:
    """Score users and candidates offline, as the service would."""
    console = Console(stderr=True)
    bar = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:3.0f}%"), _PairsPerSecond())
    try:
        opened, table = open_bundle(bundle), read_pairs(pairs)
        dataset = read_dataset(data, opened.schema, opened.encoder.catalogue)
        with Progress(*bar, TimeRemainingColumn(), console=console, transient=True) as progress:
            result = scored(opened, dataset, table, progress)
    except (BundleError, DatasetUnreadable, PairsUnusable, ServiceError) as exc:
        typer.echo(f"error: {exc}", err=True)
        raise typer.Exit(1) from exc
    unfinished = out.with_name(f"{out.name}.unfinished")
    result.write_parquet(unfinished)
    unfinished.replace(out)  # atomic: a whole file or none
    console.print(f"{result.height:,} pairs in {out}", highlight=False)


if __name__ == "__main__":
    app()
