"""Table of the service's settings, which docs/settings.md must contain."""

from dinrank.service.settings import ENV_PREFIX, Settings

_OF_THE_ACCOUNT = {"redis_data_dir": "~/.local/share/dinrank/redis", "admin_token_dir": "$XDG_RUNTIME_DIR/dinrank"}


def settings_table() -> str:
    lines = ["| variable | default | what it does |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        lines.append(f"| `{ENV_PREFIX}{name.upper()}` | {_default(name)} | {field.description} |")
    return "\n".join(lines)


def _default(name: str) -> str:
    if name in _OF_THE_ACCOUNT:
        return f"`{_OF_THE_ACCOUNT[name]}`"
    if name == "workers":
        return "usable cores"
    field = Settings.model_fields[name]
    if field.is_required():
        return "none, required"
    return "none" if field.default in (None, "", ()) else f"`{field.default}`"
