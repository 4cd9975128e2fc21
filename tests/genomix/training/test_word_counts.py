from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genomix.training import word_counts
from genomix.training.word_counts import OTHER, base_codes, complement_codes, count_words

LETTERS = "ACGT"


def words_by_hand(text: str, length: int, ends: list[bool]) -> Counter[str]:
    found: Counter[str] = Counter()
    for end in range(length, len(text) + 1):
        word = text[end - length : end]
        if set(word) <= set(LETTERS) and ends[end - 1]:
            found[word] += 1
    return found


def number_of(word: str) -> int:
    return sum(LETTERS.index(letter) * 4 ** (len(word) - 1 - i) for i, letter in enumerate(word))


@given(
    texts=st.lists(st.text("ACGTN", max_size=30), min_size=1, max_size=4),
    order=st.integers(0, 4),
    chunk=st.integers(1, 9),
    seed=st.integers(0, 99),
)
@settings(max_examples=80, deadline=None)
def test_counts_are_those_of_counting_strings(texts: list[str], order: int, chunk: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    masks = [rng.random(len(text)) < 0.7 for text in texts]
    before, word_counts.CHUNK = word_counts.CHUNK, chunk
    try:
        found = count_words([base_codes(text.encode()) for text in texts], order, masks)
    finally:
        word_counts.CHUNK = before
    assert found.order == order
    for k in range(order + 1):
        expected = np.zeros(4 ** (k + 1), dtype=int)
        for text, mask in zip(texts, masks, strict=True):
            for word, n in words_by_hand(text, k + 1, mask.tolist()).items():
                expected[number_of(word)] += n
        np.testing.assert_array_equal(found.tables[k], expected)
    n_cut = sum(len(words) for words in found.cut)
    assert found.n == found.tables[order].sum() + sum(len(words) for words in found.cut[:order])
    assert n_cut == sum(len(words) for words in found.cut[:order])


def test_the_other_strand_is_that_of_the_letters() -> None:
    text = base_codes(b"ACGTTACGNACGTACCAGATTACA")
    both = count_words([text], 3).with_other_strand()
    by_hand = count_words([text, complement_codes(text)], 3)
    for a, b in zip(both.tables, by_hand.tables, strict=True):
        np.testing.assert_array_equal(a, b)


def test_parts_add_up() -> None:
    text = base_codes(b"ACGNTTACGNACGTACCAGATTACA")
    mask = np.arange(len(text)) % 3 == 0
    together = count_words([text], 2, [mask]) + count_words([text], 2, [~mask])
    whole = count_words([text], 2)
    for a, b in zip(together.tables, whole.tables, strict=True):
        np.testing.assert_array_equal(a, b)
    log_p = [np.log(np.random.default_rng(0).random(4 ** (k + 1))) for k in range(3)]
    np.testing.assert_allclose(together.bits_per_base(log_p), whole.bits_per_base(log_p))


def test_codes_know_case_and_the_other_strand() -> None:
    codes = base_codes(b"acgtRN")
    assert codes.tolist() == [0, 1, 2, 3, OTHER, OTHER]
    assert complement_codes(codes).tolist() == [OTHER, OTHER, 0, 1, 2, 3]


@pytest.mark.parametrize("order", [-1, 13])
def test_impossible_orders_are_refused(order: int) -> None:
    with pytest.raises(ValueError, match="between 0 and 12"):
        count_words([], order)
