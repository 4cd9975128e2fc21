import csv
import json
import logging
import math
import shutil
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from rich.console import Console

from genomix.checkpoint.native import load_model
from genomix.models.registry import build_model
from genomix.training.build import plain
from genomix.training.config import PretrainConfig
from genomix.training.held_out import bits_per_base
from genomix.training.loop import fit, own_random_state
from genomix.training.pretrain import pretrain
from genomix.training.results import PretrainResult, RunInterruptedError
from genomix.training.run_folder import save_checkpoint
from genomix.training.schedule import cosine_with_warmup
from genomix.training.task import LanguageModelTask
from genomix_data.corpus import load_corpus
from genomix_data.datamodules import OrderedData
from genomix_data.errors import CheckpointError, ConfigError, InputFileError
from genomix_data.holdout import HeldOut
from genomix_data.lm_dataset import HeldOutWindows, TrainingWindows
from genomix_data.tokenizers import CharTokenizer
from tests.genomix.training_helpers import letters, pretrain_config, tiny_model, write_fasta


class Interrupting(Console):
    """A console that presses Ctrl-C when the run says that a step was validated."""

    def __init__(self, at_step: int) -> None:
        super().__init__(stderr=True, quiet=True)
        self.at_step = at_step

    def print(self, *objects: object, **options: Any) -> None:
        if objects and str(objects[0]).split()[:2] == ["step", str(self.at_step)]:
            signal.raise_signal(signal.SIGINT)


@pytest.fixture(scope="module")
def fasta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("genome")
    return write_fasta(
        folder / "g.fa", chr1=letters(900, 1) + "N" * 40 + letters(100, 2), chr2=letters(400, 3)
    )


@pytest.fixture(scope="module")
def config(fasta: Path) -> PretrainConfig:
    # Everything that is random is on: dropout, jitter, strands; steps cut epochs and log rows in the middle.
    return pretrain_config(
        fasta,
        model=tiny_model(embed_dropout=0.2, resid_dropout=0.1),
        data={"rc_augment": True},
        trainer={"accumulate": 2},
    )


@pytest.fixture(scope="module")
def whole(config: PretrainConfig, tmp_path_factory: pytest.TempPathFactory) -> PretrainResult:
    return pretrain(config, tmp_path_factory.mktemp("whole") / "run", command=["genomix"], progress=False)


def stop_after(config: PretrainConfig, folder: Path, step: int) -> RunInterruptedError:
    with pytest.raises(RunInterruptedError, match=f"stopped at step {step} of 12") as caught:
        pretrain(config, folder, progress=Interrupting(step))
    return caught.value


def test_an_interrupted_and_resumed_run_is_bitwise_the_uninterrupted_one(
    config: PretrainConfig, whole: PretrainResult, tmp_path: Path
) -> None:
    stopped = stop_after(config, tmp_path / "run", 4)
    assert (stopped.step, stopped.signal_number) == (4, signal.SIGINT)
    assert not (tmp_path / "run" / "model").exists()
    assert not (tmp_path / "run" / "result.json").exists()
    with pytest.raises(RunInterruptedError):
        pretrain(config, tmp_path / "run", resume=True, progress=Interrupting(8))
    resumed = pretrain(config, tmp_path / "run", resume=True, progress=False)

    def weights(result: PretrainResult) -> bytes:
        return (result.model_folder / "model.safetensors").read_bytes()

    def log(result: PretrainResult) -> list[tuple[int, float, float]]:
        return [(point.step, point.loss, point.lr) for point in result.history]

    assert weights(resumed) == weights(whole)
    assert log(resumed) == log(whole)
    assert resumed.validation == whole.validation
    assert resumed.held_out == whole.held_out
    assert resumed.best_step == whole.best_step
    last = [torch.load(r.folder / "checkpoints" / "last.ckpt", weights_only=True) for r in (whole, resumed)]
    for name, tensor in last[0]["model"].items():
        assert torch.equal(tensor, last[1]["model"][name]), name


def test_ctrl_c_belongs_to_the_caller_again_afterwards(config: PretrainConfig, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    stop_after(config, tmp_path / "run", 4)
    assert signal.getsignal(signal.SIGINT) is before


def test_rows_after_the_checkpoint_are_dropped_on_resume(
    config: PretrainConfig, whole: PretrainResult, tmp_path: Path
) -> None:
    """A run that was killed has logged beyond its last checkpoint."""
    stop_after(config, tmp_path / "run", 4)
    with (tmp_path / "run" / "metrics.csv").open("a") as handle:
        handle.write("5,0.1,9.9,9.9,0.1,1,1,\n")
    resumed = pretrain(config, tmp_path / "run", resume=True, progress=False)
    assert [p.loss for p in resumed.history] == [p.loss for p in whole.history]


def test_the_run_folder_tells_the_whole_story(config: PretrainConfig, whole: PretrainResult) -> None:
    names = sorted(path.name for path in whole.folder.iterdir())
    assert names == ["checkpoints", "config.yaml", "metrics.csv", "model", "result.json"]
    assert yaml.safe_load((whole.folder / "config.yaml").read_text()) == plain(config)
    result = json.loads((whole.folder / "result.json").read_text())
    assert result["held_out"]["bits_per_base"] == whole.held_out.bits_per_base
    assert result["markov"]["test_bits_per_base_by_order"] == list(whole.markov.test)
    assert result["markov"]["both_strands"] is True, "the model sees both strands, so the baseline does"
    assert len(result["markov"]["test_bits_per_base_by_order"]) == 4
    assert result["provenance"]["seed"] == config.trainer.seed
    assert result["provenance"]["genomes"], "checksums of the FASTA"
    with (whole.folder / "metrics.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [int(row["step"]) for row in rows if row["loss"]] == [5, 10, 12]
    assert [int(row["step"]) for row in rows if row["valid_bits_per_base"]] == [4, 8, 12]
    assert "step" in (whole.model_folder / "README.md").read_text()


def test_the_native_checkpoint_scores_the_held_out_bases_as_reported(
    config: PretrainConfig, whole: PretrainResult
) -> None:
    loaded = load_model(whole.model_folder, expect="language_model")
    assert loaded.config == config.model.config
    corpus = load_corpus(config.data.fasta, CharTokenizer(), HeldOut(fraction=0.1), longest_n_run=32)
    windows = HeldOutWindows(corpus, "test", config.data.seqlen)
    assert bits_per_base(loaded.language_model, windows, batch_size=4) == whole.held_out
    assert whole.held_out.n_bases == 103 + 39, "one in ten of 1,040 and 400, but for the first of each"


def test_the_kept_weights_are_the_best_on_validation(whole: PretrainResult) -> None:
    best = min(whole.validation, key=lambda point: point.bits_per_base)
    assert whole.best_step == best.step


def test_the_learning_rate_is_that_of_the_schedule(whole: PretrainResult) -> None:
    for point in whole.history:
        expected = cosine_with_warmup(point.step - 1, lr=3e-3, total_steps=12, warmup_steps=3, min_lr=3e-4)
        assert point.lr == pytest.approx(expected, rel=1e-12)


def test_the_first_loss_is_the_cross_entropy_of_the_fresh_model(fasta: Path, tmp_path: Path) -> None:
    model = tiny_model(embed_dropout=0.0)
    config = pretrain_config(fasta, model=model, trainer={"max_steps": 1, "log_every": 1})
    result = pretrain(config, tmp_path / "run", progress=False)
    corpus = load_corpus([fasta], CharTokenizer(), HeldOut(fraction=0.1), longest_n_run=32)
    windows = TrainingWindows(corpus, 32, seed=config.trainer.seed)
    batch = windows.collate([windows[number] for number in range(4)])
    with own_random_state(config.trainer.seed):
        fresh = build_model(model.config)
    with torch.inference_mode():
        logits = fresh(batch.inputs).flatten(0, 1)
    expected = torch.nn.functional.cross_entropy(logits, batch.targets.flatten())
    assert result.history[0].loss == pytest.approx(float(expected), rel=1e-6)


def _note(losses: list[float], loss: torch.Tensor) -> None:
    losses.append(float(loss))


def test_two_half_batches_make_the_step_of_a_whole_one(tmp_path: Path) -> None:
    # Without N, so that half batches weigh the same.
    fasta = write_fasta(tmp_path / "g.fa", chr1=letters(1040, 1), chr2=letters(400, 3))
    corpus = load_corpus([fasta], CharTokenizer(), HeldOut(fraction=0.1), longest_n_run=32)
    config = pretrain_config(fasta, model=tiny_model(embed_dropout=0.0))
    weights = []
    for batch_size, accumulate in ((8, 1), (4, 2)):
        windows = TrainingWindows(corpus, 32, seed=0)
        torch.manual_seed(0)
        task = LanguageModelTask(
            build_model(config.model.config),
            optimizer=config.optimizer,
            schedule=config.schedule,
            total_steps=3,
            accumulate=accumulate,
            clip=1.0,
            seed=0,
        )
        losses: list[float] = []
        fit(
            task,
            OrderedData(windows, batch_size=batch_size, stop=3 * accumulate),
            trainer=config.trainer,
            device=torch.device("cpu"),
            on_step=partial(_note, losses),
        )
        assert task.step == len(losses) == 3
        weights.append((losses, task.model.state_dict()))
    assert weights[0][0] == pytest.approx(weights[1][0], rel=1e-4)
    for name, tensor in weights[0][1].items():
        torch.testing.assert_close(tensor, weights[1][1][name], rtol=1e-3, atol=1e-5, msg=name)


def test_a_repeat_is_learnt(tmp_path: Path) -> None:
    fasta = write_fasta(tmp_path / "repeat.fa", chr1="ACCGTTAG" * 250)
    config = pretrain_config(
        fasta,
        model=tiny_model(embed_dropout=0.0),
        trainer={"max_steps": 60, "validate_every": 60, "log_every": 60},
        optimizer={"lr": 1e-2},
    )
    result = pretrain(config, tmp_path / "run", progress=False)
    assert result.held_out.bits_per_base < 0.7 < result.markov.test[0] - 1
    assert math.isclose(result.markov.test[0], 2.0, abs_tol=0.01)


def test_lightning_says_nothing(
    config: PretrainConfig,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO):
        pretrain(
            replace(config, trainer=replace(config.trainer, max_steps=2)), tmp_path / "run", progress=False
        )
    out, err = capfd.readouterr()
    assert out == ""
    assert err == ""
    assert [record for record in caplog.records if record.name.startswith("lightning")] == []


def test_the_callers_random_state_is_left_alone(config: PretrainConfig, tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    pretrain(replace(config, trainer=replace(config.trainer, max_steps=1)), tmp_path / "run", progress=False)
    assert torch.equal(torch.rand(3), expected)


def test_a_folder_with_something_in_it_is_not_written_to(
    config: PretrainConfig, whole: PretrainResult, tmp_path: Path
) -> None:
    with pytest.raises(
        InputFileError, match=r"not empty: continue it with --resume, replace it with --overwrite"
    ):
        pretrain(config, whole.folder, progress=False)
    (tmp_path / "letters.txt").write_text("mine")
    with pytest.raises(InputFileError, match="not empty: replace it"):
        pretrain(config, tmp_path, progress=False)
    with pytest.raises(InputFileError, match="holds files, but no run of genomix"):
        pretrain(config, tmp_path, overwrite=True, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["letters.txt"]
    with pytest.raises(InputFileError, match="is a file"):
        pretrain(config, tmp_path / "letters.txt", progress=False)


def test_an_earlier_run_can_be_overwritten(
    config: PretrainConfig, whole: PretrainResult, tmp_path: Path
) -> None:
    shutil.copytree(whole.folder, tmp_path / "run")
    short = replace(config, trainer=replace(config.trainer, max_steps=1))
    result = pretrain(short, tmp_path / "run", overwrite=True, progress=False)
    assert [point.step for point in result.history] == [1]


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {"optimizer": {"lr": 1e-4}},
            r"begun with optimizer.lr=0.003, and --resume cannot change it to 0.0001",
        ),
        ({"data": {"batch_size": 8}}, "begun with data.batch_size=4"),
        ({"trainer": {"seed": 1}}, "begun with trainer.seed=2222"),
    ],
)
def test_a_resumed_run_cannot_become_another(
    fasta: Path, whole: PretrainResult, sections: dict[str, dict[str, Any]], message: str
) -> None:
    changed = {name: dict(values) for name, values in sections.items()}
    changed.setdefault("data", {})["rc_augment"] = True
    changed.setdefault("trainer", {})["accumulate"] = 2
    other = pretrain_config(fasta, model=tiny_model(embed_dropout=0.2, resid_dropout=0.1), **changed)
    with pytest.raises(ConfigError, match=message):
        pretrain(other, whole.folder, resume=True, progress=False)


def test_a_complete_run_says_so(config: PretrainConfig, whole: PretrainResult) -> None:
    with pytest.raises(ConfigError, match=r"is complete \(12 steps\). Raise trainer.max_steps"):
        pretrain(config, whole.folder, resume=True, progress=False)


def test_a_run_cannot_go_on_with_other_genomes(config: PretrainConfig, tmp_path: Path, fasta: Path) -> None:
    copy = tmp_path / "g.fa"
    shutil.copy(fasta, copy)
    mine = replace(config, data=replace(config.data, fasta=(copy,)))
    stop_after(mine, tmp_path / "run", 4)
    write_fasta(copy, chr1=letters(1040, 9), chr2=letters(400, 3))
    for index in tmp_path.glob("g.fa.*"):
        index.unlink()
    with pytest.raises(InputFileError, match="not those that this run began with"):
        pretrain(mine, tmp_path / "run", resume=True, progress=False)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "damaged or no checkpoint"),
        (b"PK\x03\x04 half", "damaged or no checkpoint"),
        (None, "does not exist"),
    ],
)
def test_a_damaged_checkpoint_is_named(
    config: PretrainConfig, tmp_path: Path, content: bytes | None, message: str
) -> None:
    stop_after(config, tmp_path / "run", 4)
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    last.unlink() if content is None else last.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        pretrain(config, tmp_path / "run", resume=True, progress=False)


def test_a_checkpoint_of_something_else_is_refused(config: PretrainConfig, tmp_path: Path) -> None:
    stop_after(config, tmp_path / "run", 4)
    save_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt", {"step": 3})
    with pytest.raises(CheckpointError, match="not a checkpoint of a pretraining run"):
        pretrain(config, tmp_path / "run", resume=True, progress=False)


def test_nothing_to_resume_is_said(config: PretrainConfig, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no run to continue"):
        pretrain(config, tmp_path / "run", resume=True, progress=False)


def test_a_missing_fasta_leaves_nothing_behind(config: PretrainConfig, tmp_path: Path) -> None:
    wrong = replace(config, data=replace(config.data, fasta=(Path("nowhere.fa"),)))
    with pytest.raises(InputFileError, match=r"nowhere\.fa"):
        pretrain(wrong, tmp_path / "run", progress=False)
    assert list(tmp_path.iterdir()) == []


def test_a_loss_that_is_no_number_stops_the_run(fasta: Path, tmp_path: Path) -> None:
    wild = pretrain_config(fasta, optimizer={"lr": 1e30}, trainer={"clip": None, "log_every": 1})
    with pytest.raises(ConfigError, match=r"the loss is (nan|inf) at step \d+ .*Lower optimizer.lr"):
        pretrain(wild, tmp_path / "run", progress=False)
