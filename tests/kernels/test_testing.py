import pytest
import torch
from torch import Tensor

from genomix_kernels.testing import (
    TOLERANCE,
    assert_close_to_reference,
    check_against_reference,
    relative_rms_error,
)


def test_the_error_is_relative_to_the_reference() -> None:
    expected = torch.tensor([3.0, -4.0], dtype=torch.float64)
    assert relative_rms_error(expected * 1.01, expected) == pytest.approx(0.01)
    assert relative_rms_error(torch.tensor([0.5, 0.5]), torch.zeros(2)) == pytest.approx(0.5)
    assert relative_rms_error(torch.empty(0), torch.empty(0)) == 0.0


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_an_unwritten_element_fails(bad: float) -> None:
    assert relative_rms_error(torch.tensor([1.0, bad]), torch.ones(2)) == float("inf")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_a_tolerance_passes_rounding_and_stops_half_as_much_again_as_itself(dtype: torch.dtype) -> None:
    expected = torch.randn(10_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert_close_to_reference(expected.to(dtype), expected)
    with pytest.raises(AssertionError, match=r"output: relative RMS error .* is above"):
        assert_close_to_reference(expected * (1 + 1.5 * TOLERANCE[dtype]), expected, dtype=dtype)


def test_a_wrong_gradient_is_named() -> None:
    def detached(x: Tensor, y: Tensor) -> Tensor:
        return x * y + 0.5 * (x - x.detach())

    with pytest.raises(AssertionError, match="gradient of x: relative RMS error"):
        check_against_reference(
            detached, lambda x, y: x * y, {"x": torch.ones(3), "y": torch.ones(3)}, dtype=torch.float32
        )


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match=r"shapes differ: \(2,\), expected \(3,\)"):
        relative_rms_error(torch.zeros(2), torch.zeros(3))
