"""A sequence over ranks: outputs, loss and every gradient are those of one process."""

import gc
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from genomix.models.families import AnyConfig, build_language_model
from genomix.models.hyenadna.config import HyenaDNAConfig
from genomix.models.hyenadna.model import HyenaDNA
from genomix.models.stripedhyena2.config import StripedHyena2Config
from genomix.models.stripedhyena2.model import StripedHyena2
from genomix.operators.recompute import Recompute
from genomix.parallel.collectives import exchange, gather
from genomix.parallel.halo import TokensBefore, with_tokens_before
from genomix.parallel.parallelize import parallelize
from genomix.parallel.processes import Ranks
from genomix.parallel.shape import MeshShape
from genomix_data.errors import ConfigError, SequenceTooLongError
from genomix_kernels.testing import TOLERANCE, relative_rms_error
from tests.genomix.parallel.ranks import run_on_ranks

SEQLEN = 64


def hyenadna(**changes: Any) -> HyenaDNAConfig:
    sizes = {"d_model": 8, "n_layers": 2, "d_inner": 16, "l_max": 80, "filter_order": 8, "embed_dropout": 0.0}
    return HyenaDNAConfig(**sizes | changes)


def stripedhyena2(pattern: str, **changes: Any) -> StripedHyena2Config:
    sizes = {
        "d_model": 24,
        "n_heads": 4,
        "d_inner": 16,
        "context_len": SEQLEN,
        "vocab_size": 16,
        "n_groups": 4,
        "mr_filter_len": 40,
    }
    return StripedHyena2Config(pattern=pattern, **sizes | changes)


MODELS: dict[str, AnyConfig] = {
    "hyena": hyenadna(),
    "hyena-one-short-tap": hyenadna(n_layers=1, short_filter_order=1),
    "hyena-short-filter-longer-than-a-part": hyenadna(n_layers=1, short_filter_order=20),
    "hyena-one-channel-each": hyenadna(n_layers=1, d_model=4),
    "hyena-20-taps": hyenadna(n_layers=1, l_max=40, filter_len=20, extended_len=80),
    "hyena-order-3": hyenadna(n_layers=1, order=3, normalized=True, lr_pos_emb=1e-3),
    "hyena-standalone-order-4": hyenadna(n_layers=1, order=4, channel_layout="standalone"),
    "hyena-whose-filter-ends-early": hyenadna(n_layers=1, filter_len=20, l_max=40, extended_len=80),
    "se": stripedhyena2("S"),
    "se-with-skip-in-thirds": stripedhyena2("S", se_has_skip=True, is_interleaved=False),
    "mr-longer-than-a-part": stripedhyena2("M"),
    "li": stripedhyena2("LL"),
    "li-rounded-once": stripedhyena2("L", li_rounds_before_skip=False, is_interleaved=False),
    "attention": stripedhyena2("A"),
    "attention-odd-heads": stripedhyena2("A", n_heads=3, has_qkv_bias=True),
    "attention-fewer-heads-than-ranks": stripedhyena2("A", n_heads=1),
    "all-mixers": stripedhyena2("SMLA"),
}


def build(config: AnyConfig, dtype: torch.dtype) -> HyenaDNA | StripedHyena2:
    torch.manual_seed(0)
    model = build_language_model(config)
    for parameter in model.parameters():
        if float(parameter.detach().abs().max()) < 1e-3:  # zeros would hide a wrong gradient
            nn.init.normal_(parameter, std=0.3)
    return model.to(dtype)


def tokens() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, 12, (2, SEQLEN + 1), generator=generator)
    return ids[:, :-1], ids[:, 1:]


def loss_and_gradients(model: nn.Module, ids: Tensor, targets: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    loss = F.cross_entropy(model(ids).flatten(0, 1), targets.flatten(), reduction="sum")
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach(), {
        name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in model.named_parameters()
    }


def part_of_loss(
    ranks: Ranks, config: AnyConfig, dtype: torch.dtype, recompute: Recompute = "none"
) -> tuple[Tensor, dict[str, Tensor]]:
    """The whole loss and its gradients, from this rank's part of the sequence."""
    model = build(config, dtype)
    names = list(model.state_dict())
    parallelize(model, ranks.mesh)
    assert list(model.state_dict()) == names, "parameters keep their names"
    model.recompute = recompute
    loss, gradients = loss_and_gradients(model, *(ranks.part_of(x) for x in tokens()))
    for tensor in (loss, *gradients.values()):
        dist.all_reduce(tensor)
    return loss, gradients


def every_model(ranks: Ranks, folder: Path) -> dict[str, tuple[Tensor, dict[str, Tensor]]]:
    return {name: part_of_loss(ranks, config, torch.float64) for name, config in MODELS.items()}


@pytest.fixture(scope="module", params=[2, 4])
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """What each of two, or of four, ranks found for every model."""
    folder = tmp_path_factory.mktemp("context")
    return run_on_ranks(MeshShape(data=1, context=request.param), every_model, folder)


@pytest.mark.parametrize("name", MODELS)
def test_loss_and_every_gradient_are_those_of_one_process(name: str, shared: list[Any]) -> None:
    expected_loss, expected = loss_and_gradients(build(MODELS[name], torch.float64), *tokens())
    for results in shared:
        loss, gradients = results[name]
        assert relative_rms_error(loss, expected_loss) < TOLERANCE[torch.float64]
        assert gradients.keys() == expected.keys()
        for parameter, gradient in gradients.items():
            assert relative_rms_error(gradient, expected[parameter]) < TOLERANCE[torch.float64], parameter
            assert gradient.abs().max() > 0, f"{parameter} has no gradient to compare"


def in_single_precision(ranks: Ranks, folder: Path) -> dict[str, list[tuple[Tensor, dict[str, Tensor]]]]:
    policies: tuple[Recompute, ...] = ("none", "block", "mixer")
    return {
        name: [part_of_loss(ranks, MODELS[name], torch.float32, policy) for policy in policies]
        for name in ("hyena", "all-mixers")
    }


def test_blocks_computed_again_make_the_same_exchanges(tmp_path: Path) -> None:
    (found, _) = run_on_ranks(MeshShape(data=1, context=2), in_single_precision, tmp_path)
    for name, (kept, *again) in found.items():
        expected, _ = loss_and_gradients(build(MODELS[name], torch.float64), *tokens())
        assert relative_rms_error(kept[0], expected) < TOLERANCE[torch.float32]
        for loss, gradients in again:
            assert torch.equal(loss, kept[0])
            for parameter, gradient in gradients.items():
                assert torch.equal(gradient, kept[1][parameter]), parameter


def exchanges(ranks: Ranks, folder: Path) -> Any:
    context = ranks.context
    whole = torch.arange(2 * 12 * 20, dtype=torch.float64).reshape(2, 12, 20)
    x = whole.chunk(context.size, dim=1)[context.rank].requires_grad_()
    there = exchange(x, context, split=2, join=1)
    assert torch.equal(there, whole.chunk(context.size, dim=2)[context.rank])
    assert torch.equal(exchange(there, context, split=1, join=2), x)
    assert torch.equal(gather(x, context), torch.stack(whole.chunk(context.size, dim=1)))
    for dtype in (torch.float32, torch.bfloat16, torch.uint8):
        for seqlen in (4 * 16, 4 * 16 + 4):  # rows of whole words of 16 bytes, and others
            values = torch.arange(2 * 12 * seqlen).remainder(251).to(dtype).reshape(2, 12, seqlen)
            part = values.chunk(context.size, dim=2)[context.rank].contiguous()
            there = exchange(part, context, split=1, join=2)
            assert torch.equal(there, values.chunk(context.size, dim=1)[context.rank])
            assert torch.equal(exchange(there, context, split=2, join=1), part)
    found = {}
    for n in (0, 1, 3, 4, 7, 100):
        extended, before = with_tokens_before(x, n, context)
        first = context.rank * x.shape[1]
        assert before == min(n, first)
        assert torch.equal(extended, whole[:, first - before : first + x.shape[1]])
        weights = torch.arange(whole.shape[1], dtype=torch.float64)[first - before : first + x.shape[1]]
        (gradient,) = torch.autograd.grad((extended * weights[:, None]).sum(), x)
        found[n] = gradient[0, :, 0]
        underway = TokensBefore(x, n, context)
        apart = torch.cat([underway.finish(), underway.part], dim=1)
        assert torch.equal(apart, extended)
        assert torch.equal(torch.autograd.grad((apart * weights[:, None]).sum(), x)[0], gradient)
    return found


def test_tokens_before_a_part_come_with_their_gradients(tmp_path: Path) -> None:
    size, part = 4, 3
    results = run_on_ranks(MeshShape(data=1, context=size), exchanges, tmp_path)
    for n in results[0]:
        seen = torch.zeros(size * part)
        for rank in range(size):
            first = rank * part
            seen[max(first - n, 0) : first + part] += 1
        expected = seen * torch.arange(size * part)
        assert torch.equal(torch.cat([result[n] for result in results]), expected.double()), n


MAY_BE_ABOUT_TO_GO = 8
"""Tensors: two more steps of two blocks that make three exchanges each would leave more, if each left one."""


def n_tensors(at_most: int) -> int:
    """How many tensors there are; the threads of a process group let go of the last ones a moment after a step."""
    for _ in range(100):
        found = sum(type(each) is Tensor for each in gc.get_objects())
        if found <= at_most:
            break
        time.sleep(0.05)
    return found


def tensors_left(ranks: Ranks, folder: Path) -> dict[str, list[int]]:
    """How many tensors there are after one, two and three steps without the garbage collector."""
    found: dict[str, list[int]] = {}
    for policy in ("none", "block"):
        model = build(MODELS["hyena"], torch.float32)
        parallelize(model, ranks.mesh)
        model.recompute = policy
        gc.collect()
        gc.disable()
        try:
            found[policy] = []
            for _ in range(3):
                loss_and_gradients(model, *(ranks.part_of(x) for x in tokens()))
                model.zero_grad()
                at_most = min(found[policy], default=0) + MAY_BE_ABOUT_TO_GO
                found[policy].append(n_tensors(at_most))
        finally:
            gc.enable()
    return found


def test_steps_leave_nothing_behind(tmp_path: Path) -> None:
    """An exchange that held its own graph would keep what it received for ever, and with `block` all of the block."""
    for found in run_on_ranks(MeshShape(data=1, context=2), tensors_left, tmp_path):
        for policy, (first, _, third) in found.items():
            assert third <= first + MAY_BE_ABOUT_TO_GO, policy


def too_long(ranks: Ranks, folder: Path) -> Any:
    model = build(hyenadna(l_max=SEQLEN - 1), torch.float32)
    parallelize(model, ranks.mesh)
    with pytest.raises(
        SequenceTooLongError, match="64 tokens but the filters of this model end at l_max = 63"
    ):
        model(ranks.part_of(tokens()[0]))
    odd = build(hyenadna(d_model=9), torch.float32)
    with pytest.raises(ConfigError, match="9 channels of a Hyena operator cannot be dealt out to 2 ranks"):
        parallelize(odd, ranks.mesh)
    with pytest.raises(ValueError, match="3 tokens cannot be split evenly over 2 ranks"):
        ranks.part_of(torch.zeros(1, 3))


def test_every_rank_refuses_what_cannot_be_shared(tmp_path: Path) -> None:
    run_on_ranks(MeshShape(data=1, context=2), too_long, tmp_path)
