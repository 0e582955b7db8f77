"""What a fault is, and what is promised while it lasts."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from tests.chaos.driver import OK
from tests.chaos.ground import Ground, Topology


@dataclass(frozen=True, slots=True)
class Fault:
    """One row of the table.

    Attributes:
        inject: the fault lasts as long as its block. What it waits for belongs to it; what it finds untrue it tells
            the ground.
        promised: what may become of requests meanwhile, besides a full and right answer.
        recovery_s: so long after its end requests may still fare so.
        lasts_s: how long the load goes on within the block.
        quick: whether the short run has it.
        settings: what the service is started with; a fault with settings has a service of its own.
    """

    name: str
    inject: Callable[[Ground], AbstractContextManager[None]]
    topology: Topology = Topology.SINGLE
    promised: frozenset[str] = frozenset()
    recovery_s: float = 5.0
    lasts_s: float = 4.0
    quick: bool = False
    settings: dict[str, str] = field(default_factory=dict)

    def allows(self, outcome: str) -> bool:
        return outcome == OK or outcome in self.promised
