"""Branches of a shared beginning have the log-likelihoods that they have alone, for both ways to share."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from genomix.inference.branching import Branches, FinishingModel, TracingModel, branch_log_likelihood
from genomix.inference.likelihood import token_log_likelihood
from genomix.models.hyenadna.config import HyenaDNAConfig
from genomix.models.hyenadna.model import HyenaDNA
from genomix.models.stripedhyena2.config import StripedHyena2Config
from genomix.models.stripedhyena2.model import StripedHyena2
from genomix.operators.gated_hyena import WHOLE_VECTORS
from genomix.operators.hyena import HyenaOperator
from genomix.operators.state import fork_into

SEQLEN = 90
STARTS = [1, 2, 7, 40, 41, 87]


def _models() -> dict[str, HyenaDNA | StripedHyena2]:
    torch.manual_seed(0)
    models: dict[str, HyenaDNA | StripedHyena2] = {
        "hyenadna": HyenaDNA(HyenaDNAConfig(d_model=16, n_layers=2, d_inner=32, l_max=100)),
        "hyenadna-order-3": HyenaDNA(HyenaDNAConfig(d_model=16, n_layers=2, d_inner=32, l_max=100, order=3)),
        "stripedhyena2": StripedHyena2(
            StripedHyena2Config(
                pattern="SMLA",
                d_model=32,
                n_heads=2,
                d_inner=64,
                context_len=128,
                n_groups=8,
                mr_filter_len=32,
            )
        ),
    }
    for model in models.values():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2 and "filter" not in name:
                nn.init.normal_(parameter, std=0.3)
    return {name: model.double().eval() for name, model in models.items()}


MODELS = _models()


@pytest.fixture(params=sorted(MODELS))
def model(request: pytest.FixtureRequest) -> HyenaDNA | StripedHyena2:
    name: str = request.param
    return MODELS[name]


def _tokens(*shape: int) -> torch.Tensor:
    return torch.randint(7, 11, shape, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("multiple", [1, 8], ids=["as-on-cpu", "as-on-cuda"])
@pytest.mark.parametrize("chunk", [1, 7, 40, 8192])
@torch.inference_mode()
def test_branches_are_as_likely_as_alone(
    model: HyenaDNA | StripedHyena2, chunk: int, multiple: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several branches at one place, of several trunks, in any order, to different ends."""
    monkeypatch.setitem(WHOLE_VECTORS, "cpu", multiple)
    trunks = _tokens(3, SEQLEN)
    rows = torch.tensor([2, 0, 0, 1])
    whole, branches = [], []
    for start in reversed(STARTS):
        end = SEQLEN if start % 2 else SEQLEN - 1
        alone = torch.cat([trunks[rows, :start], _tokens(4, end)[:, start:]], dim=1)
        whole.append(alone)
        branches.append(Branches(start, rows, alone[:, start:]))
    found = dict(branch_log_likelihood(model, trunks, branches, chunk=chunk))
    assert sorted(found) == [-1, *range(len(branches))]
    torch.testing.assert_close(found[-1], token_log_likelihood(model, trunks), rtol=0, atol=1e-10)
    for index, (alone, those) in enumerate(zip(whole, branches, strict=True)):
        expected = token_log_likelihood(model, alone)[:, those.start :]
        torch.testing.assert_close(found[index], expected, rtol=0, atol=1e-10)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@torch.inference_mode()
def test_branches_on_the_gpu() -> None:
    """In bf16, at lengths that are no multiple of what kernels load at once: no worse than whole sequences are."""
    torch.manual_seed(0)
    config = StripedHyena2Config(
        pattern="SMLA", d_model=512, n_heads=4, d_inner=512, context_len=2048, n_groups=32
    )
    model = StripedHyena2(config).bfloat16().eval()
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2 and "filter" not in name and "featurizer" not in name:
            nn.init.normal_(parameter, std=0.05)
    exact = StripedHyena2(config).double().eval()
    exact.load_state_dict(model.state_dict())
    model.cuda()
    trunks = _tokens(3, 1201)
    rows = torch.tensor([2, 0, 0, 1])
    for start in (512, 515):
        alone = torch.cat([trunks[rows, :start], _tokens(4, 1000)[:, start:]], dim=1)
        those = Branches(start, rows.cuda(), alone[:, start:].cuda())
        found = dict(branch_log_likelihood(model, trunks.cuda(), [those]))
        for index, ids in ((-1, trunks), (0, alone)):
            scored = slice(0 if index else start, None)
            expected = token_log_likelihood(exact, ids)[:, scored]
            whole = token_log_likelihood(model, ids.cuda())[:, scored]
            error, of_whole = (
                (x.cpu().double() - expected).square().mean().sqrt() for x in (found[index], whole)
            )
            assert error < 1.5 * of_whole, f"{error:.2e}, of whole sequences {of_whole:.2e}"


@pytest.mark.parametrize("chunk", [16, 4096])
@torch.inference_mode()
def test_one_branch_of_each_trunk_is_not_copied(model: HyenaDNA | StripedHyena2, chunk: int) -> None:
    trunks, other = _tokens(3, SEQLEN), _tokens(3, SEQLEN).flip(0)
    rows = torch.arange(3)
    before, after = (Branches(start, rows, other[:, start:]) for start in (7, 40))
    expected = dict(branch_log_likelihood(model, trunks, [before, after], chunk=chunk))
    found = dict(
        branch_log_likelihood(
            model, trunks, [replace(each, is_one_each=True) for each in (before, after)], chunk=chunk
        )
    )
    for index, values in expected.items():
        assert torch.equal(found[index], values)


@torch.inference_mode()
def test_trunks_alone(model: HyenaDNA | StripedHyena2) -> None:
    trunks = _tokens(2, SEQLEN)
    ((index, found),) = branch_log_likelihood(model, trunks, [])
    assert index == -1
    assert torch.equal(found, token_log_likelihood(model, trunks))


def test_which_family_shares_how() -> None:
    assert isinstance(MODELS["hyenadna"], TracingModel)
    assert not isinstance(MODELS["stripedhyena2"], TracingModel)
    assert isinstance(MODELS["stripedhyena2"], FinishingModel)


@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize("taps", [1, 3, 5])
@pytest.mark.parametrize("start", [0, 1, 3, 50, 59])
@torch.inference_mode()
def test_branch_of_an_operator(order: int, taps: int, start: int) -> None:
    torch.manual_seed(1)
    mixer = HyenaOperator(8, 64, order, short_filter_order=taps).double().eval()
    x = torch.randn(2, 60, 8, dtype=torch.float64)
    other = torch.randn(3, 60, 8, dtype=torch.float64)
    rows = torch.tensor([1, 0, 1])
    other[:, :start] = x[rows, :start]
    y, trace = mixer.trace(x)
    torch.testing.assert_close(y, mixer(x), rtol=0, atol=1e-12)
    branch = mixer.branch(other[:, start:], trace, rows, start)
    torch.testing.assert_close(branch, mixer(other)[:, start:], rtol=0, atol=1e-10)


@pytest.mark.parametrize("max_len", [10, 16, 40])
@torch.inference_mode()
def test_fork_has_room_of_its_own(max_len: int) -> None:
    """The room of a fork may be smaller or larger than that of the state; writing to it leaves the state alone."""
    model = MODELS["stripedhyena2"]
    ids = _tokens(2, 10)
    _, state = model.extend(ids, model.init_state(2, max_len=16))
    rows = torch.tensor([1, 1, 0])
    room = model.init_state(3, max_len=max_len)
    forked = [fork_into(each, rows, empty) for each, empty in zip(state, room, strict=True)]
    before = [{name: tensor.clone() for name, tensor in each.items()} for each in state]
    more = _tokens(3, 6)
    hidden, _ = model.extend(more, forked)
    expected, _ = model.extend(torch.cat([ids[rows], more], dim=1), model.init_state(3))
    torch.testing.assert_close(hidden, expected[:, 10:], rtol=0, atol=1e-10)
    for each, saved in zip(state, before, strict=True):
        for name, tensor in each.items():
            assert torch.equal(tensor, saved[name]), name
