import torch
from torch import Tensor, nn

from dinrank.training.fit.lazy_adam import LazyAdam

NUM_ROWS = 7


def tables() -> list[nn.Embedding]:
    """Of different widths, in double precision."""
    torch.manual_seed(0)
    return [nn.Embedding(NUM_ROWS, width, sparse=True, dtype=torch.float64) for width in (3, 1)]


def loss(of: list[nn.Embedding], step: int) -> Tensor:
    """Of other rows at every step, some of them several times; the second table sits some steps out."""
    generator = torch.Generator().manual_seed(step)
    rows = [torch.randint(0, NUM_ROWS, (4,), generator=generator) for _ in of]
    used = of[: 1 if step % 3 == 0 else 2]
    return sum((table(ids).pow(3).sum() for table, ids in zip(used, rows, strict=False)), torch.zeros(()))


def test_steps_are_those_of_sparse_adam() -> None:
    ours, theirs = tables(), tables()
    lazy = LazyAdam([table.weight for table in ours], learning_rate=0.05)
    reference = torch.optim.SparseAdam([table.weight for table in theirs], lr=0.05)
    for step in range(30):
        for optimiser, trained in ((lazy, ours), (reference, theirs)):
            optimiser.zero_grad()
            loss(trained, step).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        for found, expected in zip(ours, theirs, strict=True):
            torch.testing.assert_close(found.weight, expected.weight, rtol=1e-10, atol=1e-12)
