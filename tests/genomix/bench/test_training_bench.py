"""``genomix bench training``: what it measures is what a run does."""

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from genomix.bench import training
from genomix.bench.training import PARTS, measure_training
from genomix.models.families import build_language_model
from genomix.training.build import build, plain
from genomix.training.config import PretrainConfig
from genomix.training.feed import SameBatch, training_batches
from genomix.training.loop import fit
from genomix.training.pretrain import load_genomes
from genomix.training.screen import Screen
from genomix.training.stages import training_stages
from genomix.training.task import LanguageModelTask
from genomix_data.errors import ConfigError
from tests.genomix.training.test_pretrain_options import tiny_sh2
from tests.genomix.training_helpers import letters, pretrain_config, write_fasta


@pytest.fixture(scope="module")
def fasta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fasta(tmp_path_factory.mktemp("genome") / "g.fa", chr1=letters(1500, 1))


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genomix.training.budget.WARM_STEPS", 1)
    monkeypatch.setattr("genomix.training.budget.MEASURED_STEPS", 3)


def measured(config: PretrainConfig, **options: Any) -> tuple[dict[str, Any], list[str]]:
    said = io.StringIO()
    screen = Screen(Console(file=said, width=200))
    options = {"seconds": 0.01, "rounds": 2, "limit": 100.0, **options}
    result = measure_training(config, screen=screen, **options)
    return result, said.getvalue().splitlines()


@pytest.mark.parametrize(
    "sections",
    [
        {"data": {"rc_augment": True}, "trainer": {"ema_decay": 0.9, "accumulate": 2}},
        {"model": tiny_sh2(), "data": {"soft_mask_weight": 0.1, "num_workers": 1}},
    ],
    ids=["hyenadna", "stripedhyena2"],
)
def test_all_parts_are_measured_in_turn_and_told_as_they_are(fasta: Path, sections: dict[str, Any]) -> None:
    result, said = measured(pretrain_config(fasta, **sections))
    rows = {row["part"]: row for row in result["rows"]}
    assert tuple(rows) == PARTS
    assert (result["rounds"], result["L"], result["B"]) == (2, 32, 4)
    assert result["meta"]["genomes"]
    assert rows["step"]["highest_of_step"] == rows["step"]["of_step"] == rows["step"]["of_step_lowest"] == 1.0
    for row in rows.values():
        assert 0 < row["lowest"] <= row["tokens_per_s"] <= row["highest"]
        assert len(row["tokens_per_s_of_rounds"]) == 2
        assert row["highest_of_step"] == pytest.approx(row["highest"] / rows["step"]["highest"], rel=1e-3)
        assert row["peak_gb"] > 0
    # every other round goes backwards
    told = [line.split(": ")[1] for line in said]
    assert told == [*training.WHAT.values(), *reversed(training.WHAT.values())]


def test_the_first_round_is_always_made_and_none_beyond_the_limit(fasta: Path) -> None:
    result, said = measured(pretrain_config(fasta), rounds=5, limit=0.0)
    assert result["rounds"] == 1
    assert said[-1] == "1 of 5 rounds made: the next would pass 0 s"


def test_a_last_small_batch_counts_as_what_it_has(fasta: Path) -> None:
    config = pretrain_config(fasta, data={"batch_size": 7})
    bench = training._Bench(config, load_genomes(config, Screen(False)), 0.01)
    loader = training_batches(config, bench.stage, bench.device).train_dataloader()
    sizes = [
        len(batch.inputs) for _, batch in zip(range(3 * bench.stage.batches_per_epoch), loader, strict=False)
    ]
    assert len(set(sizes)) == 2, "the windows do not fill their last batch"
    assert [bench._windows_in(number) for number in range(len(sizes))] == sizes


def test_the_step_alone_is_the_step_of_the_loop(fasta: Path) -> None:
    config = pretrain_config(fasta, trainer={"accumulate": 2})
    corpus = load_genomes(config, Screen(False))
    losses = []
    for part in ("step", "loop"):
        torch.manual_seed(1)
        bench = training._Bench(config, corpus, 0.0)
        bench.measure(part)
        assert bench.task.step == 4
        losses.append((float(bench.task.loss), float(bench.task.grad_norm), bench.task.lr))
    assert losses[0] == losses[1]


def test_the_same_batch_is_given_as_often_as_asked(fasta: Path) -> None:
    config = pretrain_config(fasta)
    stage = training_stages(load_genomes(config, Screen(False)), config)[-1]
    cpu = torch.device("cpu")
    batch = next(iter(training_batches(config, stage, cpu).train_dataloader()))
    torch.manual_seed(1)
    task = LanguageModelTask.of_run(config, build_language_model(config.architecture))
    losses: list[float] = []
    fit(
        task,
        SameBatch(batch, 5),
        trainer=config.trainer,
        device=cpu,
        on_step=lambda loss: losses.append(float(loss)),
    )
    assert len(losses) == 5
    assert losses[-1] < losses[0]


def test_a_checkpoint_brings_its_tokenizer(fasta: Path) -> None:
    values = plain(pretrain_config(fasta, data={"seqlen": 16}))
    del values["model"]
    values["init"] = {"checkpoint": "human-2m"}
    result, _ = measured(build(PretrainConfig, values), rounds=1)
    assert result["meta"]["config"]["data"]["tokenizer"] == "char"
    assert result["model"] == "sh2/7m"
    assert 1.9e6 < result["n_parameters"] < 2e6


def test_several_processes_are_refused(fasta: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="measures one process"):
        measured(pretrain_config(fasta, parallel={"context": 2}))
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="measures one process"):
        measured(pretrain_config(fasta))
