"""Page of the code, module by module, from the first line of each module's docstring."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("model", "service", "training", "bench")


def code_page() -> str:
    lines = ["# The code", "", "One purpose per module; `tests/test_architecture.py` says what each may import.", ""]
    for package in PACKAGES:
        lines += [f"## {package}", "", "| module | purpose |", "|---|---|"]
        lines += [f"| `{path.relative_to(ROOT)}` | {purpose(path)} |" for path in modules(package)]
        lines.append("")
    return "\n".join(lines)


def modules(package: str) -> list[Path]:
    """Find the modules of a package, those of its root first; empty ones are left out."""
    found = [path for path in (ROOT / package).rglob("*.py") if path.read_text(encoding="utf-8").strip()]
    return sorted(found, key=lambda path: (len(path.relative_to(ROOT).parts) > 2, path))


def purpose(path: Path) -> str:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(docstring.partition("\n\n")[0].split()).replace("|", "\\|")
