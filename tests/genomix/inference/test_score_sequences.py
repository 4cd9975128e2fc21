"""Scores of sequences: the official values, and the same alone and in any batch or chunking."""

import math
from collections.abc import Callable
from typing import Any, Literal, cast

import numpy as np
import pytest
import torch

from genomix.inference.causal import CausalModel
from genomix.inference.likelihood import token_log_likelihood
from genomix.inference.score_sequences import (
    likelihoods,
    positional_entropies,
    score_sequences,
    token_log_probs,
)
from genomix.models.registry import build_model, hyenadna_config
from genomix_data.alphabet import reverse_complement
from genomix_data.errors import GenomixError, SequenceTooLongError
from genomix_data.tokenizers import ByteTokenizer, CharTokenizer, Tokenizer
from tests.genomix.stripedhyena2_golden import official_model, values

GOLDEN = values("tiny_scores.json")
BYTES = ByteTokenizer()
Model = tuple[CausalModel, Tokenizer]


@pytest.fixture(scope="module")
def hyenadna() -> Model:
    torch.manual_seed(0)
    model = build_model(
        hyenadna_config("hyenadna/demo"), d_model=16, d_inner=32, l_max=300, initializer_range=0.5
    )
    return model.eval(), CharTokenizer()


@pytest.fixture(params=["hyenadna", "stripedhyena2"])
def model(request: pytest.FixtureRequest, hyenadna: Model) -> Model:
    return hyenadna if request.param == "hyenadna" else (official_model(), BYTES)


def _cases() -> list[str]:
    return [key for key in GOLDEN["scores"] if "ragged_bs4" not in key]


@pytest.mark.parametrize("case", _cases())
def test_the_official_scores(case: str) -> None:
    name, options = case.split("|")
    expected = GOLDEN["scores"][case]
    settings = dict(option.split("=") for option in options.split(","))
    scores = score_sequences(
        official_model(),
        BYTES,
        GOLDEN["equal_len" if name.startswith("equal") else "ragged"],
        reduce=cast(Literal["mean", "sum"], settings["reduce"]),
        prepend_bos=settings["bos"] == "True",
        average_reverse_complement="_rc" in name,
    )
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=2e-4)


@pytest.mark.parametrize("bos", [True, False])
def test_padding_is_never_scored_as_the_official_batches_do(bos: bool) -> None:
    right = GOLDEN["scores"][f"ragged_bs1|bos={bos},reduce=mean"]
    wrong = GOLDEN["scores"][f"ragged_bs4|bos={bos},reduce=mean"]
    ours = score_sequences(official_model(), BYTES, GOLDEN["ragged"], prepend_bos=bos, batch_size=4)
    np.testing.assert_allclose(ours, right, rtol=1e-5, atol=2e-4)
    if not bos:
        assert np.abs(ours - wrong).max() > 0.1, "the official batch counts one padding token"


def test_the_official_entropies() -> None:
    ids = torch.from_numpy(BYTES.encode(GOLDEN["equal_len"][0]).astype(np.int64))[None]
    expected = GOLDEN["positional_entropies_of_equal_len_0"]
    entropies = positional_entropies(official_model(), ids, chunk=13)[0]
    np.testing.assert_allclose(entropies.numpy(), expected, atol=2e-4)


def _letters(n: int, seed: int) -> str:
    return "".join(np.random.default_rng(seed).choice(list("ACGTN"), n))


def test_a_score_is_the_same_alone_and_in_any_batch_and_chunking(model: Model) -> None:
    texts = [_letters(n, n) for n in (1, 2, 63, 64, 200, 5, 128)]
    alone = [score_sequences(*model, [text], reduce="sum")[0] for text in texts]
    for batch_size in (2, 3, 7):
        for chunk in (1000, 31):
            together = score_sequences(*model, texts, reduce="sum", batch_size=batch_size, chunk=chunk)
            np.testing.assert_allclose(together, alone, rtol=2e-6, atol=2e-3)


@pytest.mark.parametrize("seed", range(3))
@torch.inference_mode()
def test_random_chunkings_of_the_whole_model(model: Model, seed: int) -> None:
    language_model, tokenizer = model
    ids = torch.from_numpy(tokenizer.encode(_letters(150, 9)).astype(np.int64))[None]
    whole = token_log_likelihood(cast(Any, language_model), ids)
    rng = np.random.default_rng(seed)
    state, hidden, begin = language_model.init_state(1), [], 0
    while begin < ids.shape[1]:
        size = int(rng.integers(1, 60))
        piece, state = language_model.extend(ids[:, begin : begin + size], state)
        hidden.append(piece)
        begin += size
    log_probs = language_model.logits(torch.cat(hidden, dim=1)).log_softmax(-1)
    pieces = log_probs[:, :-1].gather(-1, ids[:, 1:, None]).squeeze(-1)
    torch.testing.assert_close(pieces, whole, atol=5e-4, rtol=1e-4)
    torch.testing.assert_close(token_log_probs(language_model, ids, chunk=17), whole, atol=5e-4, rtol=1e-4)


def test_both_strands_do_not_depend_on_which_came(model: Model) -> None:
    text = _letters(100, 4).replace("N", "A")
    one, other = (
        score_sequences(*model, [letters], average_reverse_complement=True)[0]
        for letters in (text, reverse_complement(text))
    )
    assert one == pytest.approx(other, abs=1e-5)


def test_n_need_not_count(model: Model) -> None:
    (scored,) = likelihoods(*model, [("x", "ACNNGT")], count_n=False)
    (whole,) = likelihoods(*model, [("x", "ACNNGT")])
    assert (scored.n_scored, whole.n_scored) == (3, 5)
    np.testing.assert_array_equal(scored.log_probs, whole.log_probs)
    assert scored.log_likelihood == pytest.approx(float(whole.log_probs[[0, 3, 4]].sum()))
    assert scored.perplexity == pytest.approx(math.exp(-scored.mean_log_likelihood))
    assert scored.bits_per_base == pytest.approx(-scored.mean_log_likelihood / math.log(2))


def test_one_letter_has_nothing_to_score_without_a_beginning(model: Model) -> None:
    (scored,) = likelihoods(*model, [("x", "A")])
    assert scored.n_scored == 0
    assert math.isnan(scored.mean_log_likelihood)
    (with_bos,) = likelihoods(*model, [("x", "A")], prepend_bos=True)
    assert with_bos.n_scored == 1


def test_bad_input(hyenadna: Model) -> None:
    with pytest.raises(GenomixError, match="sequence 1 is empty"):
        score_sequences(*hyenadna, ["ACGT", ""])
    with pytest.raises(SequenceTooLongError, match="l_max = 300"):
        score_sequences(*hyenadna, ["A" * 301])


def test_a_model_of_nan_is_an_error(hyenadna: Model) -> None:
    model = build_model(hyenadna_config("hyenadna/demo"), d_model=16, d_inner=32, l_max=40).eval()
    for parameter in model.parameters():
        torch.nn.init.constant_(parameter, float("nan"))
    check: Callable[[], object] = lambda: score_sequences(model, CharTokenizer(), ["ACGT"])  # noqa: E731
    with pytest.raises(GenomixError, match="NaN or an infinite log-likelihood for sequence 0"):
        check()
