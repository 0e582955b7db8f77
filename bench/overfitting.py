"""Over-fitting of the base model with and without each regularisation: the DIN paper's table 4 in small.

    python -m bench.overfitting --data data/ml-1m

Trains `base` for a fixed number of epochs with the same seed and evaluates `valid` after each, without
early stopping; `test` is never read. Weight averaging and behaviour dropout, which regularise too, are off unless a
row says so. Finished rows are kept in OUT.json and not repeated; the picture is drawn from them.

Source: Zhou et al., KDD 2018, section 6.6 and table 4.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from matplotlib import rc_context
from matplotlib.figure import Figure
from rich.console import Console

from dinrank.model.nets.config import NetworkConfig
from dinrank.model.nets.names import NetworkName
from dinrank.model.nets.registry import build_network
from dinrank.training.config import TrainConfig
from dinrank.training.data.dataset import read_dataset
from dinrank.training.data.encoded import encode_dataset
from dinrank.training.data.split import TRAIN
from dinrank.training.fit.loop import train
from dinrank.training.fit.progress import TrainingProgress
from dinrank.training.report.report import source_commit

# Averaging this rarely means that the newest weights are evaluated.
PLAIN = TrainConfig(average_every=1_000_000_000, max_behaviour_dropout=0.0, evaluations_per_epoch=1)
REGULARISED: Mapping[str, TrainConfig] = {
    "none": PLAIN,
    "mini-batch aware L2, λ = 0.01": dataclasses.replace(PLAIN, mini_batch_aware_l2=0.01),
    "mini-batch aware L2, λ = 0.1": dataclasses.replace(PLAIN, mini_batch_aware_l2=0.1),
    "mini-batch aware L2, λ = 1": dataclasses.replace(PLAIN, mini_batch_aware_l2=1.0),
    "plain L2, λ = 0.1": dataclasses.replace(PLAIN, l2=0.1),
    "plain L2, λ = 1": dataclasses.replace(PLAIN, l2=1.0),
    "filter, min_count = 20": dataclasses.replace(PLAIN, min_count=20),
    "dropout 0.5": dataclasses.replace(PLAIN, network=NetworkConfig(dropout=0.5)),
    "behaviour dropout and averaged weights (the defaults)": TrainConfig(evaluations_per_epoch=1),
}


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(epilog="Example: python -m bench.overfitting --data data/ml-1m --epochs 6 --rows none")
def main(
    data: Annotated[Path, typer.Option(help="Dataset directory.")],
    out: Annotated[Path, typer.Option(help="OUT.json and OUT.svg are written.")] = Path("bench/out/overfitting"),
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of each training.")] = 6,
    rows: Annotated[list[str] | None, typer.Option(help="Only this row of the table; repeatable.")] = None,
) -> None:
    """Over-fitting of the base model with and without each regularisation."""
    if unknown := set(rows or ()) - REGULARISED.keys():
        raise typer.BadParameter(
            f"no row {', '.join(unknown)}; there are {', '.join(REGULARISED)}", param_hint="--rows"
        )
    console = Console()
    out.parent.mkdir(parents=True, exist_ok=True)
    results_file = out.with_suffix(".json")
    results = json.loads(results_file.read_text(encoding="utf-8")) if results_file.exists() else {}
    for name in rows or REGULARISED:
        if name not in results:
            console.print(f"{name}:", highlight=False)
            results[name] = measure(data, REGULARISED[name], epochs=epochs, console=console)
            results_file.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    draw(results, out.with_suffix(".svg"), dataset=data.name)
    console.print(table(results), highlight=False, soft_wrap=True)


def measure(path: Path, config: TrainConfig, *, epochs: int, console: Console) -> dict[str, Any]:
    """Return the evaluations of one training, seed 0."""
    data = encode_dataset(read_dataset(path), min_count=config.min_count)
    torch.manual_seed(0)
    network = build_network(NetworkName.BASE, data.encoder.schema, config.network)
    config = dataclasses.replace(config, epochs=epochs, patience=epochs + 1)
    with TrainingProgress(console, config, num_samples=len(data.split_rows[TRAIN])) as progress:
        run = train(
            network,
            data,
            config,
            rng=np.random.default_rng(0),
            on_step=progress.advance,
            on_evaluation=progress.show,
        )
    return {"commit": source_commit(), "config": config.to_json(), "looks": run.to_json()["evaluations"]}


def draw(results: Mapping[str, Any], path: Path, *, dataset: str) -> None:
    panels = {
        "training log loss": lambda look: look["train_loss"],
        "valid log loss": lambda look: look["valid"]["log_loss"],
        "valid GAUC": lambda look: look["valid"]["gauc"],
    }
    with rc_context({"svg.hashsalt": "dinrank", "axes.grid": True, "grid.alpha": 0.3}):
        figure = Figure(figsize=(12, 5), layout="constrained")
        for axes, (title, value) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
            for place, (name, result) in enumerate(results.items()):
                looks = result["looks"]
                axes.plot(
                    [look["epoch"] for look in looks],
                    [value(look) for look in looks],
                    marker="osv^D<>Xp"[place % 9],
                    linewidth=3 if name == "none" else 1.5,
                    label=name,
                )
            axes.set_title(title)
            axes.set_xlabel("epoch")
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3)
        figure.suptitle(f"base on {dataset}")
        figure.savefig(path, format="svg", metadata={"Date": None})


def table(results: Mapping[str, Any]) -> str:
    """Format Markdown: valid GAUC and log loss after the first epoch, at the best and at the last one."""
    rows = [
        "| regularisation | best epoch | valid GAUC, first | best | last "
        "| valid log loss, first | last | training, last |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, result in results.items():
        looks = result["looks"]
        gaucs, losses = ([look["valid"][key] for look in looks] for key in ("gauc", "log_loss"))
        best = int(np.argmax(gaucs))
        rows.append(
            f"| {name} | {best + 1} | {gaucs[0]:.4f} | {gaucs[best]:.4f} | {gaucs[-1]:.4f} "
            f"| {losses[0]:.4f} | {losses[-1]:.4f} | {looks[-1]['train_loss']:.4f} |"
        )
    return "\n".join(rows)


if __name__ == "__main__":
    app()
