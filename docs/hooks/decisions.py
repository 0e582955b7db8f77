"""Page of decisions, from their titles."""

from pathlib import Path

DECISIONS = Path(__file__).parents[1] / "decisions"


def decisions_page() -> str:
    lines = ["# Decisions", "", "What was decided, why, and what else was thought of. A page each, by number.", ""]
    for file in sorted(DECISIONS.glob("0*.md")):
        title = file.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
        lines.append(f"- [{title}]({file.name})")
    return "\n".join([*lines, ""])
