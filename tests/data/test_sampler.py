import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genomix_data.sampler import EpochBatches, EpochOrder, mix64, ordered_index


@given(n=st.integers(1, 400), seed=st.integers(0, 2**63), epoch=st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_every_sample_comes_exactly_once_in_an_epoch(n: int, seed: int, epoch: int) -> None:
    assert sorted(ordered_index(seed, epoch, i, n) for i in range(n)) == list(range(n))


def test_epochs_and_seeds_give_different_orders() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return [ordered_index(seed, epoch, i, 500) for i in range(500)]

    orders = [order(1, 0), order(1, 1), order(2, 0), list(range(500))]
    for a in range(4):
        for b in range(a):
            same = sum(x == y for x, y in zip(orders[a], orders[b], strict=True))
            assert same < 15, "two orders agree in more places than chance allows"


def test_the_order_is_what_it_always_was() -> None:
    # A resumed run relies on it: a change here breaks every run that is under way.
    assert [ordered_index(2222, 0, i, 10) for i in range(10)] == [1, 4, 9, 3, 6, 8, 5, 2, 7, 0]
    assert mix64(1, 2, 3) == 15020427595393229491


def test_an_index_outside_the_epoch_is_refused() -> None:
    with pytest.raises(IndexError, match="sample 10 of an epoch of 10"):
        ordered_index(0, 0, 10, 10)


def test_mixing_depends_on_the_order_of_the_values() -> None:
    assert len({mix64(1, 2), mix64(2, 1), mix64(1), mix64(1, 2, 0), mix64(-1)}) == 5


@pytest.mark.parametrize("start", [0, 1, 3, 4, 11])
def test_batches_from_the_middle_are_those_of_the_whole_run(start: int) -> None:
    whole = list(EpochBatches(10, 3, start=0, stop=12))
    rest = EpochBatches(10, 3, start=start, stop=12)
    assert list(rest) == whole[start:]
    assert len(rest) == 12 - start


def test_batches_do_not_span_epochs_and_cover_each_one() -> None:
    batches = list(EpochBatches(10, 3, start=0, stop=8))
    assert [len(batch) for batch in batches] == [3, 3, 3, 1] * 2
    order = EpochOrder(10, seed=5)
    for epoch in range(2):
        located = [order.locate(k) for batch in batches[epoch * 4 : epoch * 4 + 4] for k in batch]
        assert {e for e, _ in located} == {epoch}
        assert sorted(sample for _, sample in located) == list(range(10))
