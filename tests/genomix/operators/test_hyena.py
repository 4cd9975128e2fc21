from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from genomix.models.hyenadna.config import ChannelLayout
from genomix.operators.hyena import HyenaOperator
from genomix_data.errors import SequenceTooLongError
from genomix_kernels.fftconv import fftconv
from tests.genomix.golden import assert_close, assert_gradient_close, tensors, values

CASES = ("repo_o2", "repo_o2_short", "repo_o3", "standalone_o2", "standalone_o2_short")
META: dict[str, dict[str, Any]] = values("operator_meta.json")


def make_operator(case: str) -> tuple[HyenaOperator, dict[str, Tensor]]:
    stored = tensors(f"operator_{case}.npz")
    meta = META[case]
    operator = HyenaOperator(
        meta["d_model"],
        meta["l_max"],
        meta["order"],
        channel_layout=meta["impl"],
        shift=0.0 if meta["impl"] == "repo" else 0.05,
        emb_dim=meta["emb_dim"],
        filter_order=meta["filter_order"],
        w=meta["w"],
    )
    own = operator.state_dict()
    operator.load_state_dict({key: stored[f"param__{key}"] for key in own}, strict=True)
    return operator, stored


@pytest.mark.parametrize("case", CASES)
def test_against_official_operator(case: str) -> None:
    operator, stored = make_operator(case)
    u = stored["u"].requires_grad_()
    y = operator(u)
    assert_close(y, stored["y"])
    torch.autograd.backward((y * stored["cotangent"]).sum())
    assert_gradient_close(u.grad, stored["du"])
    for name, parameter in operator.named_parameters():
        assert_gradient_close(parameter.grad, stored[f"grad__{name}"])


@pytest.mark.parametrize("case", CASES)
def test_against_official_operator_in_float64(case: str) -> None:
    operator, stored = make_operator(case)
    y = operator.double()(stored["u"].double())

    torch.testing.assert_close(y, stored["y64"], atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("backend", ["torch_fft", "reference"])
def test_against_official_convolution(backend: str) -> None:
    stored = tensors("fftconv.npz")
    y = fftconv(stored["u"], stored["k"], stored["D"], backend=backend)
    for name in ("y_repo", "y_standalone", "y_direct"):
        assert_close(y, stored[name])


@pytest.mark.parametrize(("order", "taps"), [(2, 3), (2, 5), (3, 3), (4, 4)])
def test_it_is_the_recurrence_of_gates_and_convolutions(order: int, taps: int) -> None:
    torch.manual_seed(1)
    operator = HyenaOperator(6, 40, order, short_filter_order=taps, filter_order=16).double()
    x = torch.randn(2, 21, 6, dtype=torch.float64)
    u = operator.in_proj(x).transpose(1, 2)
    padded = torch.nn.functional.pad(u, (taps - 1, 0))
    u = operator.short_filter(padded)
    groups = u.split(6, dim=1)
    v = groups[-1]
    k = operator.filter_fn(21).reshape(6, order - 1, 21)
    skip = operator.filter_fn.bias.reshape(6, order - 1)
    for o, gate in enumerate(reversed(groups[1:-1])):
        v = fftconv(v * gate, k[:, o], skip[:, o], backend="reference")
    expected = operator.out_proj((v * groups[0]).transpose(1, 2))
    torch.testing.assert_close(operator(x), expected)


def test_layouts_agree_for_order_2_and_differ_above() -> None:
    def outputs(order: int) -> list[Tensor]:
        results = []
        for layout in get_args(ChannelLayout):
            torch.manual_seed(2)
            operator = HyenaOperator(4, 32, order, channel_layout=layout, filter_order=8)
            results.append(operator(torch.ones(1, 20, 4)))
        return results

    repo, standalone = outputs(2)
    assert torch.equal(repo, standalone)
    repo, standalone = outputs(3)
    assert not torch.allclose(repo, standalone)


def test_a_later_input_changes_nothing_earlier() -> None:
    operator, stored = make_operator("repo_o2")
    u = stored["u"].clone()
    before = operator(u)
    u[:, 30:] += 1.0
    change = (operator(u) - before).abs()
    assert change[:, :30].max() < 1e-4
    assert change[:, 30:].max() > 1e-2


def test_a_prefix_is_computed_from_a_prefix() -> None:
    operator, stored = make_operator("repo_o2")
    whole = operator(stored["u"])
    assert_close(operator(stored["u"][:, :17]), whole[:, :17])


def test_too_long_a_sequence() -> None:
    operator, _ = make_operator("repo_o2")
    with pytest.raises(SequenceTooLongError, match="65 tokens"):
        operator(torch.zeros(1, 65, 16))


def test_gradcheck() -> None:
    torch.manual_seed(3)
    operator = HyenaOperator(3, 12, 2, filter_order=4).double()
    x = torch.randn(2, 7, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(operator, (x,))
