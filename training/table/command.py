"""The table command: add an activation table to a bundle, as a new bundle."""

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from dinrank.model.bundle.activations import TABLE_FILES, ActivationTable
from dinrank.model.bundle.catalogue import FIRST_ROW, Catalogue
from dinrank.model.bundle.manifest import Manifest
from dinrank.model.bundle.reader import open_bundle
from dinrank.model.bundle.request import encode_request
from dinrank.model.bundle.stages import StagedGraph
from dinrank.model.bundle.staging import scratch_directory
from dinrank.model.bundle.writer import Sign, extend_bundle
from dinrank.training.data.dataset import Dataset, read_dataset
from dinrank.training.errors import TableError
from dinrank.training.export.check import check_stages, open_stages
from dinrank.training.fit.progress import counted_progress
from dinrank.training.output.exclusive import sole_writer
from dinrank.training.table.build import build_table
from dinrank.training.table.plan import Rows, TablePlan, plan_table, training_counts


@dataclass(frozen=True, slots=True)
class TableOptions:
    """Options of a table.

    Attributes:
        memory_bytes: upper bound for the weights.
        ads: a file with the ids of the active ads, one per line; None for the most frequent ones.
    """

    memory_bytes: int
    ads: Path | None = None


def add_table(
    bundle_path: Path,
    dataset_path: Path,
    out: Path,
    options: TableOptions,
    console: Console,
    *,
    sign: Sign | None = None,
) -> Manifest:
    """Write a copy of the bundle with an activation table, signed only if `sign` is given.

    Raises:
        BundleError: the bundle cannot be trusted.
        DatasetError: the data cannot be read.
        TableError: its network cannot use a table, it has one already, or the memory is too small.
        ParityError: with the table the golden answers are not reproduced.
        FileExistsError: `out` exists.
        OutputTaken: another process writes it.
    """
    with sole_writer(out):
        return _add_table(bundle_path, dataset_path, out, options, console, sign)


def _add_table(
    bundle_path: Path, dataset_path: Path, out: Path, options: TableOptions, console: Console, sign: Sign | None
) -> Manifest:
    if out.exists():
        raise FileExistsError(f"{out} exists; a bundle is never overwritten: choose another --out or remove it")
    bundle = open_bundle(bundle_path)
    if not bundle.has_stages:
        raise TableError(
            f"{bundle_path} holds {bundle.manifest.model_name}, whose weights, if any, depend on more than two items; "
            "train din for a table"
        )
    if bundle.table is not None:
        raise TableError(f"{bundle_path} has an activation table already; add one to the bundle that it was made of")
    dataset = read_dataset(dataset_path)
    stages = StagedGraph(bundle.schema, open_stages(bundle_path))
    with scratch_directory("table") as directory:
        table = compute_table(directory, options, dataset, stages, bundle.encoder.catalogue, console)
        golden = [encode_request(bundle.encoder, answer.request) for answer in bundle.golden]
        check_stages(stages.with_table(table), golden, bundle.golden)
        manifest = extend_bundle(bundle, out, {name: directory / name for name in TABLE_FILES}, sign=sign)
    console.print(f"bundle {out} (version {manifest.model_version})", highlight=False)
    return manifest


def compute_table(
    directory: Path,
    options: TableOptions,
    dataset: Dataset,
    stages: StagedGraph,
    catalogue: Catalogue,
    console: Console,
) -> ActivationTable:
    """Plan and compute a table with a progress bar; its files are written under `directory`."""
    ads = None if options.ads is None else _read_ads(options.ads, catalogue, console)
    plan = plan_table(training_counts(dataset, catalogue), memory_bytes=options.memory_bytes, ads=ads)
    console.print(_described(plan), highlight=False)
    with counted_progress(console, "activation table", unit="pairs", total=plan.num_pairs) as advance:
        return build_table(directory, plan, stages=stages, catalogue=catalogue, on_pairs=advance)


def _described(plan: TablePlan) -> str:
    size = f"{len(plan.ad_rows_A):,} ads x {len(plan.item_rows_B):,} items, {plan.num_bytes / 1e6:,.1f} MB"
    return (
        f"activation table: {size}; covers {plan.ads_covered:.1%} of the training impressions and "
        f"{plan.behaviours_covered:.1%} of their behaviours"
    )


def _read_ads(file: Path, catalogue: Catalogue, console: Console) -> Rows:
    """Raises: TableError, if the file cannot be read or names no ad of the catalogue."""
    try:
        ids = [line for line in file.read_text(encoding="utf-8").splitlines() if line]
    except (OSError, UnicodeDecodeError) as exc:
        raise TableError(f"{file} cannot be read as text with an ad's id per line: {exc}") from exc
    rows = catalogue.rows(ids)
    num_known = int((rows >= FIRST_ROW).sum())
    if num_known == 0:
        raise TableError(f"{file} names {len(ids):,} ads and the bundle knows none: are they ids of this data set?")
    if num_known < len(ids):
        console.print(f"{len(ids) - num_known:,} of {len(ids):,} ads in {file} are not in the bundle", highlight=False)
    return rows
