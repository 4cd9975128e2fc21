from collections import Counter
from typing import Any

import numpy as np
import pytest

from genomix.training import word_counts
from genomix.training.interpolated import InterpolatedModel
from genomix.training.markov import MarkovModel
from genomix.training.word_counts import Codes, base_codes, count_words

LETTERS = "ACGT"
TRAINING = ["ACGTTACGNACGTACCA", "GATTACA"]
HELD_OUT = "TACGNAGATTAC"


def counted(training: list[str], word: str) -> int:
    return sum(s[i : i + len(word)] == word for s in training for i in range(len(s) - len(word) + 1))


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


def bits_at(model: MarkovModel | InterpolatedModel, codes: Codes, position: int, order: int) -> Any:
    """-log2 P of the base at one position, for every order."""
    only = np.arange(len(codes)) == position
    return count_words([codes], order, [only]).bits_per_base(model.log_p)


@pytest.mark.parametrize("both_strands", [False, True])
def test_probabilities_are_those_of_counting_by_hand(both_strands: bool) -> None:
    model = MarkovModel(3, alpha=1.5, both_strands=both_strands)
    model.fit([base_codes(s.encode()) for s in TRAINING])
    flip = str.maketrans("ACGTN", "TGCAN")
    strands = TRAINING + [s[::-1].translate(flip) for s in TRAINING] if both_strands else TRAINING
    codes = base_codes(HELD_OUT.encode())
    for i, letter in enumerate(HELD_OUT):
        if letter == "N":
            continue
        found = bits_at(model, codes, i, 3)
        for order in range(4):
            assert found[order] == pytest.approx(-np.log2(brute_force(strands, HELD_OUT, i, order, 1.5)))


def test_probabilities_of_the_four_bases_sum_to_one() -> None:
    rng = np.random.default_rng(0)
    sequences = [rng.integers(0, 4, 3000).astype(np.uint8)]
    counts = count_words(sequences, 5)
    mixture = InterpolatedModel(counts).fit(count_words([rng.integers(0, 4, 500).astype(np.uint8)], 5))
    for log_p in (MarkovModel(5).fit(sequences).log_p, mixture.log_p):
        for table in log_p:
            np.testing.assert_allclose(np.exp(table).reshape(-1, 4).sum(axis=1), 1.0)


def test_a_genome_in_chunks_is_counted_and_scored_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    training, held_out = (rng.integers(0, 5, n).astype(np.uint8) for n in (2000, 500))
    scored = [rng.random(500) < 0.7]
    whole = MarkovModel(5, both_strands=True).fit([training]).bits_per_base([held_out], scored)
    for size in (1, 7, 64):
        monkeypatch.setattr(word_counts, "CHUNK", size)
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
    expected = np.mean([bits_at(model, held_out, place, 1) for place in (2, 3)], axis=0)
    np.testing.assert_allclose(model.bits_per_base([held_out], [mask]), expected)
    with pytest.raises(ValueError, match="no base to score"):
        model.bits_per_base([base_codes(b"NN")])


def test_a_sequence_shorter_than_the_order_is_scored_with_what_context_it_has() -> None:
    model = MarkovModel(6).fit([base_codes(b"ACGTACGTAC"), base_codes(b"AC")])
    for position in (0, 1):
        short = bits_at(model, base_codes(b"AC"), position, 6)
        np.testing.assert_array_equal(short, bits_at(model, base_codes(b"ACGTACGTA"), position, 6))
        np.testing.assert_array_equal(short[position:], np.repeat(short[position], 7 - position))


@pytest.mark.parametrize(
    ("arguments", "message"), [((13,), "between 0 and 12"), ((2, 0.0), "positive strength")]
)
def test_impossible_settings_are_refused(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MarkovModel(*arguments)


def test_a_mixture_is_the_formula_and_its_weights_cannot_be_bettered() -> None:
    rng = np.random.default_rng(5)
    training, validation = (rng.choice(4, n, p=[0.4, 0.1, 0.2, 0.3]).astype(np.uint8) for n in (3000, 900))
    counts, held_out = count_words([training], 3), count_words([validation], 3)
    model = InterpolatedModel(counts).fit(held_out)
    text = "".join(LETTERS[code] for code in training)
    for word in ("A", "CA", "GCA", "TGCA", "TTTT"):
        p = 0.25
        for k in range(len(word)):
            tail = word[len(word) - 1 - k :]
            context = sum(counted([text], tail[:-1] + letter) for letter in LETTERS)
            weight = model.weights[k][int(np.frexp(context)[1])]
            share = counted([text], tail) / context if context else 0.0
            p = weight * share + (1 - weight) * p
        number = sum(LETTERS.index(c) * 4 ** (len(word) - 1 - i) for i, c in enumerate(word))
        assert np.exp(model.log_p[len(word) - 1][number]) == pytest.approx(p, rel=1e-9), word

    best = held_out.bits_per_base(model.log_p)
    assert (best[1:] <= best[:-1] + 1e-9).all(), "a longer context that does not help gets no weight"
    weights = model.weights[3].copy()
    shorter = np.tile(np.exp(model.log_p[2]), 4)
    contexts = np.repeat(counts.tables[3].reshape(-1, 4).sum(axis=1), 4)
    share = np.divide(counts.tables[3], contexts, out=np.zeros(256), where=contexts > 0)
    kinds = np.frexp(contexts.astype(float))[1]

    def bits(weights: Any) -> float:
        p = shorter + weights[kinds] * (share - shorter)
        nats = -(held_out.tables[3] * np.log(p)).sum()
        return float(nats)

    for kind in set(kinds.tolist()) - {0}:
        for change in (-0.05, 0.05):
            other = weights.copy()
            other[kind] = np.clip(other[kind] + change, 0, 1 - 1e-5)
            assert bits(other) >= bits(weights) - 1e-6


def test_a_mixture_needs_something_to_fit_to() -> None:
    nothing = count_words([base_codes(b"NNN")], 2)
    with pytest.raises(ValueError, match="no base to fit"):
        InterpolatedModel(count_words([base_codes(b"ACGT")], 2)).fit(nothing)
    with pytest.raises(ValueError, match="no base to score"):
        nothing.bits_per_base(MarkovModel(2).fit([base_codes(b"ACGT")]).log_p)
