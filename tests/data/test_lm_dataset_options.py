"""N policy, shares of genomes, soft mask, packing, and both tokenizers."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genomix_data.alphabet import reverse_complement
from genomix_data.corpus import Corpus
from genomix_data.errors import ConfigError
from genomix_data.lm_batch import EOS, NO_TARGET, PAD, LetterCoder
from genomix_data.lm_dataset import HeldOutWindows, TrainingWindows
from genomix_data.n_policy import NCounter, NPolicy
from genomix_data.sampler import FILLER
from genomix_data.token_store.build import n_runs_of
from genomix_data.tokenizers import ByteTokenizer, CharTokenizer
from genomix_data.tokenizers.protocol import Tokenizer
from tests.data.corpus_helpers import corpus_of, letters

TOKENIZERS: list[Tokenizer] = [CharTokenizer(), ByteTokenizer(case="upper"), ByteTokenizer()]
PACKED = ["ACGTACGTAC", "GG", "TTTTTTTTTTTTTTTTTTTTTTT", "CCCCCCC"]


def n_of(window: np.ndarray) -> int:
    return int(np.isin(window, list(b"Nn")).sum())


def with_gaps(seed: int = 0) -> Corpus:
    a, b = letters(600, seed), letters(500, seed + 1)
    first = a[:100] + "N" * 30 + a[100:250] + "nn" + a[250:] + "N" * 7
    return corpus_of([first, "N" * 5 + b], [], more_genomes=[[b[:90] + "N" + b[90:]]])


@pytest.mark.parametrize("text", ["skip", "max:0.1", "max:0.5"])
@pytest.mark.parametrize("jitter", [False, True])
def test_no_window_has_more_n_than_the_policy_allows(text: str, jitter: bool) -> None:
    corpus, policy = with_gaps(), NPolicy.parse(text)
    windows = TrainingWindows(corpus, 16, seed=0, jitter=jitter, n_policy=policy)
    everything = TrainingWindows(corpus, 16, seed=0, jitter=jitter)
    shares = [n_of(windows[number]) / 17 for number in range(6 * len(windows))]
    assert max(shares) <= policy.largest
    assert windows.n_left_out > 0
    assert len(windows) + windows.n_left_out == len(everything)
    assert max(n_of(everything[number]) for number in range(6 * len(everything))) == 17


def test_windows_left_out_are_counted_where_they_lie() -> None:
    # Windows of 17 bases begin at 0, 16, 32, 48 and 64; the third has 16 N, the fourth has one.
    corpus = corpus_of(["A" * 33 + "N" * 16 + "C" * 32])
    counts = {}
    for text in ("keep", "max:0.5", "skip"):
        windows = TrainingWindows(corpus, 16, seed=0, jitter=False, n_policy=NPolicy.parse(text))
        counts[text] = (len(windows), windows.n_left_out)
    assert counts == {"keep": (5, 0), "max:0.5": (4, 1), "skip": (3, 2)}


def test_a_policy_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"every one of 2 training windows has more N.*data.n_policy"):
        TrainingWindows(corpus_of(["ACNGT" * 5]), 16, seed=0, n_policy=NPolicy.parse("skip"))


@pytest.mark.parametrize("text", ["some", "max", "max:", "max:1.5", "max:-1", "skip:0.1", "max:nan"])
def test_an_unknown_policy_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is no policy for N; it is keep, skip, or max:FRACTION"):
        NPolicy.parse(text)


@given(st.lists(st.text("ACGTNn", min_size=1, max_size=30), min_size=1, max_size=4), st.data())
@settings(max_examples=60, deadline=None)
def test_n_are_counted_as_in_the_letters(texts: list[str], data: st.DataObject) -> None:
    runs = [n_runs_of(np.frombuffer(text.encode(), np.uint8)) for text in texts]
    counter = NCounter(runs, [len(text) for text in texts])
    contigs, starts, sizes = [], [], []
    for _ in range(5):
        contig = data.draw(st.integers(0, len(texts) - 1))
        start = data.draw(st.integers(0, len(texts[contig]) - 1))
        contigs.append(contig)
        starts.append(start)
        sizes.append(data.draw(st.integers(0, len(texts[contig]) - start)))
    found = counter.count(np.array(contigs), np.array(starts), np.array(sizes))
    expected = [
        texts[c][s : s + n].upper().count("N") for c, s, n in zip(contigs, starts, sizes, strict=True)
    ]
    assert found.tolist() == expected


def test_genomes_come_in_their_shares_and_each_window_before_any_comes_again() -> None:
    corpus = corpus_of(
        [letters(400, 1), letters(100, 2)], more_genomes=[[letters(330, 3)], [letters(120, 4)]]
    )
    windows = TrainingWindows(corpus, 16, seed=0, jitter=False, weights=[1, 2, 5])
    places = [windows.locate(number).intervals[0] for number in range(800)]
    genomes = [corpus.genome_of(place) for place in places]
    for stop in range(1, 801):
        expected = np.array([1, 2, 5]) / 8 * stop
        assert np.abs(np.bincount(genomes[:stop], minlength=3) - expected).max() < 2.01
    for genome, n_tiles in ((0, 25 + 7), (1, 21), (2, 8)):
        own = [str(place) for place, g in zip(places, genomes, strict=True) if g == genome]
        assert len(set(own[:n_tiles])) == n_tiles
        if len(own) >= 2 * n_tiles:
            assert sorted(own[n_tiles : 2 * n_tiles]) == sorted(own[:n_tiles]) != own[:n_tiles]
    assert len(windows) == len(TrainingWindows(corpus, 16, seed=0))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0], "has 1 weights for 2 genomes"),
        ([1.0, 0.0], "each must be above 0"),
        ([1.0, 1e-9], "the smallest is too small"),
        ([1e-9, 1.0], "the smallest is too small"),
    ],
)
def test_weights_that_do_not_fit_are_refused(weights: list[float], message: str) -> None:
    corpus = corpus_of([letters(100)], more_genomes=[[letters(100, 1)]])
    with pytest.raises(ConfigError, match=message):
        TrainingWindows(corpus, 16, seed=0, weights=weights)


def test_a_weight_for_a_genome_without_training_bases_is_refused() -> None:
    corpus = corpus_of([letters(100)], more_genomes=[[letters(100, 1)]])
    corpus.regions["train"] = corpus.regions["train"][:1]
    with pytest.raises(ConfigError, match=r"genome 2 of data.fasta .* has a weight and no training bases"):
        TrainingWindows(corpus, 16, seed=0, weights=[1, 1])


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=repr)
def test_soft_masked_targets_have_their_weight(tokenizer: Tokenizer) -> None:
    corpus = corpus_of(["ACgtNnacGT"], tokenizer=tokenizer)
    windows = TrainingWindows(corpus, 9, seed=0, soft_mask_weight=0.1)
    batch = windows.collate([windows[0]])
    assert batch.weights is not None
    torch.testing.assert_close(batch.weights, torch.tensor([[1, 0.1, 0.1, 1, 0.1, 0.1, 0.1, 1, 1]]))
    ids = tokenizer.encode("ACgtNnacGT").astype(int).tolist()
    assert batch.inputs.tolist() == [ids[:-1]]
    is_n = [letter in "Nn" for letter in "CgtNnacGT"]
    assert batch.targets.tolist() == [[NO_TARGET if n else i for n, i in zip(is_n, ids[1:], strict=True)]]
    assert TrainingWindows(corpus, 9, seed=0).collate([windows[0]]).weights is None


def test_the_mask_is_turned_round_with_the_window() -> None:
    corpus = corpus_of(["ACgtacGTAC"])
    windows = TrainingWindows(corpus, 9, seed=0, rc_augment=True, soft_mask_weight=0.5)
    number = next(n for n in range(50) if windows.locate(n).is_reverse)
    assert windows[number].tobytes() == b"GTACgtacGT"
    weights = windows.collate([windows[number]]).weights
    assert weights is not None
    assert weights.tolist() == [[1, 1, 1, 0.5, 0.5, 0.5, 0.5, 1, 1]]


def test_held_out_batches_know_the_soft_mask() -> None:
    corpus = corpus_of(["ACGT"], ["ACgtNac"])
    windows = HeldOutWindows(corpus, "test", 16)
    batch = windows.collate([windows[0]])
    assert batch.is_masked.tolist() == [[False, True, True, False, True, True]]
    assert (batch.targets != NO_TARGET).tolist() == [[True, True, True, False, True, True]]


def test_letters_that_the_tokenizer_does_not_know_are_no_targets() -> None:
    coder = LetterCoder(CharTokenizer.official())
    batch = coder.training_batch(np.frombuffer(b"AcGRT" + bytes([PAD]), np.uint8)[None])
    assert batch.targets.tolist() == [[NO_TARGET, 9, NO_TARGET, 10, NO_TARGET]]


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=repr)
def test_packed_documents_follow_each_other_with_an_end_between(tokenizer: Tokenizer) -> None:
    windows = TrainingWindows(corpus_of(PACKED, tokenizer=tokenizer), 8, seed=0, jitter=False, packing=True)
    total = sum(map(len, PACKED)) + 4
    assert len(windows) == -(-(total - 1) // 8)
    for epoch in range(3):
        by_index = {}
        for number in range(epoch * len(windows), (epoch + 1) * len(windows)):
            by_index[windows._orders[0].locate(number)[1]] = windows[number]
        stream = bytes(by_index[0]) + b"".join(bytes(by_index[i][1:]) for i in range(1, len(windows) - 1))
        overlap = 8 * (len(windows) - 1) + 9 - total
        stream += bytes(by_index[len(windows) - 1][1 + overlap :])
        documents = stream.decode().split(chr(EOS))
        assert documents[-1] == ""
        assert sorted(documents[:-1]) == sorted(PACKED)
    batch = windows.collate([windows[0]])
    assert int((batch.inputs == tokenizer.eos_id).sum()) >= 0
    assert (batch.targets != NO_TARGET).all(), "the end of a document is a target, and so is what follows it"


def test_documents_come_in_another_order_in_every_epoch() -> None:
    windows = TrainingWindows(corpus_of(PACKED * 4), 8, seed=0, jitter=False, packing=True)
    seen: Counter[tuple[bytes, ...]] = Counter()
    for epoch in range(4):
        texts = [windows[n].tobytes() for n in range(epoch * len(windows), (epoch + 1) * len(windows))]
        seen[tuple(sorted(texts))] += 1
    assert len(seen) == 4


def test_packed_windows_are_turned_round_whole_and_say_where_they_come_from() -> None:
    corpus = corpus_of(PACKED)
    windows = TrainingWindows(corpus, 8, seed=0, rc_augment=True, packing=True)
    kinds: Counter[tuple[bool, bool]] = Counter()
    for number in range(4 * len(windows)):
        place, row = windows.locate(number), windows[number].tobytes()
        plain = reverse_complement(row) if place.is_reverse else row
        parts = [part for part in plain.split(bytes([EOS])) if part]
        assert parts == [corpus.letters(interval).tobytes() for interval in place.intervals]
        assert len(row) == 9
        kinds[place.is_reverse, len(place.intervals) > 1] += 1
    assert len(kinds) == 4


@given(
    lengths=st.lists(st.integers(2, 40), min_size=1, max_size=6),
    seqlen=st.integers(2, 20),
    jitter=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_every_packed_window_is_a_stretch_of_the_stream(
    lengths: list[int], seqlen: int, jitter: bool
) -> None:
    texts = [letters(n, seed=n) for n in lengths]
    windows = TrainingWindows(corpus_of(texts), seqlen, seed=1, jitter=jitter, packing=True)
    total = sum(lengths) + len(lengths)
    for number in range(2 * len(windows)):
        row = windows[number].tobytes()
        body = row.rstrip(bytes([PAD]))
        assert len(body) == min(seqlen + 1, total)
        parts = body.decode().split(chr(EOS))
        assert all(any(part in text for text in texts) for part in parts)
        assert all(any(text.startswith(b) for text in texts) for _, b in pairwise(parts))
        assert all(any(text.endswith(a) for text in texts) for a, _ in pairwise(parts))


@pytest.mark.parametrize("options", [{"add_eos": True}, {"n_policy": NPolicy(0.1)}])
def test_packing_goes_without_what_it_makes_no_sense_with(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r"leave out data.add_eos and data.n_policy, or data.packing"):
        TrainingWindows(corpus_of(PACKED), 8, seed=0, packing=True, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("packing", [False, True])
@pytest.mark.parametrize("weights", [None, [3, 1]])
def test_many_windows_at_once_are_those_one_by_one(packing: bool, weights: list[float] | None) -> None:
    corpus = corpus_of([letters(300), "ACGNT"], more_genomes=[[letters(90, 3)]])
    windows = TrainingWindows(corpus, 16, seed=5, rc_augment=True, packing=packing, weights=weights)
    numbers = [0, 7, 3, len(windows) + 2, FILLER, 9 * len(windows), 1]
    together = windows.__getitems__(numbers)
    for row, number in zip(together, numbers, strict=True):
        np.testing.assert_array_equal(row, windows[number])
    assert (together[4] == PAD).all()
    assert (windows.collate(together[4:5]).targets == NO_TARGET).all()
