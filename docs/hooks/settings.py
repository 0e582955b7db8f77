"""The service's settings as a table, which docs/settings.md must have."""

from service.settings import ENV_PREFIX, Settings


def settings_table() -> str:
    lines = ["| variable | default | what it does |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        lines.append(f"| `{ENV_PREFIX}{name.upper()}` | {_default(name)} | {field.description} |")
    return "\n".join(lines)


def _default(name: str) -> str:
    if name == "redis_data_dir":
        return "`~/.local/share/dinrank/redis`"
    if name == "workers":
        return "usable cores"
    field = Settings.model_fields[name]
    if field.is_required():
        return "none, required"
    return "none" if field.default in (None, "", ()) else f"`{field.default}`"
