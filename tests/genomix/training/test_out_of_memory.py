"""A run that its memory is too small for goes on with less, makes the same steps, or says what it needs."""

import dataclasses
import gc
import signal
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from genomix.checkpoint.native import load_model
from genomix.models.families import build_language_model
from genomix.training.budget import seconds_per_step
from genomix.training.config import PretrainConfig
from genomix.training.machine_memory import is_out_of_memory
from genomix.training.out_of_memory import NotEnoughMemoryError, keeping_less
from genomix.training.pretrain import load_genomes, pretrain
from genomix.training.results import PretrainResult
from genomix.training.screen import Screen
from genomix.training.stages import training_stages
from genomix.training.task import LanguageModelTask
from tests.genomix.training_helpers import letters, pretrain_config, write_fasta

CPU = torch.device("cpu")
TOO_MUCH = 1 << 60
"""Bytes that no machine has: the error that comes of asking for them is the real one."""


@pytest.fixture(scope="module")
def genome(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fasta(tmp_path_factory.mktemp("genome") / "g.fa", chr1=letters(4000, 1))


def without_room(monkeypatch: pytest.MonkeyPatch, is_too_much: Callable[[LanguageModelTask], bool]) -> None:
    """Let the forward pass of a batch ask for more than there is."""
    computed = LanguageModelTask._loss_of_parts

    def loss_of_parts(self: LanguageModelTask, *parts: Tensor) -> Tensor:
        if is_too_much(self):
            torch.empty(TOO_MUCH, dtype=torch.uint8)
        return computed(self, *parts)

    monkeypatch.setattr(LanguageModelTask, "_loss_of_parts", loss_of_parts)


def weights_of(result: PretrainResult) -> dict[str, Tensor]:
    return load_model(result.model_folder).model.state_dict()


def test_a_run_goes_on_with_less_and_makes_the_very_same_steps(
    genome: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = pretrain_config(genome, trainer={"accumulate": 2}, data={"seqlen_warmup": [[4, 16]]})
    expected = pretrain(config, tmp_path / "enough", progress=False)

    # in the second batch of the sixth step, so that half a step is lost
    without_room(monkeypatch, lambda task: task.batch == 11 and task.model.recompute == "auto")
    found = pretrain(config, tmp_path / "short", progress=True)
    said = " ".join(capsys.readouterr().err.split())
    assert "4 windows of 32 tokens do not fit into the memory of this machine" in said
    assert "all blocks are computed again, as with trainer.recompute=block" in said
    assert found.steps == expected.steps
    assert [point.loss for point in found.history] == [point.loss for point in expected.history]
    for name, weight in weights_of(expected).items():
        assert torch.equal(weights_of(found)[name], weight), name


def test_where_nothing_can_be_left_out_the_run_says_what_it_needs(
    genome: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_room(monkeypatch, lambda task: True)
    asked_for = r"of weights and optimizer and about .* for a batch are needed .* asked for \d+ bytes more"
    with pytest.raises(NotEnoughMemoryError, match=asked_for) as told:
        pretrain(pretrain_config(genome), tmp_path / "run", progress=False)
    assert "data.batch_size with trainer.accumulate" in str(told.value)
    settled = pretrain_config(genome, trainer={"recompute": "none"})
    with pytest.raises(NotEnoughMemoryError, match=r"trainer\.recompute=block"):
        pretrain(settled, tmp_path / "settled", progress=False)


def test_measuring_for_a_budget_of_time_goes_on_with_less_too(
    genome: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_room(monkeypatch, lambda task: task.model.recompute == "auto")
    config = pretrain_config(genome, trainer={"max_steps": 1, "max_seconds": 0.3, "validate_every": None})
    assert pretrain(config, tmp_path / "run", progress=False).steps >= 1


def failing(error: Exception) -> Callable[[], Any]:
    def run() -> None:
        raise error

    return run


def test_several_processes_and_other_errors_are_left_alone(genome: Path) -> None:
    config = pretrain_config(genome)
    model = build_language_model(config.architecture)
    model.recompute = "auto"
    with pytest.raises(NotEnoughMemoryError):
        keeping_less(failing(torch.OutOfMemoryError("no")), config, model, CPU, print, n_processes=2)
    with pytest.raises(RuntimeError, match="something else"):
        keeping_less(failing(RuntimeError("something else")), config, model, CPU, print)
    assert model.recompute == "auto"


def test_memory_errors_are_told_from_others() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(TOO_MUCH, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
    later = RuntimeError("the capture is invalid")
    later.__context__ = torch.OutOfMemoryError("CUDA out of memory")
    assert is_out_of_memory(later)
    assert not is_out_of_memory(RuntimeError("shapes differ"))
    assert not is_out_of_memory(None)


def test_nothing_of_what_was_measured_is_left(genome: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler of signals that knows a trainer keeps all that it trained, and its CUDA graphs, for good."""
    tasks: list[weakref.ref[LanguageModelTask]] = []
    made = LanguageModelTask.of_run

    def of_run(config: PretrainConfig, model: Any, **settings: Any) -> LanguageModelTask:
        task = made(config, model, **settings)
        tasks.append(weakref.ref(task))
        return task

    monkeypatch.setattr(LanguageModelTask, "of_run", of_run)
    config = pretrain_config(genome)
    stage = training_stages(load_genomes(config, Screen(False)), config)[-1]
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for _ in range(2):
        seconds_per_step(
            1.0, dataclasses.replace(config), build_language_model(config.architecture), stage, device=CPU
        )
    gc.collect()
    assert [task() for task in tasks] == [None, None]
    assert {number: signal.getsignal(number) for number in handlers} == handlers
