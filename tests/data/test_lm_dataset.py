import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genomix_data.alphabet import reverse_complement
from genomix_data.lm_batch import EOS, NO_TARGET
from genomix_data.lm_dataset import HeldOutWindows, TrainingWindows
from genomix_data.tokenizers import CharTokenizer
from tests.data.corpus_helpers import corpus_of, letters

TOKENIZER = CharTokenizer()


def test_every_training_base_is_shown_and_windows_stay_in_their_region() -> None:
    corpus = corpus_of([letters(103), letters(20), letters(7)])
    windows = TrainingWindows(corpus, 10, seed=1, jitter=False)
    covered = {region.chrom: np.zeros(len(region), bool) for region in corpus.regions["train"]}
    for number in range(len(windows)):
        (interval,) = windows.locate(number).intervals
        covered[interval.chrom][interval.start : interval.end] = True
    assert all(flags.all() for flags in covered.values())
    assert len(windows) == 11 + 2 + 1


def test_a_window_is_a_pure_function_of_its_number() -> None:
    corpus = corpus_of([letters(500)])
    a = TrainingWindows(corpus, 16, seed=3, rc_augment=True)
    b = TrainingWindows(corpus, 16, seed=3, rc_augment=True)
    numbers = list(range(3 * len(a)))
    forward = [a[n].tolist() for n in numbers]
    assert forward == [b[n].tolist() for n in reversed(numbers)][::-1]
    assert forward[: len(a)] != forward[len(a) : 2 * len(a)], "every epoch has windows of its own"
    other = TrainingWindows(corpus, 16, seed=4, rc_augment=True)
    assert forward != [other[n].tolist() for n in numbers]


def test_jitter_shows_each_base_at_many_places_of_a_window() -> None:
    windows = TrainingWindows(corpus_of([letters(400)]), 20, seed=0)
    starts = {windows.locate(n).intervals[0].start for n in range(10 * len(windows))}
    assert {start % 20 for start in starts} == set(range(20))
    assert min(starts) == 0
    assert max(starts) == 400 - 21


def test_half_of_the_windows_are_reverse_complemented() -> None:
    corpus = corpus_of([letters(2000)])
    windows = TrainingWindows(corpus, 20, seed=0, rc_augment=True)
    flipped = 0
    for number in range(len(windows)):
        place = windows.locate(number)
        flipped += place.is_reverse
        bases = corpus.letters(place.intervals[0]).tobytes()
        assert windows[number].tobytes() == (reverse_complement(bases) if place.is_reverse else bases)
    assert 0.3 < flipped / len(windows) < 0.7


def test_targets_are_the_next_bases_without_n_and_padding() -> None:
    windows = TrainingWindows(corpus_of(["ACGNT"]), 6, seed=0)
    batch = windows.collate([windows[0]])
    encode = TOKENIZER.encode
    a, c, g, t = (int(encode(x)[0]) for x in "ACGT")
    assert batch.inputs.tolist() == [[a, c, g, TOKENIZER.n_id, t, TOKENIZER.pad_id]]
    assert batch.targets.tolist() == [[c, g, NO_TARGET, t, NO_TARGET, NO_TARGET]]


def test_a_window_can_end_with_the_separator() -> None:
    windows = TrainingWindows(corpus_of(["ACGTACG"]), 4, seed=0, jitter=False, add_eos=True)
    rows = [windows[n].tolist() for n in range(len(windows))]
    assert all(len(row) == 5 and row[-1] == EOS for row in rows)
    assert all(EOS not in row[:-1] for row in rows)


@given(
    lengths=st.lists(st.integers(2, 60), min_size=1, max_size=4),
    seqlen=st.integers(2, 17),
    data=st.data(),
)
@settings(max_examples=60, deadline=None)
def test_every_held_out_base_but_the_first_is_scored_exactly_once(
    lengths: list[int], seqlen: int, data: st.DataObject
) -> None:
    overlap = data.draw(st.integers(0, seqlen - 1))
    texts = [letters(n, seed=n) for n in lengths]
    corpus = corpus_of(["ACGT"], texts)
    windows = HeldOutWindows(corpus, "test", seqlen, overlap=overlap)
    scored = {f"c{i + 1}": np.zeros(n, int) for i, n in enumerate(lengths)}
    for index in range(len(windows)):
        window = windows.locate(index)
        chrom = window.chrom
        batch = windows.collate([windows[index]])
        targets = batch.targets[0].numpy()
        places = window.start + 1 + np.flatnonzero(targets != NO_TARGET)
        assert batch.inputs.shape[1] <= seqlen
        np.testing.assert_array_equal(
            targets[targets != NO_TARGET], TOKENIZER.encode(texts[int(chrom[1:]) - 1])[places]
        )
        scored[chrom][places] += 1
        if window.start and len(places):
            assert places[0] - window.start > overlap, "the promised left context"
    for counts in scored.values():
        assert counts[0] == 0
        assert (counts[1:] == 1).all()


@pytest.mark.parametrize("overlap", [0, 5])
def test_a_batch_of_held_out_windows_is_made_of_them_one_by_one(overlap: int) -> None:
    texts = [letters(90, 1)[:40] + "nnRYg" + letters(90, 1)[40:].lower(), letters(7, 2), letters(33, 3)]
    corpus = corpus_of(["ACGT"], texts)
    windows = HeldOutWindows(corpus, "test", 16, overlap=overlap)
    assert len(windows) > 6
    for first, stop in ((0, len(windows)), (3, 7), (len(windows) - 1, len(windows))):
        together = windows.batch(first, stop)
        one_by_one = windows.collate([windows[i] for i in range(first, stop)])
        for a, b in zip(together, one_by_one, strict=True):
            np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_held_out_windows_can_be_an_even_sample() -> None:
    corpus = corpus_of(["ACGT"], [letters(1000)])
    some = HeldOutWindows(corpus, "test", 10, limit=5)
    assert [some.locate(i).start for i in range(len(some))] == [0, 250, 500, 740, 990]
    assert len(HeldOutWindows(corpus, "test", 10, limit=500)) == 100
