import math

import pytest
import torch

from genomix.inference.likelihood import token_log_likelihood
from genomix.models.hyenadna.config import HyenaDNAConfig
from genomix.models.hyenadna.model import HyenaDNA
from genomix.training.held_out import bits_per_base
from genomix_data.corpus import Corpus
from genomix_data.lm_dataset import HeldOutWindows
from genomix_data.tokenizers import CharTokenizer
from tests.data.corpus_helpers import corpus_of as one_split
from tests.genomix.training_helpers import letters, tiny_model

TOKENIZER = CharTokenizer()


@pytest.fixture(scope="module")
def model() -> HyenaDNA:
    torch.manual_seed(1)
    config = tiny_model(initializer_range=0.5).config
    assert isinstance(config, HyenaDNAConfig)
    return HyenaDNA(config).eval()


def corpus_of(*texts: str) -> Corpus:
    corpus = one_split(list(texts))
    corpus.regions.update(dict.fromkeys(("valid", "test"), corpus.regions["train"]))
    return corpus


def test_bits_are_those_of_scoring_each_window_by_itself(model: HyenaDNA) -> None:
    texts = [letters(70, 1)[:30] + "NNR" + letters(70, 1)[30:], letters(20, 2)]
    corpus = corpus_of(*texts)
    found = bits_per_base(model, HeldOutWindows(corpus, "test", 16, overlap=5), batch_size=3)
    nats, n = 0.0, 0
    for text in texts:
        ids = TOKENIZER.encode(text)
        start, counted_to = 0, 1
        while counted_to < len(text):
            window = torch.tensor(ids[start : start + 17]).long()[None]
            values = token_log_likelihood(model, window)[0]
            for offset in range(window.shape[1] - 1):
                place = start + offset + 1
                if place >= counted_to and text[place] in "ACGT":
                    nats -= values[offset].item()
                    n += 1
            counted_to = start + 17
            start += 11
    assert found.n_bases == n == sum(sum(c in "ACGT" for c in text[1:]) for text in texts)
    assert found.bits_per_base == pytest.approx(nats / n / math.log(2), rel=1e-5)


def test_probability_outside_acgt_is_what_the_two_numbers_differ_by(model: HyenaDNA) -> None:
    windows = HeldOutWindows(corpus_of(letters(60, 3)), "test", 60)
    found = bits_per_base(model, windows, batch_size=1)
    ids = torch.tensor(TOKENIZER.encode(letters(60, 3))).long()[None]
    with torch.inference_mode():
        probabilities = model(ids[:, :-1]).double().softmax(-1)[0]
    outside = 1 - probabilities[:, list(TOKENIZER.acgt_ids)].sum(-1)
    expected = -torch.log2(1 - outside).mean()
    assert found.bits_per_base - found.bits_per_base_acgt == pytest.approx(float(expected), rel=1e-4)


def test_batches_do_not_change_the_result_and_the_mode_stays(model: HyenaDNA) -> None:
    windows = HeldOutWindows(corpus_of(letters(100, 4), letters(33, 5)), "test", 16)
    model.train()
    one, many = (bits_per_base(model, windows, batch_size=size) for size in (1, 7))
    assert model.training
    model.eval()
    assert one.bits_per_base == pytest.approx(many.bits_per_base, rel=1e-6)


def test_nothing_but_n_is_refused(model: HyenaDNA) -> None:
    with pytest.raises(ValueError, match="no A, C, G or T"):
        bits_per_base(model, HeldOutWindows(corpus_of("NNNN"), "test", 16), batch_size=1)


def test_soft_masked_bases_are_also_scored_apart(model: HyenaDNA) -> None:
    plain = letters(80, 9)
    text = plain[:20] + plain[20:50].lower() + "nN" + plain[50:]
    found = bits_per_base(model, HeldOutWindows(corpus_of(text), "test", 16, overlap=3), batch_size=4)
    upper = bits_per_base(model, HeldOutWindows(corpus_of(text.upper()), "test", 16, overlap=3), batch_size=4)
    assert (found.n_bases, found.n_masked) == (79, 30)
    assert found.bits_per_base == upper.bits_per_base, "the mask changes nothing of the whole"
    assert (upper.bits_per_base_masked, upper.bits_per_base_unmasked, upper.n_masked) == (None, None, 0)
    assert found.bits_per_base_masked is not None
    assert found.bits_per_base_unmasked is not None
    assert found.bits_per_base_masked != pytest.approx(found.bits_per_base_unmasked, rel=1e-3)
    mean = (30 * found.bits_per_base_masked + 49 * found.bits_per_base_unmasked) / 79
    assert found.bits_per_base == pytest.approx(mean, rel=1e-6)
    lower = bits_per_base(model, HeldOutWindows(corpus_of(text.lower()), "test", 16, overlap=3), batch_size=4)
    assert (lower.bits_per_base_masked, lower.n_masked) == (None, 79), (
        "all of it is masked: nothing to tell apart"
    )
