"""Heads on both families; heads that know both strands; soft prompts; pairs of sequences."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from genomix.checkpoint.native import load_model, save_model
from genomix.heads.build import HeadModel, build_head
from genomix.heads.strands import mirrored_places, reverse_complement_ids
from genomix.models.families import AnyLanguageModel
from genomix.models.hyenadna.model import HyenaDNA
from genomix.models.stripedhyena2.config import StripedHyena2Config
from genomix.models.stripedhyena2.model import StripedHyena2
from genomix_data.alphabet import reverse_complement
from genomix_data.errors import SequenceTooLongError
from genomix_data.table_dataset import complement_table
from genomix_data.tokenizers import ByteTokenizer, CharTokenizer, Tokenizer
from tests.genomix.golden import tiny_config
from tests.genomix.training_helpers import letters

SH2 = StripedHyena2Config(
    pattern="SMLA",
    d_model=16,
    n_heads=2,
    d_inner=24,
    context_len=64,
    vocab_size=256,
    n_groups=4,
    n_modes=2,
    mr_filter_len=8,
    tie_embeddings=False,
)
FAMILIES: dict[str, tuple[Callable[[], AnyLanguageModel], Tokenizer]] = {
    "hyenadna": (lambda: HyenaDNA(tiny_config()), CharTokenizer()),
    "stripedhyena2": (lambda: StripedHyena2(SH2), ByteTokenizer(case="upper")),
}
SETTINGS = {
    "classifier": {"kind": "classifier", "n_classes": 3, "pooling": "mean"},
    "multilabel": {"kind": "multilabel", "n_labels": 4, "pooling": "attention"},
    "regressor": {"kind": "regressor", "n_targets": 2, "pooling": "max", "link": "log"},
    "token_classifier": {"kind": "token_classifier", "n_classes": 3, "lookahead": 2},
    "variant_classifier": {"kind": "variant_classifier", "n_classes": 2, "pooling": "mean", "pair": "both"},
}


def make(family: str, settings: dict[str, object]) -> tuple[HeadModel, Tokenizer]:
    torch.manual_seed(0)
    model, tokenizer = FAMILIES[family]
    return build_head(model(), settings, torch.from_numpy(complement_table(tokenizer))).eval(), tokenizer


def padded(texts: list[str], tokenizer: Tokenizer) -> tuple[Tensor, Tensor]:
    lengths = [len(text) for text in texts]
    ids = torch.full((len(texts), max(lengths)), tokenizer.pad_id)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = torch.from_numpy(tokenizer.encode(text).astype("int64"))
    return ids, torch.tensor(lengths)


TEXTS = [letters(n, n) for n in (30, 11, 1, 24)]


@pytest.mark.parametrize("family", list(FAMILIES))
@pytest.mark.parametrize("kind", list(SETTINGS))
def test_every_head_on_either_family_is_saved_loaded_and_the_same_in_any_batch(
    family: str, kind: str, tmp_path: Path
) -> None:
    model, tokenizer = make(family, SETTINGS[kind])
    folder = save_model(model, tmp_path / "m", tokenizer=tokenizer, head={}, provenance={}, card="a test")
    loaded = load_model(folder)
    assert loaded.head_model.kind == kind
    ids, lengths = padded(TEXTS, tokenizer)
    if kind == "variant_classifier":
        ids, lengths = torch.stack([ids, ids.flip(0)], dim=1), torch.stack([lengths, lengths.flip(0)], dim=1)
    with torch.no_grad():
        together = model(ids, lengths)
        assert torch.equal(loaded.head_model(ids, lengths), together)
        for row in range(len(TEXTS)):
            alone = model(ids[row : row + 1], lengths[row : row + 1])
            keep = slice(None, int(lengths[row])) if kind == "token_classifier" else slice(None)
            torch.testing.assert_close(together[row, keep], alone[0, keep], atol=2e-5, rtol=2e-5)


def test_the_other_strand_of_padded_ids() -> None:
    tokenizer = CharTokenizer()
    ids, lengths = padded(TEXTS, tokenizer)
    complement = torch.from_numpy(complement_table(tokenizer))
    expected, _ = padded([reverse_complement(text) for text in TEXTS], tokenizer)
    assert torch.equal(reverse_complement_ids(ids, lengths, complement), expected)
    assert torch.equal(reverse_complement_ids(expected, lengths, complement), ids), "twice is the same"
    even = ids[:1]
    assert torch.equal(reverse_complement_ids(even, None, complement), expected[:1])
    assert mirrored_places(4, torch.tensor([3, 1])).tolist() == [[2, 1, 0, 3], [0, 1, 2, 3]]


@pytest.mark.parametrize("family", list(FAMILIES))
@pytest.mark.parametrize("pooling", ["mean", "last", "window"])
def test_an_invariant_head_says_the_same_of_both_strands(family: str, pooling: str) -> None:
    settings = {"kind": "classifier", "n_classes": 3, "pooling": pooling, "n_windows": 2}
    plain, tokenizer = make(family, settings)
    model, _ = make(family, {**settings, "rc_invariant": True})
    ids, lengths = padded(TEXTS, tokenizer)
    other, _ = padded([reverse_complement(text) for text in TEXTS], tokenizer)
    with torch.no_grad():
        torch.testing.assert_close(model(ids, lengths), model(other, lengths), atol=1e-5, rtol=1e-5)
        assert not torch.allclose(plain(ids, lengths)[0], plain(other, lengths)[0], atol=1e-5)


def test_bases_of_both_strands_have_the_same_classes_and_see_what_follows() -> None:
    settings = {"kind": "token_classifier", "n_classes": 3, "rc_invariant": True}
    model, tokenizer = make("hyenadna", settings)
    text = letters(20, 3)
    ids, _ = padded([text], tokenizer)
    other, _ = padded([reverse_complement(text)], tokenizer)
    changed, _ = padded([text[:15] + ("A" if text[15] != "A" else "C") + text[16:]], tokenizer)
    with torch.no_grad():
        torch.testing.assert_close(model(ids), model(other).flip(1), atol=1e-5, rtol=1e-5)
        assert not torch.allclose(model(ids)[0, 5], model(changed)[0, 5], atol=1e-7), (
            "sees base 15 from base 5"
        )


@pytest.mark.parametrize("family", list(FAMILIES))
def test_a_prompt_changes_the_states_and_is_not_pooled(family: str) -> None:
    settings = {"kind": "classifier", "n_classes": 2, "pooling": "first", "prompt_len": 3}
    model, tokenizer = make(family, settings)
    assert model.prompt_len == 3
    ids, lengths = padded(TEXTS, tokenizer)
    with torch.no_grad():
        before = model(ids, lengths)
        prompt = model.get_parameter("prompt")
        assert prompt.shape == (3, model.config.d_model)
        prompt.normal_()
        after = model(ids, lengths)
        alone = model(ids[1:2, :11])
    assert float((before - after).abs().max()) > 1e-6
    torch.testing.assert_close(after[1:2], alone, atol=2e-5, rtol=2e-5)
    names = dict(model.named_parameters())
    loss = model(ids, lengths).square().sum()
    torch.autograd.backward(loss)
    gradient = names["prompt"].grad
    assert gradient is not None
    assert float(gradient.abs().sum()) > 0


def test_prompt_and_sequence_together_have_to_fit() -> None:
    model, _ = make("hyenadna", {"kind": "classifier", "n_classes": 2, "pooling": "mean", "prompt_len": 5})
    longest = model.config.longest_input
    assert longest is not None
    ids = torch.full((1, longest - 4), 7)
    with pytest.raises(SequenceTooLongError):
        model(ids)
    assert model(ids[:, :-1]).shape == (1, 2)


def test_a_pair_without_a_change_gives_the_bias() -> None:
    settings = {"kind": "variant_classifier", "n_classes": 2, "pooling": "mean", "pair": "difference"}
    model, tokenizer = make("hyenadna", settings)
    ids, _ = padded([TEXTS[0]], tokenizer)
    with torch.no_grad():
        logits = model(torch.stack([ids, ids], dim=1))
    torch.testing.assert_close(logits[0], model.get_parameter("head.output_transform.bias"))
    with pytest.raises(ValueError, match="pair is 'sum'; it must be one of difference, both"):
        make("hyenadna", {**settings, "pair": "sum"})
