"""Page of the training options, from the docstrings and defaults of the configs."""

import dataclasses
import inspect
import json
import re
from typing import Any

from dinrank.model.nets.config import NetworkConfig
from dinrank.training.config import TrainConfig

_ATTRIBUTE = re.compile(r"^    (\w+): (.*(?:\n        .*)*)", flags=re.MULTILINE)


def training_page() -> str:
    lines = [
        "# Training options",
        "",
        "Keys of the file for `python -m training train --config options.toml`. What is left out has its default; an "
        "unknown key is refused. Which network reads which is in [training](../training.md#networks).",
        "",
        "## Training",
        "",
        *options_table(TrainConfig),
        "",
        "## Network",
        "",
        "Below `[network]`.",
        "",
        *options_table(NetworkConfig),
        "",
        "The defaults as a file:",
        "",
        "```toml",
        TrainConfig().to_toml(),
        "```",
        "",
    ]
    return "\n".join(lines)


def options_table(config: type[Any]) -> list[str]:
    """Build a row per option: name, default, and its text from the docstring."""
    documented = {
        name: " ".join(text.split())
        for name, text in _ATTRIBUTE.findall(inspect.cleandoc(config.__doc__ or "").partition("Attributes:\n")[2])
    }
    lines = ["| option | default | what it does |", "|---|---|---|"]
    for option in dataclasses.fields(config):
        if option.name != "network":
            default = json.dumps(getattr(config(), option.name))
            lines.append(f"| `{option.name}` | `{default}` | {documented[option.name]} |")
    return lines
