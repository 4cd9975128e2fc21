"""Attention in two parts is attention to all; every way through the module gives what the equation does."""

import logging
import math

import pytest
import torch
from torch import Tensor

from genomix.operators import attention_backends as backends
from genomix.operators.attention import RotaryAttention, attend
from genomix_kernels.testing import assert_close_to_reference


def make_qkv(
    new: int, old: int, *, n_heads: int = 3, d: int = 16, dtype: torch.dtype = torch.float64, room: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, and keys and values as slices of a cache with more room, as decoding has them."""
    generator = torch.Generator().manual_seed(5)
    q = torch.randn(2, new, n_heads, d, generator=generator, dtype=torch.float64).transpose(1, 2)
    caches = torch.randn(2, 2, n_heads, old + new + room, d, generator=generator, dtype=torch.float64)
    keys, values = (cache[:, :, : old + new] for cache in caches.to(dtype))
    return q.to(dtype), keys, values


def whole_attention(q: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """The equation, for the last queries."""
    q, keys, values = q.double(), keys.double(), values.double()
    old = keys.shape[2] - q.shape[2]
    scores = q @ keys.transpose(2, 3) / math.sqrt(q.shape[3])
    rows, columns = torch.arange(q.shape[2]) + old, torch.arange(keys.shape[2])
    is_later = (columns > rows[:, None]).to(q.device)
    return scores.masked_fill(is_later, -math.inf).softmax(-1) @ values


def part(q: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    scores = q @ keys.transpose(2, 3) / math.sqrt(q.shape[3])
    return scores.softmax(-1) @ values, scores.logsumexp(-1)


@pytest.mark.parametrize("shift", [0.0, 300.0, -300.0])
def test_merged_parts_are_the_whole(shift: float) -> None:
    q, keys, values = make_qkv(5, 40)
    keys = keys.clone()
    keys[:, :, :10] += shift * q.mean(dim=2, keepdim=True)  # one part may outweigh the other by far
    first, second = part(q, keys[:, :, :10], values[:, :, :10]), part(q, keys[:, :, 10:], values[:, :, 10:])
    assert_close_to_reference(backends.merge_attention(*first, *second), part(q, keys, values)[0])
    assert_close_to_reference(backends.merge_attention(*second, *first), part(q, keys, values)[0])


def test_parts_in_half_precision_are_merged_in_fp32() -> None:
    q, keys, values = make_qkv(5, 40)
    first, second = part(q, keys[:, :, :10], values[:, :, :10]), part(q, keys[:, :, 10:], values[:, :, 10:])
    merged = backends.merge_attention(
        first[0].bfloat16(), first[1].float(), second[0].bfloat16(), second[1].float()
    )
    assert merged.dtype is torch.bfloat16
    assert_close_to_reference(merged, part(q, keys, values)[0])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize(("new", "old"), [(1, 1), (2, 40), (40, 2), (63, 65)])
def test_to_past_and_self_is_the_whole(new: int, old: int, dtype: torch.dtype) -> None:
    q, keys, values = make_qkv(new, old, dtype=dtype, room=7)
    past = keys[:, :, :old], values[:, :, :old]
    y = backends.attend_to_past_and_self(q, *past, keys[:, :, old:], values[:, :, old:])
    assert_close_to_reference(y, whole_attention(q, keys, values))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@pytest.mark.parametrize("cudnn_from", [1, 10**9], ids=["cudnn", "flash"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(("new", "old"), [(1000, 0), (2, 1000), (100, 4001), (2048, 2048), (3000, 517)])
def test_chunked_prefill_on_the_gpu(
    new: int, old: int, dtype: torch.dtype, cudnn_from: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends, "CUDNN_FROM", cudnn_from)
    q, keys, values = (x.cuda() for x in make_qkv(new, old, n_heads=4, d=128, dtype=dtype, room=501))
    if old:
        assert backends.why_not_in_two_parts(q, keys, values) is None
    y = attend(q, keys, values, None)
    assert_close_to_reference(y, whole_attention(q, keys, values))
    assert not backends._CUDNN_FAILURES


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@pytest.mark.parametrize("seqlen", [1000, 2500])
def test_gradients_on_the_gpu(seqlen: int) -> None:
    inputs = [x.cuda().requires_grad_() for x in make_qkv(seqlen, 0, d=128, dtype=torch.bfloat16)]
    exact = [x.detach().double().requires_grad_() for x in inputs]
    y, expected = backends.attend_causally(*inputs), whole_attention(*exact)
    cotangent = torch.randn_like(y)
    ours = torch.autograd.grad(y, inputs, cotangent)
    theirs = torch.autograd.grad(expected, exact, cotangent.double())
    assert_close_to_reference(y, expected)
    for actual, wanted in zip(ours, theirs, strict=True):
        assert_close_to_reference(actual, wanted)


def test_two_parts_say_why_not() -> None:
    q, keys, values = make_qkv(4, 8)
    assert backends.why_not_in_two_parts(q, keys, values) == "the tensors are not on a CUDA device"


def test_cudnn_is_given_up_once_and_out_loud(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(backends, "_CUDNN_FAILURES", [])
    caplog.set_level(logging.WARNING, logger=backends.__name__)
    monkeypatch.setattr(backends, "_asks_cudnn", lambda _q: not backends._CUDNN_FAILURES)
    asked: list[bool] = []
    usual = torch.nn.functional.scaled_dot_product_attention

    def broken(q: Tensor, k: Tensor, v: Tensor, *, is_causal: bool) -> Tensor:
        asked.append(not backends._CUDNN_FAILURES)
        if asked[-1]:
            raise RuntimeError("cuDNN: no execution plan")
        return usual(q, k, v, is_causal=is_causal)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", broken)
    q, keys, values = make_qkv(9, 0)
    for _ in range(2):
        y = backends.attend_causally(q, keys, values)
        assert_close_to_reference(y, whole_attention(q, keys, values))
    assert asked == [True, False, False]
    assert len(caplog.messages) == 1
    assert "no execution plan" in caplog.messages[0]


def test_out_of_memory_is_not_cudnns_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "_CUDNN_FAILURES", [])
    with pytest.raises(torch.OutOfMemoryError):
        backends._give_up_cudnn(torch.OutOfMemoryError("CUDA out of memory"))
    assert not backends._CUDNN_FAILURES


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@torch.inference_mode()
def test_pieces_and_steps_are_the_whole_forward(dtype: torch.dtype, device: str) -> None:
    torch.manual_seed(0)
    mixer = RotaryAttention(
        64, 4, rope_base=1e4, position_scale=2.0, has_qkv_bias=False, has_out_bias=True
    ).to(device, dtype)
    x = torch.randn(2, 50, 64, device=device, dtype=dtype)
    exact = RotaryAttention(
        64, 4, rope_base=1e4, position_scale=2.0, has_qkv_bias=False, has_out_bias=True
    ).to(device)
    exact.load_state_dict(mixer.state_dict())
    whole = exact.double()(x.double())
    state = mixer.init_state(2, device=x.device, dtype=dtype, max_len=50)
    first, state = mixer.extend(x[:, :20], state)
    second, state = mixer.extend(x[:, 20:47], state)
    finished = mixer.finish(x[:, 47:], state, torch.arange(2, device=device))
    last = [mixer.step(x[:, t : t + 1], state) for t in range(47, 50)]
    for y in (mixer(x), *(torch.cat([first, second, *rest], dim=1) for rest in ([finished], last))):
        error = (y.double() - whole).square().mean().sqrt() / whole.square().mean().sqrt()
        assert error < {torch.float32: 4e-6, torch.bfloat16: 2e-2}[dtype]


@pytest.mark.parametrize("seqlen", [1, 40])
def test_gradients_reach_the_projections(seqlen: int, device: str) -> None:
    torch.manual_seed(0)
    mixer = RotaryAttention(
        32, 2, rope_base=1e4, position_scale=1.0, has_qkv_bias=True, has_out_bias=True
    ).to(device)
    x = torch.randn(2, seqlen, 32, device=device, requires_grad=True)
    torch.autograd.backward(mixer(x).square().sum())
    exact = RotaryAttention(
        32, 2, rope_base=1e4, position_scale=1.0, has_qkv_bias=True, has_out_bias=True
    ).to("cpu", torch.float64)
    exact.load_state_dict(mixer.state_dict())
    inputs = x.detach().cpu().double().requires_grad_()
    torch.autograd.backward(exact(inputs).square().sum())
    assert x.grad is not None
    assert inputs.grad is not None
    assert_close_to_reference(x.grad, inputs.grad, dtype=torch.float16)  # sums of many fp32 terms
    for ours, theirs in zip(mixer.parameters(), exact.parameters(), strict=True):
        assert ours.grad is not None
        assert theirs.grad is not None
        assert_close_to_reference(ours.grad, theirs.grad, dtype=torch.float16)


@torch.inference_mode()
def test_a_cache_with_more_digits_serves_autocast(device: str) -> None:
    torch.manual_seed(0)
    mixer = RotaryAttention(
        64, 4, rope_base=1e4, position_scale=1.0, has_qkv_bias=False, has_out_bias=True
    ).to(device)
    x = torch.randn(2, 60, 64, device=device)
    whole = mixer(x)
    pieces: dict[torch.dtype, list[torch.Tensor]] = {torch.float32: [], torch.bfloat16: []}
    state = mixer.init_state(2, device=x.device, dtype=torch.float32, max_len=60)
    with torch.autocast(device, torch.bfloat16):
        narrow = mixer.init_state(2, device=x.device, dtype=torch.float32, max_len=60)
        for dtype, found in pieces.items():
            after = state if dtype is torch.float32 else narrow
            assert after["keys"].dtype is dtype
            for piece in torch.split(x, [24, 24, 12], dim=1):
                y, after = mixer.extend(piece, after)
                found.append(y)
            assert after["keys"].dtype is dtype
    y = torch.cat(pieces[torch.float32], dim=1)
    error = (y.float() - whole).square().mean().sqrt() / whole.square().mean().sqrt()
    assert error < 2e-2
    # what has been rounded to bf16 already loses nothing in a cache of bf16
    assert torch.equal(torch.cat(pieces[torch.bfloat16], dim=1), y)
