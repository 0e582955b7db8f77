"""NaN is within no tolerance: comparisons are written so that it fails them, in the tests' own helpers too.

`difference > TOLERANCE` is false of NaN, and `max` forgets it: `max(0.0, nan)` is 0.0. So a fault is what is *not*
within (`if not difference <= TOLERANCE`), and differences are reduced by numpy, which hands NaN on. What is looked at:
comparisons with a name that has TOLERANCE or AGREEMENT in it, and `max` or `min` of Python over absolute values.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("bench", "docker", "docs", "examples", "model", "release", "service", "tests", "training")
_TOLERANCE = re.compile("tolerance|agreement", re.IGNORECASE)


def faults(source: str) -> list[int]:
    """The lines where NaN would pass."""
    tree = ast.parse(source)
    return sorted({node.lineno for node in (*_beyond(tree, is_asserted=False), *_reductions(tree))})


def _beyond(node: ast.AST, *, is_asserted: bool) -> Iterator[ast.Compare]:
    """Comparisons that are true of what lies beyond a tolerance, and are neither negated nor asserted."""
    if isinstance(node, ast.Compare) and not is_asserted and _says_beyond(node):
        yield node
    turned = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)
    for child in ast.iter_child_nodes(node):
        yield from _beyond(child, is_asserted=(is_asserted or isinstance(node, ast.Assert)) != turned)


def _says_beyond(compare: ast.Compare) -> bool:
    sides = [compare.left, *compare.comparators]
    return any(
        _is_tolerance(smaller) or _is_tolerance(larger, negative=True)
        for operator, left, right in zip(compare.ops, sides, sides[1:], strict=False)
        for larger, smaller in [(left, right) if isinstance(operator, ast.Gt | ast.GtE) else (right, left)]
        if isinstance(operator, ast.Gt | ast.GtE | ast.Lt | ast.LtE)
    )


def _is_tolerance(side: ast.AST, *, negative: bool = False) -> bool:
    is_negative = isinstance(side, ast.UnaryOp) and isinstance(side.op, ast.USub)
    return is_negative == negative and any(_TOLERANCE.search(name) for name in _names(side))


def _names(node: ast.AST) -> Iterator[str]:
    for each in ast.walk(node):
        if isinstance(each, ast.Name):
            yield each.id
        elif isinstance(each, ast.Attribute):
            yield each.attr


def _reductions(tree: ast.AST) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("max", "min"):
            called = [each.func for argument in node.args for each in ast.walk(argument) if isinstance(each, ast.Call)]
            if any(name in ("abs", "absolute") for each in called for name in _names(each)):
                yield node


def sources() -> list[Path]:
    return sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


def test_no_comparison_lets_nan_pass() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}" for path in sources() for line in faults(path.read_text(encoding="utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "if difference > TOLERANCE:\n    raise Bad",
        "if worst.difference >= 2 * golden.TOLERANCE:\n    raise Bad",
        "if tolerance < abs(a - b):\n    raise Bad",
        "if age_s < -CLOCK_TOLERANCE_S:\n    found.append(1)",
        "is_bad = [each for each in all if each > _TOLERANCE]",
        "assert not any(each > TOLERANCE for each in differences)",
        "worst = max(abs(a - b) for a, b in pairs)",
        "worst = max(worst, float(np.abs(a - b).max()))",
    ],
)
def test_a_comparison_that_nan_passes_is_found(source: str) -> None:
    assert len(faults(source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "if not difference <= TOLERANCE:\n    raise Bad",
        "if not spread > 100 * AGREEMENT:\n    raise Bad",
        "assert spread > TOLERANCE",
        "is_same = all(abs(a - b) < TOLERANCE for a, b in pairs)",
        "worst = np.max([abs(a - b) for a, b in pairs])",
        "slowest = max(durations_ms)",
    ],
)
def test_a_comparison_that_nan_fails_passes(source: str) -> None:
    assert faults(source) == []
