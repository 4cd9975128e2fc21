"""8-bit products: what is rounded how, and that scales survive what is done with models."""

import pytest
import torch
from torch.nn import functional as F

from genomix.operators.fp8 import (
    E4M3_MAX,
    ScaledLinear,
    enable_fp8,
    fp8_linear,
    fp8_linear_exact,
    quantize_e4m3,
    why_model_not_fp8,
    why_not_fp8,
)

ONE = torch.tensor(1.0)


def _all_e4m3() -> torch.Tensor:
    """Every finite value of the format, from its definition: 1 sign, 4 exponent (bias 7), 3 mantissa bits."""
    values = []
    for exponent in range(16):
        for mantissa in range(8):
            if (exponent, mantissa) == (15, 7):
                continue  # NaN
            scale = 2.0 ** (max(exponent, 1) - 7)
            values.append(scale * ((0 if exponent == 0 else 1) + mantissa / 8))
    positive = torch.tensor(values)
    return torch.cat([-positive.flip(0), positive])


def test_every_value_of_the_format_stays_and_others_go_to_the_nearest() -> None:
    grid = _all_e4m3()
    assert grid.max() == E4M3_MAX
    assert torch.equal(quantize_e4m3(grid, ONE).float(), grid)
    x = torch.randn(5000, generator=torch.Generator().manual_seed(0)) * 20
    rounded = quantize_e4m3(x, ONE).float()
    distance = (x[:, None] - grid).abs().amin(1)
    torch.testing.assert_close((x - rounded).abs(), distance, rtol=0, atol=0)


def test_what_is_too_large_saturates_and_never_becomes_nan() -> None:
    x = torch.tensor([1e9, -1e9, 449.0, 500.0])
    assert quantize_e4m3(x, ONE).float().tolist() == [448.0, -448.0, 448.0, 448.0]
    assert quantize_e4m3(torch.tensor(3.0), torch.tensor(1000.0)).float() == 448.0


def test_the_scales_are_taken_out_again() -> None:
    x, weight = torch.randn(3, 7, 32), torch.randn(48, 32)
    s_x, s_w = torch.tensor(16.0), torch.tensor(64.0)
    y = fp8_linear_exact(x, quantize_e4m3(weight, s_w), s_x, s_w)
    assert y.dtype is torch.bfloat16
    assert y.shape == (3, 7, 48)
    exact = F.linear(x, weight)
    assert (y.float() - exact).abs().mean() < 0.06 * exact.abs().mean()
    # powers of two as scales change nothing but the range: the same sums without them
    unscaled = F.linear(
        quantize_e4m3(x * 16, ONE).double() / 16, quantize_e4m3(weight * 64, ONE).double() / 64
    )
    torch.testing.assert_close(y, unscaled.bfloat16(), rtol=0, atol=0)


def test_scales_stay_in_fp32_and_a_new_layer_has_none() -> None:
    linear = ScaledLinear(32, 48)
    assert not linear.has_scales
    assert why_model_not_fp8(linear, "cpu") == "the checkpoint holds no scales for them"
    linear.load_state_dict(
        {
            "weight": torch.randn(48, 32),
            "input_scale": torch.tensor(1.2345678),
            "weight_scale": torch.tensor(9.8765),
        }
    )
    linear.to(torch.bfloat16)
    assert linear.weight.dtype is torch.bfloat16
    assert linear.input_scale.dtype is torch.float32
    assert linear.input_scale.item() == pytest.approx(1.2345678, rel=1e-7)
    assert linear.has_scales
    assert "need a CUDA GPU, and the device is cpu" in (why_model_not_fp8(linear, "cpu") or "")


def test_until_it_is_enabled_it_is_a_plain_linear_map() -> None:
    linear = ScaledLinear(32, 48)
    x = torch.randn(2, 5, 32)
    assert torch.equal(linear(x), F.linear(x, linear.weight))


@pytest.mark.gpu
def test_the_matrix_product_of_the_gpu() -> None:
    reason = why_not_fp8("cuda")
    if reason is not None:
        pytest.skip(reason)
    torch.manual_seed(0)
    linear = ScaledLinear(256, 384)
    linear.input_scale.fill_(20.0)
    linear.weight_scale.fill_(500.0)
    linear = linear.to("cuda", torch.bfloat16)
    enable_fp8(linear)
    for n_rows in (1, 15, 16, 37):
        x = torch.randn(n_rows, 256, device="cuda", dtype=torch.bfloat16)
        with torch.inference_mode():
            y = linear(x)
        quantized = quantize_e4m3(linear.weight, linear.weight_scale)
        exact = fp8_linear_exact(x, quantized, linear.input_scale, linear.weight_scale)
        assert y.shape == (n_rows, 384)
        # the sum of 256 products in about 14 bits
        error = (y.float() - exact.float()).square().mean().sqrt() / exact.float().square().mean().sqrt()
        assert error < 5e-3, f"{n_rows} rows: {error:.2e}"
    assert fp8_linear(x, quantized, linear.input_scale, linear.weight_scale).dtype is torch.bfloat16
