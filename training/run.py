"""One training run, from a dataset directory to a bundle and its report."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from dinrank.model.bundle.activations import ActivationTable
from dinrank.model.bundle.catalogue import Catalogue
from dinrank.model.bundle.manifest import Manifest
from dinrank.model.bundle.request import ScoringRequest
from dinrank.model.bundle.stages import StagedGraph
from dinrank.model.bundle.titles import Titles
from dinrank.model.bundle.writer import Sign
from dinrank.model.nets.calibrated import CalibratedNetwork
from dinrank.model.nets.names import NetworkName
from dinrank.model.nets.registry import Network, build_network
from dinrank.training.config import TrainConfig
from dinrank.training.data.dataset import Dataset, read_dataset
from dinrank.training.data.encoded import EncodedDataset, encode_dataset
from dinrank.training.data.split import TEST, TRAIN, VALID, require_both_classes
from dinrank.training.diagnostics.diagnose import Diagnostics, diagnose
from dinrank.training.errors import TableError
from dinrank.training.export.bundle import MakeTable, export_bundle
from dinrank.training.fit.checkpoint import Checkpoint, checkpoint_path, fingerprint
from dinrank.training.fit.loop import TrainingRun, train
from dinrank.training.fit.pretraining import pretrain
from dinrank.training.fit.progress import TrainingProgress
from dinrank.training.fit.standing import finished_report, kept, own_bundle, require_a_beginning
from dinrank.training.measure.measurement import Measurement, calibrate_and_measure
from dinrank.training.output.exclusive import sole_writer
from dinrank.training.report.page import write_html_report
from dinrank.training.report.report import (
    count_parameters,
    html_report_path,
    library_versions,
    report_path,
    show_measurement,
    source_commit,
    write_report,
)
from dinrank.training.requests import RequestBuilder
from dinrank.training.table.command import TableOptions, compute_table

NUM_GOLDEN = 8  # golden requests, of as many valid impressions
GOLDEN_CANDIDATES = 20


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Options of one run.

    Attributes:
        out: the bundle's path; it must not exist yet, unless with `resume`.
        resume: do the remaining work of the same run, which is all of it if there is no output yet.
        or_anew: with `resume`, remove a checkpoint of another run and start over, instead of refusing it.
        table: the activation table to add; only for networks that can use one.
        sign: signs the manifest; None for an unsigned bundle.
    """

    data: Path
    model: NetworkName
    out: Path
    seed: int
    config: TrainConfig
    resume: bool = False
    or_anew: bool = False
    table: TableOptions | None = None
    sign: Sign | None = None


def run(options: RunOptions, console: Console) -> dict[str, Any]:
    """Train, measure, export and report; returns the report.

    With `resume` it completes an earlier process of the same run, killed at any moment. The checkpoint stays until
    bundle and report are on the disk.

    Raises:
        DatasetError, TrainingDiverged, ParityError, FileExistsError, CheckpointError, OutputTaken: each says what to
            do.
    """
    if options.table is not None and options.model is not NetworkName.DIN:
        raise TableError(f"an activation table is for din; the weights of {options.model}, if any, see more than items")
    with sole_writer(options.out):
        if not options.resume:
            require_a_beginning(options.out)
        identity = _identity(options)
        report = finished_report(options.out, identity, with_table=options.table is not None)
        if report is None:
            report = _train_and_report(options, identity, console)
        else:
            console.print("nothing is left to do: the run ended before", highlight=False)
    version, page = report["model_version"], html_report_path(options.out)
    console.print(f"bundle {options.out} (version {version}), report {page}")
    publish = ["python", "-m", "service", "publish", "--bundle", str(options.out), "--data", str(options.data)]
    console.print(f"Next: {shlex.join(publish)}", highlight=False, soft_wrap=True)
    return report


def _train_and_report(options: RunOptions, identity: dict[str, Any], console: Console) -> dict[str, Any]:
    dataset = read_dataset(options.data)
    require_both_classes(dataset.impressions)
    data = encode_dataset(dataset, min_count=options.config.min_count)
    rows = ", ".join(f"{len(data.split_rows[split]):,} {split}" for split in (TRAIN, VALID, TEST))
    console.print(f"{dataset.name}: {rows} impressions; split {dataset.split_rule}", highlight=False)

    checkpoint = Checkpoint(checkpoint_path(options.out), identity)
    if options.or_anew and (differing := checkpoint.remove_of_another_run()):
        console.print(f"{checkpoint.path} was of another run: {'; '.join(differing)}; starting over", highlight=False)
    trained_with = checkpoint.trained_with()
    network, training_run = _train(options, data, checkpoint, console)
    with kept(checkpoint):
        measurement = calibrate_and_measure(network, data, options.config.calibration)
        show_measurement(console, f"{options.model} on {dataset.name}", measurement, dataset.negative_sampling_rate)
        origin = _origin(identity, trained_with, dataset)
        manifest = _export(options, network, dataset, data, measurement, origin, console)
        with console.status("diagnosing the network and drawing the report"):
            diagnostics = diagnose(network, dataset, data, measurement)
            report = {
                **_report(options, manifest, training_run, measurement, diagnostics),
                "threads": trained_with["threads"],
                "dataset_sha256": identity["dataset"],
                "parameters": count_parameters(network),
            }
            write_report(report_path(options.out), report)
            write_html_report(html_report_path(options.out), report)
        checkpoint.remove()
    return report


def _train(
    options: RunOptions, data: EncodedDataset, checkpoint: Checkpoint, console: Console
) -> tuple[Network, TrainingRun]:
    """Train from the checkpoint, if there is one, and leave the network in its best state."""
    torch.manual_seed(options.seed)
    network = build_network(options.model, data.encoder.schema, options.config.network)
    if checkpoint.path.exists():
        console.print(f"going on from {checkpoint.path}", highlight=False)
    else:
        pretrain(network, data, options.config, seed=options.seed, console=console)
    with TrainingProgress(console, options.config, num_samples=len(data.split_rows[TRAIN])) as progress:
        training_run = train(
            network,
            data,
            options.config,
            rng=np.random.default_rng(options.seed),
            checkpoint=checkpoint,
            on_step=progress.advance,
            on_evaluation=progress.show,
        )
    return network, training_run


def _export(
    options: RunOptions,
    network: Network,
    dataset: Dataset,
    data: EncodedDataset,
    measurement: Measurement,
    origin: dict[str, Any],
    console: Console,
) -> Manifest:
    """Write the bundle, unless an earlier process of this run already did."""
    if options.out.exists():
        console.print(f"{options.out} exists already", highlight=False)
        return own_bundle(
            options.out,
            model_name=options.model.value,
            training=origin,
            metrics=measurement.after,
            with_table=options.table is not None,
        )
    console.print("exporting the bundle")
    return export_bundle(
        options.out,
        network=CalibratedNetwork(
            network, measurement.calibration.layer, negative_sampling_rate=dataset.negative_sampling_rate
        ),
        name=options.model,
        encoder=data.encoder,
        golden_requests=golden_requests(dataset, data),
        training=origin,
        metrics=measurement.after,
        make_table=_make_table(options.table, dataset, data, console),
        titles=_titles(dataset, data.encoder.catalogue),
        sign=options.sign,
    )


def _make_table(
    options: TableOptions | None, dataset: Dataset, data: EncodedDataset, console: Console
) -> MakeTable | None:
    if options is None:
        return None

    def make(directory: Path, stages: StagedGraph) -> ActivationTable:
        return compute_table(directory, options, dataset, stages, data.encoder.catalogue, console)

    return make


def _titles(dataset: Dataset, catalogue: Catalogue) -> Titles | None:
    """Return titles in the catalogue's order; None if the data set has none."""
    return Titles.of([dataset.titles.get(item_id) for item_id in catalogue.item_ids]) if dataset.titles else None


def golden_requests(dataset: Dataset, data: EncodedDataset) -> list[ScoringRequest]:
    """Build requests from valid impressions with short, long and, if there are any, empty histories.

    Each has candidates from across the catalogue, and one unknown candidate.
    """
    builder = RequestBuilder(dataset, data)
    valid = data.split_rows[VALID]
    by_length = valid[np.argsort((data.last_N - data.first_N)[valid], kind="stable")]
    chosen = by_length[np.linspace(0, len(by_length) - 1, NUM_GOLDEN).astype(int)]
    items = data.encoder.catalogue.item_ids
    spread = [items[position] for position in np.linspace(0, len(items) - 1, GOLDEN_CANDIDATES).astype(int)]
    return [builder.request(int(impression), more_candidates=[*spread, "no such item"]) for impression in chosen]


def _origin(identity: dict[str, Any], trained_with: dict[str, Any], dataset: Dataset) -> dict[str, Any]:
    """Return the bundle's origin. Nothing here may differ between two runs that give the same bundle."""
    exported_with = {name: identity[name] for name in ("commit", "versions")}
    origin = {
        "dataset": {"name": dataset.name, "source": dataset.source, "split": dataset.split_rule},
        "commit": trained_with["commit"],
        "seed": identity["seed"],
        "config": identity["config"],
        "versions": trained_with["versions"],
    }
    is_the_same = exported_with == {name: origin[name] for name in exported_with}
    return origin if is_the_same else {**origin, "exported_with": exported_with}


def _identity(options: RunOptions) -> dict[str, Any]:
    """Return everything that determines a run's result, including the thread count, which changes rounding."""
    return {
        "model": options.model.value,
        "seed": options.seed,
        "config": options.config.to_json(),
        "commit": source_commit(),
        "versions": library_versions(),
        "dataset": fingerprint(options.data),
        "threads": torch.get_num_threads(),
    }


def _report(
    options: RunOptions,
    manifest: Manifest,
    training_run: TrainingRun,
    measurement: Measurement,
    diagnostics: Diagnostics,
) -> dict[str, Any]:
    return {
        "model": options.model.value,
        "model_version": manifest.model_version,
        **manifest.training,
        "epochs": training_run.evaluations[-1].epoch,
        "best_epoch": training_run.best.epoch,
        "seconds": training_run.seconds,
        "samples_per_second": training_run.samples_per_second,
        **measurement.after,
        "before_calibration": measurement.before,
        "calibration": {**manifest.calibration, "warning": measurement.calibration.warning},
        "evaluations": training_run.to_json()["evaluations"],
        "diagnostics": diagnostics.to_json(),
    }
