"""One planned run of a comparison: its settings, its files, and its report if it is done."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dinrank.training.compare.contenders import Contender
from dinrank.training.errors import ComparisonError
from dinrank.training.fit.checkpoint import checkpoint_path, differences
from dinrank.training.report.report import report_path


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """Attributes:
    folder: the comparison's folder of runs.
    """

    contender: Contender
    seed: int
    folder: Path

    @property
    def name(self) -> str:
        return f"{self.contender.name}-{self.seed}"

    @property
    def bundle(self) -> Path:
        return self.folder / self.name

    @property
    def log(self) -> Path:
        """File with the run's console output."""
        return self.folder / f"{self.name}.log"

    @property
    def config_file(self) -> Path:
        """Config file, shared by all seeds."""
        return self.folder / f"{self.contender.name}.toml"

    @property
    def report(self) -> Path:
        return report_path(self.bundle)

    def read_report(self, *, dataset_sha256: str) -> dict[str, Any] | None:
        """Return the report of the finished run; None if it is not finished.

        Runs with other source commits, library versions or thread counts are accepted: the comparison names them.

        Raises:
            ComparisonError: the report cannot be read, or is of a run with other settings or data.
        """
        if not self.report.exists() or checkpoint_path(self.bundle).exists():
            return None
        try:
            report: dict[str, Any] = json.loads(self.report.read_text(encoding="utf-8"))
        except (OSError, ValueError) as exc:
            raise ComparisonError(
                f"{self.report} cannot be read; delete it and {self.bundle} to repeat the run: {exc}"
            ) from exc
        wanted = {
            "model": self.contender.model.value,
            "seed": self.seed,
            "dataset_sha256": dataset_sha256,
            "config": json.loads(json.dumps(self.contender.config.to_json())),  # with lists for tuples
        }
        if differing := list(differences({name: report.get(name) for name in wanted}, wanted)):
            raise ComparisonError(
                f"{self.report} is of a run with other settings: {'; '.join(differing)}. Compare with the settings "
                f"that it was begun with, choose another --out, or delete it and {self.bundle} to repeat the run"
            )
        return report
