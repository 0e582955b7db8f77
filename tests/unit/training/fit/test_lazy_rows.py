"""Rows that wait against a pass over the whole table at every event."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from dinrank.training.fit.lazy_rows import LazyRows

ROWS = 5


def table(values: np.ndarray) -> nn.Embedding:
    return nn.Embedding.from_pretrained(torch.from_numpy(values.copy()), sparse=True)


def new_tables(seed: int = 0) -> tuple[nn.Embedding, nn.Embedding]:
    """A trained table and its averages, [5, 2] each, unequal from the start."""
    rng = np.random.default_rng(seed)
    return table(rng.normal(size=(ROWS, 2))), table(rng.normal(size=(ROWS, 2)))


def decayed(weight: Tensor, average: Tensor, decay: float) -> tuple[Tensor, Tensor]:
    return weight * decay, average


def averaged(weight: Tensor, average: Tensor, share: float) -> tuple[Tensor, Tensor]:
    return weight, (1 - share) * average + share * weight


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("decay"), st.just(0.0)),
        st.tuples(st.just("average"), st.floats(0.01, 0.99)),
        st.tuples(st.just("read and change"), st.lists(st.integers(0, ROWS - 1), max_size=6)),
        st.tuples(st.just("bring up to date"), st.just(0.0)),
    ),
    max_size=40,
)


@settings(deadline=None)
@given(events=EVENTS, decay=st.sampled_from([1.0, 0.999, 0.5]))
def test_a_row_that_waits_ends_where_a_pass_at_every_event_puts_it(
    events: list[tuple[str, float | list[int]]], decay: float
) -> None:
    trained, average = new_tables()
    expected = trained.weight.clone(), average.weight.clone()
    rows = LazyRows([(trained, average)], decay=decay)
    for event, value in events:
        if event == "decay":
            rows.decay_all()
            expected = decayed(*expected, decay)
        elif event == "average" and isinstance(value, float):
            rows.average_all(value)
            expected = averaged(*expected, value)
        elif isinstance(value, list):
            touched = torch.tensor(value, dtype=torch.int64)
            read = trained(touched)  # repeated rows among them
            torch.testing.assert_close(read, expected[0][touched], rtol=1e-9, atol=1e-9)
            trained.weight[touched.unique()] += 1.0
            expected[0][touched.unique()] += 1.0
        else:
            rows.bring_all_up_to_date()
    rows.bring_all_up_to_date()
    torch.testing.assert_close((trained.weight.data, average.weight.data), expected, rtol=1e-9, atol=1e-9)


def test_products_that_would_underflow_begin_anew() -> None:
    """0.01^300 is no number a double can hold."""
    trained, average = new_tables()
    expected = trained.weight.clone(), average.weight.clone()
    rows = LazyRows([(trained, average)], decay=0.01)
    for _ in range(300):
        rows.decay_all()
        rows.average_all(0.5)
        expected = averaged(*decayed(*expected, 0.01), 0.5)
    rows.bring_all_up_to_date()
    torch.testing.assert_close((trained.weight.data, average.weight.data), expected, rtol=1e-9, atol=1e-300)


def test_reading_a_row_leaves_the_others_waiting() -> None:
    trained, average = new_tables()
    before = trained.weight.clone(), average.weight.clone()
    rows = LazyRows([(trained, average)], decay=0.5)
    rows.decay_all()
    rows.average_all(0.5)
    trained(torch.tensor([[3], [1]]))
    for found, old in zip((trained.weight, average.weight), before, strict=True):
        assert (found != old).any(dim=1).tolist() == [False, True, False, True, False]


@pytest.mark.parametrize("decay", [1.0, 0.5])
def test_a_table_that_was_let_go_is_read_as_it_is(decay: float) -> None:
    trained, average = new_tables()
    before = trained.weight.clone(), average.weight.clone()
    rows = LazyRows([(trained, average)], decay=decay)
    rows.decay_all()
    rows.average_all(0.5)
    rows.close()
    trained(torch.arange(ROWS))
    assert torch.equal(trained.weight, before[0])
    assert torch.equal(average.weight, before[1])
