"""The order of samples does not depend on workers, ranks, or where a run was interrupted."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from genomix_data.errors import ConfigError
from genomix_data.lm_batch import PAD
from genomix_data.lm_dataset import TrainingWindows
from genomix_data.n_policy import NPolicy
from genomix_data.sampler import (
    FILLER,
    Blend,
    EpochBatches,
    EpochOrder,
    mix64,
    mix64_array,
    ordered_index,
    ordered_indices,
)
from tests.data.corpus_helpers import corpus_of, letters

BATCH = 8
SETUPS = [(0, 1), (2, 1), (0, 2), (1, 4)]


@given(
    n=st.integers(1, 100),
    shares=st.integers(1, 6),
    cuts=st.lists(st.tuples(st.integers(1, 30), st.integers(1, 6)), min_size=1, max_size=5),
)
@settings(max_examples=60, deadline=None)
def test_ranks_together_see_the_global_order_after_any_resume(
    n: int, shares: int, cuts: list[tuple[int, int]]
) -> None:
    batch_size = shares * 60  # divisible by 1 to 6 ranks
    stop = sum(size for size, _ in cuts)
    whole = list(EpochBatches(n * shares * 7, batch_size, start=0, stop=stop))
    start, seen = 0, []
    for size, world_size in cuts:  # each part of the run has a number of ranks of its own
        ranks = [
            list(
                EpochBatches(
                    n * shares * 7, batch_size, start=start, stop=start + size, rank=r, world_size=world_size
                )
            )
            for r in range(world_size)
        ]
        for parts in zip(*ranks, strict=True):
            assert len({len(part) for part in parts}) == 1, "every rank has as many samples"
            merged = [number for turn in zip(*parts, strict=True) for number in turn]
            n_filler = merged.count(FILLER)
            assert n_filler < world_size
            seen.append(merged[: len(merged) - n_filler])
        start += size
    assert seen == whole


def load(windows: TrainingWindows, workers: int, world_size: int, start: int, stop: int) -> list[bytes]:
    """The windows of a run in global order, as every rank's own loader gave them."""
    ranks = []
    for rank in range(world_size):
        batches = EpochBatches(len(windows), BATCH, start=start, stop=stop, rank=rank, world_size=world_size)
        loader: DataLoader[Any] = DataLoader(
            windows,
            batch_sampler=batches,
            num_workers=workers,
            collate_fn=_rows,
        )
        ranks.append(list(loader))
    found = []
    for parts in zip(*ranks, strict=True):
        for turn in zip(*parts, strict=True):
            found += [row for row in turn if row != bytes([PAD]) * windows.width]
    return found


def _rows(windows: Sequence[np.ndarray]) -> list[bytes]:
    return [row.tobytes() for row in windows]


@pytest.mark.parametrize(
    "options",
    [{}, {"weights": [1, 3], "n_policy": NPolicy(0.2)}, {"packing": True}],
    ids=["tiles", "weights", "packed"],
)
def test_workers_and_ranks_change_neither_samples_nor_their_order(options: dict[str, Any]) -> None:
    corpus = corpus_of([letters(500, 1), letters(61, 2) + "N" * 9], more_genomes=[[letters(275, 3)]])
    windows = TrainingWindows(corpus, 16, seed=7, rc_augment=True, **options)
    per_epoch = -(-len(windows) // BATCH)
    assert len(windows) % 4, "the last batch of an epoch is not shared evenly"
    stop = 2 * per_epoch + 2
    whole = [windows[number].tobytes() for number in range(2 * len(windows) + 2 * BATCH)]
    for workers, world_size in SETUPS:
        assert load(windows, workers, world_size, 0, stop) == whole, (workers, world_size)
    middle = per_epoch + 1
    first = load(windows, 0, 2, 0, middle)
    for workers, world_size in SETUPS:
        assert first + load(windows, workers, world_size, middle, stop) == whole, (workers, world_size)


def test_a_batch_that_ranks_cannot_share_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"batch of 10 cannot be shared evenly by 4 ranks.*take 12"):
        EpochBatches(100, 10, start=0, stop=1, rank=0, world_size=4)
    with pytest.raises(ConfigError, match="rank 2 is not one of 2; ranks are 0 to 1"):
        EpochBatches(100, 10, start=0, stop=1, rank=2, world_size=2)


@given(n=st.integers(1, 500), seed=st.integers(0, 2**64 - 1), epoch=st.integers(0, 1000), data=st.data())
@settings(max_examples=40, deadline=None)
def test_many_at_once_are_those_one_by_one(n: int, seed: int, epoch: int, data: st.DataObject) -> None:
    i = np.array(data.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=9)))
    assert ordered_indices(seed, epoch, i, n).tolist() == [
        ordered_index(seed, epoch, k, n) for k in i.tolist()
    ]
    mixed = mix64_array(seed, i, epoch)
    assert mixed.tolist() == [mix64(seed, k, epoch) for k in i.tolist()]
    numbers = epoch * n + i
    order = EpochOrder(n, seed)
    assert list(zip(*(part.tolist() for part in order.locate_many(numbers)), strict=True)) == [
        order.locate(k) for k in numbers.tolist()
    ]


@given(
    weights=st.lists(st.floats(0.01, 100), min_size=1, max_size=5),
    start=st.integers(0, 2**40),
)
@settings(max_examples=60, deadline=None)
def test_each_source_of_a_blend_counts_without_a_gap(weights: list[float], start: int) -> None:
    blend = Blend(tuple(weights))
    sources, own = blend.locate_many(np.arange(start, start + 300))
    for source in range(len(weights)):
        counted = own[sources == source]
        assert (np.diff(counted) == 1).all()
    first, first_own = blend.locate_many(np.arange(2000))
    for source, weight in enumerate(weights):
        counted = first_own[first == source]
        assert counted.tolist() == list(range(len(counted)))
        assert abs(len(counted) - 2000 * weight / sum(weights)) < len(weights)
