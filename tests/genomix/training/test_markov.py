from collections import Counter
from typing import Any

import numpy as np
import pytest

from genomix.training import markov
from genomix.training.markov import OTHER, MarkovModel, base_codes, complement_codes

LETTERS = "ACGT"


def brute_force(training: list[str], text: str, position: int, order: int, alpha: float) -> float:
    """P of one base by counting strings; shorter contexts as the prior of longer ones."""
    probability = 0.25
    for k in range(order + 1):
        word = text[position - k : position + 1] if position >= k else ""
        if len(word) != k + 1 or set(word) - set(LETTERS):
            break
        words = Counter(s[i : i + k + 1] for s in training for i in range(len(s) - k))
        context = sum(words[word[:-1] + letter] for letter in LETTERS)
        probability = (words[word] + alpha * probability) / (context + alpha)
    return probability


@pytest.mark.parametrize("both_strands", [False, True])
def test_probabilities_are_those_of_counting_by_hand(both_strands: bool) -> None:
    training = ["ACGTTACGNACGTACCA", "GATTACA"]
    held_out = "TACGNAGATTAC"
    model = MarkovModel(3, alpha=1.5, both_strands=both_strands)
    model.fit([base_codes(s.encode()) for s in training])
    flip = str.maketrans("ACGTN", "TGCAN")
    strands = training + [s[::-1].translate(flip) for s in training] if both_strands else training
    found = model.log2_probabilities(base_codes(held_out.encode()))
    for order in range(4):
        for i, letter in enumerate(held_out):
            if letter == "N":
                assert np.isnan(found[order, i])
            else:
                assert found[order, i] == pytest.approx(
                    np.log2(brute_force(strands, held_out, i, order, 1.5))
                )


def test_probabilities_of_the_four_bases_sum_to_one() -> None:
    rng = np.random.default_rng(0)
    model = MarkovModel(5).fit([rng.integers(0, 4, 3000).astype(np.uint8)])
    context = rng.integers(0, 4, 9).astype(np.uint8)
    last = [model.log2_probabilities(np.append(context, b).astype(np.uint8))[:, -1] for b in range(4)]
    np.testing.assert_allclose(np.exp2(last).sum(axis=0), 1.0)


def test_a_genome_in_chunks_is_counted_and_scored_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    training, held_out = (rng.integers(0, 5, n).astype(np.uint8) for n in (2000, 500))
    scored = [rng.random(500) < 0.7]
    whole = MarkovModel(5, both_strands=True).fit([training]).bits_per_base([held_out], scored)
    for size in (1, 7, 64):
        monkeypatch.setattr(markov, "CHUNK", size)
        pieces = MarkovModel(5, both_strands=True).fit([training]).bits_per_base([held_out], scored)
        np.testing.assert_allclose(pieces, whole, rtol=1e-12)


def test_a_repeat_is_learnt_from_order_two_on() -> None:
    repeat = base_codes(b"AAC" * 500)
    bits = MarkovModel(4).fit([repeat]).bits_per_base([repeat])
    assert bits[0] == pytest.approx(-(2 / 3 * np.log2(2 / 3) + 1 / 3 * np.log2(1 / 3)), abs=0.01)
    assert bits[1] == pytest.approx(2 / 3, abs=0.02)
    assert bits[2] < 0.05


def test_scored_bases_can_be_chosen_and_n_never_counts() -> None:
    model = MarkovModel(1).fit([base_codes(b"ACGTACGGT")])
    held_out = base_codes(b"ANCG")
    mask = np.array([False, True, True, True])
    expected = -model.log2_probabilities(held_out)[:, [2, 3]].mean(axis=1)
    np.testing.assert_allclose(model.bits_per_base([held_out], [mask]), expected)
    with pytest.raises(ValueError, match="no base to score"):
        model.bits_per_base([base_codes(b"NN")])


def test_a_sequence_shorter_than_the_order_is_scored_with_what_context_it_has() -> None:
    model = MarkovModel(6).fit([base_codes(b"ACGTACGTAC"), base_codes(b"AC")])
    short, long = (model.log2_probabilities(base_codes(text)) for text in (b"AC", b"ACGTACGTA"))
    np.testing.assert_array_equal(short, long[:, :2])
    np.testing.assert_array_equal(short[1:, 1], np.repeat(short[1, 1], 6))


def test_codes_know_case_and_the_other_strand() -> None:
    codes = base_codes(b"acgtRN")
    assert codes.tolist() == [0, 1, 2, 3, OTHER, OTHER]
    assert complement_codes(codes).tolist() == [OTHER, OTHER, 0, 1, 2, 3]


@pytest.mark.parametrize(
    ("arguments", "message"), [((13,), "between 0 and 12"), ((2, 0.0), "positive strength")]
)
def test_impossible_settings_are_refused(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MarkovModel(*arguments)
