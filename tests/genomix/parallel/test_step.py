"""Steps on a mesh are those of one process: loss, gradient norm and weights, for every mesh."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from genomix.models.families import build_language_model
from genomix.models.hyenadna.model import HyenaDNA
from genomix.models.stripedhyena2.model import StripedHyena2
from genomix.parallel.checkpoint import whole_tensors
from genomix.parallel.processes import Ranks
from genomix.parallel.shape import MeshShape
from genomix.parallel.step import ParallelStep, clip_gradients
from genomix.training.lm_loss import next_token_sums
from genomix_data.lm_batch import NO_TARGET, LMBatch
from genomix_kernels.testing import TOLERANCE, relative_rms_error
from tests.genomix.parallel.ranks import run_on_ranks
from tests.genomix.parallel.test_context import MODELS

BATCH, SEQLEN, STEPS, ACCUMULATE = 4, 32, 3, 2

MESHES = {
    "data x context": ("hyena", MeshShape(data=2, context=2)),
    "data x shard": ("hyena", MeshShape(data=2, shard=2)),
    "shard x context": ("all-mixers", MeshShape(data=1, shard=2, context=2)),
    "shards over context": ("all-mixers", MeshShape(data=1, context=2, strategy="fsdp")),
    "data": ("all-mixers", MeshShape(data=2)),
}


def small_model(name: str) -> HyenaDNA | StripedHyena2:
    torch.manual_seed(0)
    return build_language_model(MODELS[name]).double()


def batch(number: int) -> LMBatch:
    """Windows with targets that do not count, more of them on some ranks than on others, and weights."""
    generator = torch.Generator().manual_seed(number)
    ids = torch.randint(0, 12, (BATCH, SEQLEN + 1), generator=generator, dtype=torch.uint8)
    targets = ids[:, 1:].clone()
    targets[0] = NO_TARGET
    targets[1, 5:] = NO_TARGET
    return LMBatch(ids[:, :-1], targets, torch.rand(BATCH, SEQLEN, generator=generator))


def sums(model: Any, part: LMBatch) -> tuple[Tensor, Tensor]:
    # few logits at a time, so that pieces are computed again in the backward pass
    hidden = model.hidden_states(part.inputs)
    return next_token_sums(model, hidden, part.targets, part.weights, logits_at_once=200)


def train(model: HyenaDNA | StripedHyena2, loss_of: Any) -> list[tuple[float, float]]:
    """Return the loss and the gradient's norm of every step."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    curve = []
    for step in range(STEPS):
        losses = []
        for turn in range(ACCUMULATE):
            local, mean = loss_of(batch(step * ACCUMULATE + turn), turn == ACCUMULATE - 1)
            (local / ACCUMULATE).backward()
            losses.append(float(mean))
        norm = float(clip_gradients(list(model.parameters()), 0.5))
        curve.append((sum(losses) / ACCUMULATE, norm))
        optimizer.step()
        optimizer.zero_grad()
    return curve


def on_one_process(name: str) -> tuple[list[tuple[float, float]], dict[str, Tensor]]:
    model = small_model(name)

    def loss_of(whole: LMBatch, is_last: bool) -> tuple[Tensor, Tensor]:
        total, count = sums(model, whole)
        return total / count, (total / count).detach()

    return train(model, loss_of), model.state_dict()


class OnAMesh:
    """On each rank."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, ranks: Ranks, folder: Path) -> tuple[list[tuple[float, float]], dict[str, Tensor]]:
        model = small_model(self.name)
        step = ParallelStep(model, ranks, sums)

        def loss_of(whole: LMBatch, is_last: bool) -> tuple[Tensor, Tensor]:
            rows = slice(ranks.batch_part, None, ranks.shape.n_batch_parts)
            own = LMBatch(whole.inputs[rows], whole.targets[rows], _rows(whole.weights, rows))
            return step.loss(own, is_last=is_last)

        curve = train(model, loss_of)
        return curve, whole_tensors(model.state_dict())


def _rows(x: Tensor | None, rows: slice) -> Tensor | None:
    return None if x is None else x[rows]


@pytest.mark.parametrize("mesh", MESHES)
def test_three_steps_are_those_of_one_process(mesh: str, tmp_path: Path) -> None:
    name, shape = MESHES[mesh]
    expected_curve, expected = on_one_process(name)
    results = run_on_ranks(shape, OnAMesh(name), tmp_path)
    for curve, _ in results:
        assert curve == [pytest.approx(point, rel=TOLERANCE[torch.float32]) for point in expected_curve]
    weights = results[0][1]
    assert weights.keys() == expected.keys()
    for parameter, values in weights.items():
        # the softmax is taken in single precision
        assert relative_rms_error(values, expected[parameter]) < TOLERANCE[torch.float32], parameter


def test_a_batch_without_targets_has_no_loss(tmp_path: Path) -> None:
    for local, mean in run_on_ranks(MeshShape(data=2), without_targets, tmp_path):
        assert (local, mean) == (0.0, 0.0)


def without_targets(ranks: Ranks, folder: Path) -> tuple[float, float]:
    empty = batch(0)._replace(targets=torch.full((BATCH, SEQLEN), NO_TARGET, dtype=torch.uint8), weights=None)
    local, mean = ParallelStep(small_model("hyena"), ranks, sums).loss(empty)
    local.backward()  # type: ignore[no-untyped-call]
    return float(local), float(mean)
