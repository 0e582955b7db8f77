"""Parallel work on the tiles of a long array, on as many threads as torch may use."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

import torch

TILE = 2048  # rows: a matrix of 2,048 × 80 floats is a third of a core's second-level cache of 2 MB
Result = TypeVar("Result")


def num_tiles(num_rows: int) -> int:
    return -(-num_rows // TILE)


def tiles_in(tiles: range, num_rows: int) -> Iterator[tuple[int, slice]]:
    """Each tile and its rows."""
    for tile in tiles:
        yield tile, slice(tile * TILE, min((tile + 1) * TILE, num_rows))


def sweep(num_rows: int, work: Callable[[range], Result]) -> Sequence[Result]:
    """Run `work` on contiguous ranges of tiles, one per thread; return the results in the order of the ranges.

    Torch's own threads are off meanwhile: an operation on one tile is too short to parallelise. Gradients are off in
    `work`.
    """
    threads = torch.get_num_threads()
    shares = max(1, min(threads, num_tiles(num_rows)))
    bounds = [num_tiles(num_rows) * share // shares for share in range(shares + 1)]
    ranges = [range(first, last) for first, last in zip(bounds, bounds[1:], strict=False)]
    if shares == 1:
        return [_without_gradients(work, ranges[0])]
    torch.set_num_threads(1)
    try:
        others = [_pool(shares - 1).submit(_without_gradients, work, each) for each in ranges[1:]]
        return [_without_gradients(work, ranges[0]), *(other.result() for other in others)]
    finally:
        torch.set_num_threads(threads)


def _without_gradients(work: Callable[[range], Result], tiles: range) -> Result:
    with torch.no_grad():
        return work(tiles)


@cache
def _pool(size: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(size, thread_name_prefix="sweep", initializer=torch.set_num_threads, initargs=(1,))
