"""K-mers and minimizers against their definition, written out base by base."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genomix_data.alphabet import reverse_complement
from genomix_data.errors import ConfigError
from genomix_data.leakage import kmers as kmers_module
from genomix_data.leakage.kmers import kmer_hashes, minimizer_sketch
from genomix_data.leakage.pairs import neighbour_pairs, shared_pairs

LETTERS = st.text(alphabet="ACGTacgtuNR", max_size=60)


def naive_kmers(sequence: str, k: int) -> list[str]:
    """Return the canonical k-mers, place by place, without those that hold another letter than A, C, G, T."""
    text = sequence.upper().replace("U", "T")
    windows = [text[i : i + k] for i in range(len(text) - k + 1)]
    return [min(w, reverse_complement(w)) for w in windows if set(w) <= set("ACGT")]


@settings(deadline=None, max_examples=60)
@given(st.lists(LETTERS, max_size=6), st.sampled_from([4, 5, 7, 8, 13, 31, 32]))
def test_equal_hashes_are_equal_canonical_kmers(sequences: list[str], k: int) -> None:
    values, owners = kmer_hashes(sequences, k)
    expected = [(i, kmer) for i, sequence in enumerate(sequences) for kmer in naive_kmers(sequence, k)]
    assert owners.tolist() == [i for i, _ in expected]
    by_kmer: dict[str, int] = {}
    for value, (_, kmer) in zip(values.tolist(), expected, strict=True):
        assert by_kmer.setdefault(kmer, value) == value
    assert len(set(by_kmer.values())) == len(by_kmer), "different k-mers, different hashes"


@settings(deadline=None, max_examples=60)
@given(st.lists(LETTERS, max_size=6), st.sampled_from([4, 9]), st.sampled_from([1, 2, 3, 5, 10]))
def test_minimizers_are_the_smallest_hash_of_each_window(sequences: list[str], k: int, window: int) -> None:
    sketch = minimizer_sketch(sequences, k, window)
    none = 2**64 - 1
    for i, sequence in enumerate(sequences):
        hashes = []
        for start in range(len(sequence) - k + 1):
            found, _ = kmer_hashes([sequence[start : start + k]], k)
            hashes.append(int(found[0]) if len(found) else none)
        size = min(window, len(hashes))
        expected = {min(hashes[j : j + size]) for j in range(len(hashes) - size + 1)} if hashes else set()
        got = sketch.values[sketch.owners == i].tolist()
        assert got == sorted(expected - {none})
        assert sketch.counts[i] == len(got)


def test_both_strands_give_the_same_minimizers() -> None:
    sequence = "".join(np.random.default_rng(1).choice(list("ACGT"), 500))
    one, other = (minimizer_sketch([text], 24, 10) for text in (sequence, reverse_complement(sequence)))
    np.testing.assert_array_equal(one.values, other.values)
    assert 60 < len(one.values) < 120, "about 2 in 11 of 477 k-mers"


def test_batches_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    sequences = ["".join(rng.choice(list("ACGTN"), n)) for n in rng.integers(0, 80, 50)]
    whole = minimizer_sketch(sequences, 8, 5), kmer_hashes(sequences, 8)
    monkeypatch.setattr(kmers_module, "_BATCH", 100)
    parts = minimizer_sketch(sequences, 8, 5), kmer_hashes(sequences, 8)
    for a, b in zip(
        (whole[0].values, whole[0].owners, whole[0].counts, *whole[1]),
        (parts[0].values, parts[0].owners, parts[0].counts, *parts[1]),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)


def test_joins_count_what_is_shared() -> None:
    rng = np.random.default_rng(3)
    base = "".join(rng.choice(list("ACGT"), 300))
    left = [base[:200], base[150:], "A" * 5, base[100:220]]
    right = [base, reverse_complement(base[50:250]), "".join(rng.choice(list("ACGT"), 100))]
    a, b = minimizer_sketch(left, 12, 4), minimizer_sketch(right, 12, 4)
    sets = [[set(s.values[s.owners == i].tolist()) for i in range(len(s))] for s in (a, b)]
    expected = {(i, j): len(x & y) for i, x in enumerate(sets[0]) for j, y in enumerate(sets[1]) if x & y}
    got: dict[tuple[int, int], int] = {}
    for block in shared_pairs(a, b):
        got |= dict(
            zip(
                zip(block.left.tolist(), block.right.tolist(), strict=True),
                block.shared.tolist(),
                strict=True,
            )
        )
    assert got == expected
    inside = {
        (i, j): len(x & y) for i, x in enumerate(sets[0]) for j, y in enumerate(sets[0]) if i < j and x & y
    }
    (block,) = neighbour_pairs(a)
    assert inside == dict(
        zip(zip(block.left.tolist(), block.right.tolist(), strict=True), block.shared.tolist(), strict=True)
    )


@pytest.mark.parametrize(("k", "window", "message"), [(3, 5, "k=3"), (33, 5, "k=33"), (8, 0, "window=0")])
def test_impossible_settings(k: int, window: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        minimizer_sketch(["ACGTACGTACGT"], k, window)
