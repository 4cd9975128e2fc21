"""Checkpoints of a mesh: bitwise on the same mesh, the same numbers on any other, a plain model in the end."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from genomix.checkpoint.native import load_model, save_model
from genomix.parallel.checkpoint import STATE_FILE, load_sharded, read_numbers, save_sharded, whole_tensors
from genomix.parallel.processes import Ranks
from genomix.parallel.shape import MeshShape
from genomix.parallel.step import ParallelStep, clip_gradients
from genomix.training.optim import parameter_groups
from genomix_data.errors import CheckpointError
from genomix_data.lm_batch import LMBatch
from genomix_data.tokenizers import CharTokenizer
from tests.genomix.parallel.ranks import run_on_ranks
from tests.genomix.parallel.test_step import _rows, batch, small_model, sums

NAME = "all-mixers"
SHARDED = MeshShape(data=1, shard=2)
REPLICATED = MeshShape(data=2, context=2)  # four: a sum of two numbers has no order


class Training:
    """A model under training on a mesh, from a checkpoint or from the start."""

    def __init__(self, ranks: Ranks, checkpoint: Path | None = None) -> None:
        self.ranks = ranks
        self.model = small_model(NAME).float()
        self.step = ParallelStep(self.model, ranks, sums)
        self.optimizer = torch.optim.AdamW(parameter_groups(self.model, 1e-2, 0.1))
        self.done = 0
        if checkpoint is not None:
            state = load_sharded(checkpoint, ("step", "model", "optimizer"), model=self.model)
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.done = state["step"]

    def train(self, n: int) -> list[float]:
        losses = []
        for number in range(self.done, self.done + n):
            whole = batch(number)
            rows = slice(self.ranks.batch_part, None, self.ranks.shape.n_batch_parts)
            own = LMBatch(whole.inputs[rows], whole.targets[rows], _rows(whole.weights, rows))
            local, mean = self.step.loss(own)
            local.backward()  # type: ignore[no-untyped-call]
            clip_gradients(list(self.model.parameters()), 0.5)
            self.optimizer.step()
            self.optimizer.zero_grad()
            losses.append(float(mean))
        self.done += n
        return losses

    def save(self, path: Path) -> None:
        state = {
            "step": self.done,
            "best": float("inf"),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        save_sharded(path, state, self.ranks)


def begin(ranks: Ranks, folder: Path) -> tuple[list[float], dict[str, Tensor]]:
    training = Training(ranks)
    training.train(2)
    training.save(folder / "last")
    weights = whole_tensors(training.model.state_dict())
    losses = training.train(3)
    torch.save(whole_tensors(training.model.state_dict()), folder / f"after{ranks.rank}.pt")
    return losses, weights


def go_on(ranks: Ranks, folder: Path) -> tuple[list[float], dict[str, Tensor]]:
    training = Training(ranks, folder / "last")
    losses = training.train(3)
    return losses, whole_tensors(training.model.state_dict())


@pytest.fixture(scope="module", params=["sharded", "replicated"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    shape = {"sharded": SHARDED, "replicated": REPLICATED}[request.param]
    folder = tmp_path_factory.mktemp("run")
    results = run_on_ranks(shape, begin, folder)
    return shape, folder, results


def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit_on_the_same_mesh(run: Any) -> None:
    shape, folder, results = run
    resumed = run_on_ranks(shape, go_on, folder)
    assert [losses for losses, _ in resumed] == [losses for losses, _ in results]
    expected = torch.load(folder / "after0.pt", weights_only=True)
    for name, weights in resumed[0][1].items():
        assert torch.equal(weights, expected[name]), name


def test_it_goes_on_on_another_mesh_to_rounding(run: Any) -> None:
    shape, folder, results = run
    other = REPLICATED if shape is SHARDED else SHARDED
    resumed = run_on_ranks(other, go_on, folder)
    for losses, _ in resumed:
        assert losses == pytest.approx(results[0][0], rel=1e-4)


def test_one_process_reads_the_whole_and_ships_a_native_model(run: Any, tmp_path: Path) -> None:
    _, folder, results = run
    state = load_sharded(folder / "last", ("step", "model", "optimizer"))
    assert state["step"] == 2
    assert state["best"] == float("inf")
    for name, weights in results[0][1].items():
        assert torch.equal(state["model"][name], weights), name
    model = small_model(NAME).float()
    model.load_state_dict(state["model"])
    save_model(model, tmp_path / "native", tokenizer=CharTokenizer(), provenance={}, card="a model\n")
    loaded = load_model(tmp_path / "native").language_model
    ids = batch(0).inputs
    torch.testing.assert_close(loaded(ids), model(ids), rtol=0, atol=0)
    optimizer = torch.optim.AdamW(parameter_groups(model, 1e-2, 0.1))
    optimizer.load_state_dict(state["optimizer"])
    assert all(float(entry["step"]) == 2 for entry in optimizer.state.values())


def test_damage_is_named(run: Any, tmp_path: Path) -> None:

    _, folder, _ = run
    with pytest.raises(CheckpointError, match=r"is no checkpoint: it has no state\.json"):
        load_sharded(tmp_path / "nothing")
    with pytest.raises(CheckpointError, match="lacks fingerprints"):
        load_sharded(folder / "last", ("step", "fingerprints"))
    damaged = tmp_path / "damaged"
    shutil.copytree(folder / "last", damaged)
    tensors = next(damaged.glob("*.safetensors"))
    whole = tensors.read_bytes()
    tensors.write_bytes(bytes(100) + whole[100:])
    with pytest.raises(CheckpointError, match="damaged: its tensors cannot be read"):
        load_sharded(damaged)
    tensors.write_bytes(whole[:100])
    with pytest.raises(
        CheckpointError, match=r"damaged: .*\.safetensors has 100 bytes, and was written with"
    ):
        read_numbers(damaged)
    tensors.unlink()
    with pytest.raises(CheckpointError, match=r"damaged: .*\.safetensors is missing"):
        read_numbers(damaged)
    (damaged / STATE_FILE).write_text("{")
    with pytest.raises(CheckpointError, match=r"state\.json' is damaged"):
        load_sharded(damaged)
    (damaged / STATE_FILE).write_text(
        json.dumps({"format": 99, "files": {}, "tensors": {}, "state": {"items": []}})
    )
    with pytest.raises(CheckpointError, match="has format 99, this genomix knows 1"):
        load_sharded(damaged)


def killed_while_saving(ranks: Ranks, folder: Path) -> Any:
    model = nn.Linear(2, 2)
    save_sharded(folder / "last", {"step": 1, "model": model.state_dict()}, ranks)
    with pytest.raises(TypeError, match="a set at"):
        save_sharded(folder / "last", {"step": 2, "model": {1, 2}}, ranks)
    return load_sharded(folder / "last")["step"], sorted(path.name for path in folder.glob("last*"))


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(tmp_path: Path) -> None:
    assert run_on_ranks(MeshShape(data=2), killed_while_saving, tmp_path) == [(1, ["last"])] * 2
