"""Linear maps by oneDNN: the numbers of PyTorch, and nobody else's products."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genomix_kernels.channel_major import to_channels
from genomix_kernels.cpu_linear import OneDnnLinear
from genomix_kernels.testing import assert_close_to_reference

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(),  # type: ignore[no-untyped-call]
    reason="this build of PyTorch has no oneDNN",
)


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of calls of oneDNN."""
    from genomix_kernels import cpu_linear

    found = [0]
    real = cpu_linear._linear

    def counting(*args: Tensor) -> Tensor:
        found[0] += 1
        return real(*args)

    monkeypatch.setattr(cpu_linear, "_linear", counting)
    return found


@pytest.mark.parametrize("shape", [(1, 8), (63, 160), (3, 17, 160), (2, 1, 448)])
@pytest.mark.parametrize("has_bias", [False, True])
def test_linear(shape: tuple[int, ...], has_bias: bool, counted: list[int]) -> None:
    x, weight = random(*shape), random(35, shape[-1])
    bias = random(35) if has_bias else None
    expected = F.linear(x.double(), weight.double(), None if bias is None else bias.double())
    with torch.inference_mode(), OneDnnLinear():
        actual = F.linear(x, weight, bias)
        strided = F.linear(x.transpose(0, -2).contiguous().transpose(0, -2), weight, bias)
    assert_close_to_reference(actual, expected)
    assert_close_to_reference(strided, expected)
    assert counted == [2]


def test_channels_first(counted: list[int]) -> None:
    x, weight = random(3, 50, 24), random(40, 24)
    with torch.inference_mode(), OneDnnLinear():
        actual = to_channels(x, weight)
    assert actual.is_contiguous()
    assert_close_to_reference(actual, weight.double() @ x.double().transpose(1, 2))
    assert counted == [3]


def test_what_is_none_of_its_own_is_left_alone(counted: list[int]) -> None:
    layer = nn.Linear(8, 4)
    x = random(5, 8)
    with OneDnnLinear():
        layer(x).sum().backward()
    assert layer.weight.grad is not None
    with torch.inference_mode(), OneDnnLinear():
        assert F.linear(x.double(), layer.weight.double()).dtype is torch.float64
        assert F.linear(x[:0], layer.weight).shape == (0, 4)
        assert torch.bmm(random(2, 3, 4), random(2, 4, 5)).shape == (2, 3, 5)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert layer(x).dtype is torch.bfloat16
    assert counted == [0]
