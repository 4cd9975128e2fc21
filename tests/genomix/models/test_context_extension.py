"""HyenaDNA beyond `l_max`, and with fewer taps: what stays as it was, what a token sees, and what errors are stated."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from genomix.checkpoint.convert import convert
from genomix.checkpoint.native import load_model, save_model
from genomix.heads.classifier import SequenceClassifier
from genomix.inference.limits import check_length
from genomix.models.hyenadna.config import HyenaDNAConfig
from genomix.models.hyenadna.model import HyenaDNA
from genomix.models.hyenadna.partial import extend_context, sparsify_filters, truncate_filters
from genomix_data.errors import CheckpointError, ConfigError, SequenceTooLongError
from genomix_data.tokenizers import CharTokenizer
from genomix_kernels.fftconv import fftconv
from tests.genomix.golden import assert_close, model_of, tensors, tiny_config

LONG = 700


def official() -> HyenaDNA:
    return model_of("lm_repo.safetensors", tiny_config())


def small(**changes: Any) -> HyenaDNA:
    """Two layers of 16 taps, weights large enough for every token to matter, in fp64."""
    torch.manual_seed(0)
    config = HyenaDNAConfig(
        **{"d_model": 8, "n_layers": 2, "d_inner": 16, "l_max": 16, "shift": 0.5} | changes
    )
    model = HyenaDNA(config).double().eval()
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1 and "filter" not in name:
            nn.init.normal_(parameter, std=0.4)
    return model


def random_ids(length: int, batch: int = 1, seed: int = 1) -> Tensor:
    return torch.randint(7, 12, (batch, length), generator=torch.Generator().manual_seed(seed))


def test_without_it_longer_inputs_are_refused() -> None:
    with pytest.raises(SequenceTooLongError, match=r"the input has 257 tokens .* at most 256 \(l_max\)"):
        official()(random_ids(257))


@torch.no_grad()
def test_the_first_tokens_keep_the_official_logits() -> None:
    model, golden = official(), tensors("lm_repo_io.npz")
    extended = extend_context(model, LONG)
    ids = golden["ids_full"]
    assert ids.shape[1] == model.config.l_max
    longer = torch.cat([ids, random_ids(LONG - 256, batch=len(ids))], dim=1)
    logits = extended(longer)
    assert logits.shape[1] == LONG
    assert logits.isfinite().all()
    assert_close(logits[:, :256], golden["logits_full"])
    with pytest.raises(SequenceTooLongError, match=r"701 tokens .* at most 700 \(extended_len\)"):
        extended(random_ids(701))


@pytest.mark.parametrize(
    ("changes", "taps"),
    [({}, 16), ({"filter_len": 5}, 5), ({"filter_len": 1}, 1), ({"order": 3}, 16)],
    ids=str,
)
@torch.no_grad()
def test_a_token_sees_its_taps_in_each_layer_and_no_further(changes: dict[str, Any], taps: int) -> None:
    model = extend_context(small(**changes), 120)
    n_convolutions = model.config.order - 1
    reach = model.config.n_layers * (n_convolutions * (taps - 1) + model.config.short_filter_order - 1)
    ids = random_ids(120)
    other = ids.clone()
    other[:, 3] = 18 - ids[:, 3]  # A, C, G, T, N to another of them
    other[:, 3] += other[:, 3] == ids[:, 3]
    change = (model(other) - model(ids)).abs().amax(dim=(0, 2))
    assert change[3 + reach] > 1e-12
    assert change[4 + reach :].max() < 1e-13
    assert change[:3].max() < 1e-13


@pytest.mark.parametrize("chunks", [[1] * 90, [50, 1, 3, 36], [90]], ids=["by-1", "uneven", "whole"])
@pytest.mark.parametrize("filter_len", [None, 5])
@torch.no_grad()
def test_in_pieces_it_gives_what_it_gives_whole(chunks: list[int], filter_len: int | None) -> None:
    model = extend_context(small(filter_len=filter_len), 90)
    ids = random_ids(90, batch=2)
    state, pieces = model.init_state(2, max_len=90), []
    for piece in torch.split(ids, chunks, dim=1):
        hidden, state = model.extend(piece, state)
        pieces.append(hidden)
    torch.testing.assert_close(torch.cat(pieces, dim=1), model.hidden_states(ids), rtol=0, atol=1e-12)
    with pytest.raises(SequenceTooLongError, match="91 tokens"):
        model.extend(ids[:, :1], state)


@torch.no_grad()
def test_branches_from_a_shared_prefix() -> None:
    model = extend_context(small(filter_len=5), 90)
    ids, other = random_ids(60, batch=2), random_ids(60, batch=3, seed=2)
    rows = torch.tensor([0, 1, 1])
    _, trace = model.trace(ids)
    tails = model.branch(other[:, 41:], trace, rows, 41)
    whole = model.hidden_states(torch.cat([ids[rows, :41], other[:, 41:]], dim=1))
    torch.testing.assert_close(tails, whole[:, 41:], rtol=0, atol=1e-12)


@pytest.mark.parametrize("order", [2, 3])
@torch.no_grad()
def test_the_stated_error_is_that_of_each_layers_convolution(order: int) -> None:
    model = small(order=order)
    truncated, errors = truncate_filters(model, 5)
    assert len(errors) == model.config.n_layers
    impulses = torch.eye(16, dtype=torch.float64)[:, None].expand(-1, 8 * (order - 1), -1)
    for error, whole, short in zip(errors, model.backbone.blocks(), truncated.backbone.blocks(), strict=True):
        skip = whole.mixer.filter_fn.bias
        exact = fftconv(impulses, whole.mixer.filter_fn(16), skip)
        change = fftconv(impulses, short.mixer.filter_fn(16), skip) - exact
        expected = (change.square().sum((0, 2)) / exact.square().sum((0, 2))).sqrt()
        torch.testing.assert_close(error.of_channels, expected, rtol=1e-9, atol=0)
        assert 0 < error.total < 1
    _, none = truncate_filters(model, 16)
    assert [error.total for error in none] == [0.0, 0.0]


@torch.no_grad()
def test_truncating_is_building_with_fewer_taps() -> None:
    model = small()
    truncated, _ = truncate_filters(model, 6)
    built = small(filter_len=6)
    ids = random_ids(16, batch=2)
    assert torch.equal(truncated(ids), built(ids))
    assert not torch.allclose(truncated(ids), model(ids))
    torch.testing.assert_close(truncated(ids)[:, :6], model(ids)[:, :6], rtol=0, atol=1e-12)
    twice, errors = truncate_filters(truncated, 3)
    assert twice.config.filter_len == 3
    assert all(0 < error.total < 1 for error in errors)


def test_parameters_are_shared_and_the_model_stays_as_it_was() -> None:
    model = small()
    with torch.no_grad():
        before = model(random_ids(16))
    extended = extend_context(truncate_filters(model, 6)[0], 40)
    assert (extended.config.filter_len, extended.config.extended_len) == (6, 40)
    assert extended.backbone.config == extended.config
    ours, theirs = dict(model.named_parameters()), dict(extended.named_parameters())
    assert ours.keys() == theirs.keys()
    assert all(ours[name] is theirs[name] for name in ours)
    assert model.config == small().config
    with torch.no_grad():
        assert torch.equal(model(random_ids(16)), before)
    torch.autograd.backward(extended(random_ids(40)).square().sum())
    assert all(parameter.grad is not None for parameter in model.parameters())


@torch.no_grad()
def test_a_classifier_takes_longer_sequences_too() -> None:
    classifier = SequenceClassifier(small(), 3).double().eval()
    with pytest.raises(SequenceTooLongError):
        classifier(random_ids(50))
    extended = extend_context(classifier, 50)
    assert extended(random_ids(50)).shape == (1, 3)
    short = random_ids(16)
    torch.testing.assert_close(extended(short), classifier(short), rtol=0, atol=0)


@torch.no_grad()
def test_a_model_folder_keeps_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = extend_context(truncate_filters(official(), 100)[0], LONG)
    tokenizer = CharTokenizer()
    folder = save_model(model, tmp_path / "model", tokenizer=tokenizer, provenance={}, card="A test.")
    loaded = load_model(folder)
    assert loaded.config == model.config
    ids = random_ids(LONG)
    assert torch.equal(loaded.language_model(ids), model(ids))
    with caplog.at_level(logging.WARNING):
        check_length(loaded.config, LONG, "a window of 700 bp", "Shorten it.")
    assert "longer than the 256 tokens that the model was trained at" in caplog.text
    with pytest.raises(SequenceTooLongError, match=r"context is 700 tokens \(extended_len\)\. Shorten it"):
        check_length(loaded.config, LONG + 1, "a window of 701 bp", "Shorten it.")
    with pytest.raises(CheckpointError, match=r"hyenadna-repo has no place for filter_len = 100"):
        convert(folder, tmp_path / "foreign.ckpt", to="hyenadna-repo")


@pytest.mark.parametrize("by", ["frequency", "magnitude"])
def test_sparse_filters_of_each_layer(by: Any) -> None:
    model = small()
    sparse = list(sparsify_filters(model, 0.5, by=by))
    assert len(sparse) == model.config.n_layers
    for each in sparse:
        assert each.causal.shape == (8, 16)
        assert 0 < each.causal_error.total < each.error.total < 1
        assert each.leak.total > 0
    for each, layer in zip(sparsify_filters(model, 1.0, by=by), model.backbone.blocks(), strict=True):
        torch.testing.assert_close(each.causal, layer.mixer.filter_fn(16).detach(), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (
            lambda model: extend_context(model, 16),
            ConfigError,
            r"extended_len is 16; it must be .* above l_max = 16",
        ),
        (lambda model: extend_context(model, -1), ConfigError, r"extended_len is -1"),
        (
            lambda model: truncate_filters(model, 0),
            ValueError,
            r"filter_len is 0; it must be between 1 and the 16",
        ),
        (lambda model: truncate_filters(model, 17), ValueError, r"filter_len is 17"),
        (lambda model: list(sparsify_filters(model, 0.0)), ValueError, r"keep is 0\.0"),
        (lambda _: extend_context(nn.Linear(2, 2), 99), ValueError, "Linear has no HyenaDNA backbone"),
        (lambda _: truncate_filters(nn.Linear(2, 2), 2), ValueError, "Linear has no HyenaDNA backbone"),
        (lambda _: sparsify_filters(nn.Linear(2, 2), 0.5), ValueError, "Linear has no HyenaDNA backbone"),
    ],
    ids=range(8),
)
def test_what_cannot_be_is_named(call: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        call(small())
