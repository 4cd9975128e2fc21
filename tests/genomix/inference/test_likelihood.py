import pytest
import torch

from genomix.inference.likelihood import token_log_likelihood
from genomix.models.hyenadna.model import HyenaDNA
from tests.genomix.golden import model_of, tensors, tiny_config


@pytest.fixture(scope="module")
def model() -> HyenaDNA:
    return model_of("lm_repo.safetensors", tiny_config())


def test_it_is_the_log_softmax_over_all_rows(model: HyenaDNA) -> None:
    ids = tensors("lm_repo_io.npz")["ids_short"]
    expected = torch.log_softmax(model(ids), dim=-1)
    actual = token_log_likelihood(model, ids)
    assert actual.shape == (3, 99)
    for batch, position in ((0, 0), (1, 50), (2, 98)):
        assert actual[batch, position].item() == pytest.approx(
            expected[batch, position, ids[batch, position + 1]].item()
        )


@pytest.mark.parametrize("chunk_tokens", [1, 7, 99, 10_000])
def test_chunks_change_nothing(model: HyenaDNA, chunk_tokens: int) -> None:
    ids = tensors("lm_repo_io.npz")["ids_short"]
    whole = token_log_likelihood(model, ids)
    torch.testing.assert_close(
        token_log_likelihood(model, ids, chunk_tokens=chunk_tokens), whole, atol=1e-5, rtol=1e-5
    )


def test_precision_is_fp32_or_better(model: HyenaDNA) -> None:
    ids = tensors("lm_repo_io.npz")["ids_odd"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert token_log_likelihood(model, ids).dtype is torch.float32
    in_double = HyenaDNA(tiny_config()).double()
    assert token_log_likelihood(in_double, ids).dtype is torch.float64
    in_half = HyenaDNA(tiny_config()).bfloat16()
    assert token_log_likelihood(in_half, ids).dtype is torch.float32


def test_one_token_has_no_likelihood_and_bytes_are_as_good(model: HyenaDNA) -> None:
    assert token_log_likelihood(model, torch.tensor([[7]])).shape == (1, 0)
    ids = tensors("lm_repo_io.npz")["ids_odd"]
    assert torch.equal(token_log_likelihood(model, ids.to(torch.uint8)), token_log_likelihood(model, ids))


def test_it_can_be_differentiated(model: HyenaDNA) -> None:
    loss = -token_log_likelihood(model, tensors("lm_repo_io.npz")["ids_odd"]).mean()
    gradient = torch.autograd.grad(loss, model.backbone.ln_f.weight)[0]
    assert gradient.abs().sum() > 0
