"""Both families, windows that grow, averaged weights, budgets of time, early ends: each resumes bit for bit."""

import importlib
import importlib.util
import json
import math
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from genomix.checkpoint.native import load_model
from genomix.models.registry import get_model
from genomix.models.stripedhyena2.config import StripedHyena2Config
from genomix.models.stripedhyena2.model import StripedHyena2
from genomix.training import pretrain_loop
from genomix.training.build import build
from genomix.training.config import ModelConfig, PretrainConfig
from genomix.training.optim import parameter_groups
from genomix.training.pretrain import pretrain
from genomix.training.results import PretrainResult, RunInterruptedError
from genomix.training.run_folder import RunFolder
from genomix.training.stages import training_stages
from genomix_data.corpus import load_corpus
from genomix_data.errors import ConfigError, InputFileError
from genomix_data.holdout import HeldOut
from genomix_data.tokenizers import ByteTokenizer
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
    text = letters(900, 1)
    return write_fasta(
        tmp_path_factory.mktemp("genome") / "g.fa", chr1=text[:300] + text[300:500].lower() + text[500:]
    )


def tiny_sh2(**changes: Any) -> ModelConfig:
    row = get_model("sh2/7m").config
    assert isinstance(row, StripedHyena2Config)
    settings: dict[str, Any] = {"pattern": "SMLA", "d_model": 16, "n_heads": 2, "d_inner": 24, "n_groups": 4}
    return ModelConfig(name="sh2/7m", config=replace(row, **settings | changes))


def interrupted(config: PretrainConfig, folder: Path, *steps: int) -> PretrainResult:
    """Run with an interruption after each of the steps."""
    for number, step in enumerate(steps):
        with pytest.raises(RunInterruptedError):
            pretrain(config, folder, resume=number > 0, progress=Interrupting(step))
    return pretrain(config, folder, resume=True, progress=False)


def assert_same_run(a: PretrainResult, b: PretrainResult) -> None:
    assert [(p.step, p.loss, p.lr) for p in a.history] == [(p.step, p.loss, p.lr) for p in b.history]
    assert a.validation == b.validation
    assert a.held_out == b.held_out
    assert (a.steps, a.tokens, a.epochs) == (b.steps, b.tokens, b.epochs)
    weights = [(result.model_folder / "model.safetensors").read_bytes() for result in (a, b)]
    assert weights[0] == weights[1]


def test_stripedhyena2_is_pretrained_and_its_checkpoint_loads(fasta: Path, tmp_path: Path) -> None:
    config = pretrain_config(
        fasta,
        model=tiny_sh2(),
        data={"soft_mask_weight": 0.1},
        trainer={"ema_decay": 0.9, "recompute": "block"},
        schedule={"name": "wsd"},
    )
    whole = pretrain(config, tmp_path / "whole", progress=False)
    assert whole.history[0].loss < math.log(512) + 1, "from the first rows of 512 equal ones"
    assert whole.history[-1].loss < whole.history[0].loss - 0.5
    loaded = load_model(whole.model_folder, expect="language_model")
    assert isinstance(loaded.language_model, StripedHyena2)
    assert loaded.tokenizer == ByteTokenizer(case="upper")
    assert loaded.config.context_len == config.data.seqlen, "it says what it was trained at"
    assert whole.held_out.bits_per_base_masked is not None
    assert_same_run(interrupted(config, tmp_path / "run", 4, 8), whole)
    kept = replace(config, trainer=replace(config.trainer, recompute="none"))
    assert_same_run(pretrain(kept, tmp_path / "kept", progress=False), whole)


def test_a_small_vocabulary_goes_with_the_tokenizer_of_characters(fasta: Path, tmp_path: Path) -> None:
    small = tiny_sh2(vocab_size=16)
    config = pretrain_config(fasta, model=small, data={"tokenizer": "char"}, trainer={"max_steps": 1})
    result = pretrain(config, tmp_path / "run", progress=False)
    assert load_model(result.model_folder, expect="language_model").tokenizer.name == "char"
    with pytest.raises(ConfigError, match="byte tokenizer has 512 ids and the model 16 rows"):
        pretrain_config(fasta, model=small)


def test_vectors_poles_and_residues_of_stripedhyena2_do_not_decay() -> None:
    config = tiny_sh2().config
    assert isinstance(config, StripedHyena2Config)
    model = StripedHyena2(config)
    decaying, fixed = parameter_groups(model, lr=1e-3, weight_decay=0.1)
    assert (decaying["weight_decay"], fixed["weight_decay"]) == (0.1, 0.0)
    assert {name for name in fixed["names"] if model.get_parameter(name).ndim > 1} == {
        "blocks.2.mixer.filter.log_poles",
        "blocks.2.mixer.filter.residues",
    }
    assert all(model.get_parameter(name).ndim > 1 for name in decaying["names"])
    assert len(decaying["names"]) + len(fixed["names"]) == len(list(model.parameters()))


def test_the_betas_are_those_of_the_family_unless_given(fasta: Path) -> None:
    striped, hyena = pretrain_config(fasta, model=tiny_sh2()), pretrain_config(fasta)
    assert striped.optimizer.betas_for(striped.model.config) == (0.9, 0.95)
    assert hyena.optimizer.betas_for(hyena.model.config) == (0.9, 0.999)
    given = pretrain_config(fasta, model=tiny_sh2(), optimizer={"betas": [0.8, 0.9]})
    assert given.optimizer.betas_for(given.model.config) == (0.8, 0.9)


def test_windows_that_grow_hold_as_many_tokens_a_step_and_resume_in_any_stage(
    fasta: Path, tmp_path: Path
) -> None:
    config = pretrain_config(
        fasta,
        model=tiny_model(embed_dropout=0.2),
        data={"seqlen_warmup": [[3, 8], [5, 16]], "rc_augment": True},
        trainer={"accumulate": 2, "validate_every": 2, "ema_decay": 0.9},
    )
    corpus = load_corpus(config.data.fasta, config.tokenizer, HeldOut(fraction=0.1), longest_n_run=32)
    stages = training_stages(corpus, config)
    assert [(s.first_step, s.stop(12), s.windows.seqlen, s.batch_size) for s in stages] == [
        (0, 3, 8, 16),
        (3, 8, 16, 8),
        (8, 12, 32, 4),
    ]
    assert {s.tokens_per_batch for s in stages} == {128}
    whole = pretrain(config, tmp_path / "whole", progress=False)
    assert whole.tokens == 12 * 2 * 128
    assert_same_run(interrupted(config, tmp_path / "run", 2, 6, 8, 10), whole)
    plain = pretrain(
        replace(config, data=replace(config.data, seqlen_warmup=None)), tmp_path / "plain", progress=False
    )
    assert plain.history[0].loss != whole.history[0].loss


def test_the_averaged_weights_are_what_is_validated_scored_and_saved(fasta: Path, tmp_path: Path) -> None:
    config = pretrain_config(fasta, model=tiny_model(embed_dropout=0.0))
    averaged = replace(config, trainer=replace(config.trainer, ema_decay=0.95))
    plain = pretrain(config, tmp_path / "plain", progress=False)
    result = pretrain(averaged, tmp_path / "averaged", progress=False)
    assert [p.loss for p in plain.history] == [p.loss for p in result.history], "training itself is the same"
    assert plain.validation != result.validation
    last = torch.load(result.folder / "checkpoints" / "last.ckpt", weights_only=True)
    best = torch.load(result.folder / "checkpoints" / "best.ckpt", weights_only=True)
    assert best["step"] == last["step"] == 12
    for name, tensor in last["average"].items():
        assert torch.equal(best["model"][name], tensor)
        assert not torch.equal(last["model"][name], tensor)


def test_a_budget_of_time_becomes_a_number_of_steps(
    fasta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretrain_loop, "OVERTIME", 1e9)  # other tests may slow this machine down
    config = pretrain_config(
        fasta,
        model=tiny_model(embed_dropout=0.2, d_model=32),
        data={"batch_size": 16},
        trainer={"max_seconds": 2.0, "validate_every": 5, "max_steps": 3},
    )
    lines: list[str] = []

    class Listening(Interrupting):
        def print(self, *objects: object, **options: Any) -> None:
            lines.extend(map(str, objects))
            super().print(*objects, **options)

    with pytest.raises(RunInterruptedError) as caught:
        pretrain(config, tmp_path / "run", progress=Listening(5))
    planned = caught.value.max_steps
    assert planned > 5
    assert any(f"{planned:,} steps fit into 2 s" in line for line in lines)
    assert json.loads(json.dumps((tmp_path / "run" / "config.yaml").read_text())).count("max_seconds: 2.0")
    resumed = pretrain(config, tmp_path / "run", resume=True, progress=False)
    assert resumed.steps == planned
    fixed = replace(config, trainer=replace(config.trainer, max_seconds=None, max_steps=planned))
    assert_same_run(pretrain(fixed, tmp_path / "fixed", progress=False), resumed)
    with pytest.raises(ConfigError, match=r"is complete .* Raise trainer.max_seconds"):
        pretrain(config, tmp_path / "run", resume=True, progress=False)
    more = replace(config, trainer=replace(config.trainer, max_seconds=resumed.train_seconds * 1.5))
    assert pretrain(more, tmp_path / "run", resume=True, progress=False).steps > planned


def test_a_run_that_has_become_slower_ends_when_its_time_is_over(
    fasta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretrain_loop, "OVERTIME", 0.0)
    config = pretrain_config(fasta, trainer={"max_seconds": 0.5, "log_every": 2})
    result = pretrain(config, tmp_path / "run", progress=False)
    assert result.steps == 2
    assert "trainer.max_seconds=0.5 being over" in result.ended
    assert result.validation, "it is validated and saved all the same"
    (tmp_path / "run" / "result.json").unlink()  # as if killed while the test was scored
    again = pretrain(config, tmp_path / "run", resume=True, progress=False)
    assert (again.steps, again.ended) == (2, result.ended)
    with pytest.raises(ConfigError, match=r"is complete .* Raise trainer.max_seconds"):
        pretrain(config, tmp_path / "run", resume=True, progress=False)


def test_a_budget_that_holds_no_step_is_refused(fasta: Path, tmp_path: Path) -> None:
    config = pretrain_config(fasta, trainer={"max_seconds": 1e-6})
    with pytest.raises(ConfigError, match=r"trainer.max_seconds=1e-06 is too short: a step takes"):
        pretrain(config, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("empty", ["valid", "test"])
def test_held_out_bases_that_are_all_unknown_are_told_before_anything_is_trained(
    tmp_path: Path, empty: str
) -> None:
    contigs = {name: "N" * 20 if name == empty else letters(200, 3) for name in ("train", "valid", "test")}
    genome = write_fasta(tmp_path / "g.fa", **contigs)
    config = pretrain_config(genome, data={"valid_contigs": ["valid"], "test_contigs": ["test"]})
    with pytest.raises(InputFileError, match=rf"the {empty} split has no A, C, G or T to score"):
        pretrain(config, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_training_ends_when_nothing_gets_better(fasta: Path, tmp_path: Path) -> None:
    # A rate at which nothing is learnt but noise.
    config = pretrain_config(
        fasta,
        trainer={"max_steps": 400, "validate_every": 1, "patience": 3, "log_every": 1},
        optimizer={"lr": 0.3},
    )
    result = pretrain(config, tmp_path / "run", progress=False)
    bits = [point.bits_per_base for point in result.validation]
    assert result.steps == len(bits) < 400
    assert result.ended == "after 3 validations without a new best"
    assert result.best_step == result.steps - 3
    assert min(bits) == bits[-4]
    with pytest.raises(ConfigError, match=r"is complete .* Raise trainer.patience"):
        pretrain(config, tmp_path / "run", resume=True, progress=False)
    (tmp_path / "run" / "result.json").unlink()  # as if killed while the test was scored
    assert_same_run(pretrain(config, tmp_path / "run", resume=True, progress=False), result)
    longer = replace(config, trainer=replace(config.trainer, patience=5))
    on = pretrain(longer, tmp_path / "run", resume=True, progress=False)
    assert [p.bits_per_base for p in on.validation][: len(bits)] == bits
    assert on.steps > result.steps


def test_loading_processes_change_nothing(fasta: Path, tmp_path: Path) -> None:
    config = pretrain_config(fasta, trainer={"max_steps": 6})
    alone = pretrain(config, tmp_path / "alone", progress=False)
    helped = replace(config, data=replace(config.data, num_workers=2))
    assert_same_run(pretrain(helped, tmp_path / "helped", progress=False), alone)


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is not None, reason="tensorboard is installed")
def test_tensorboard_that_is_not_installed_is_named(fasta: Path, tmp_path: Path) -> None:
    config = pretrain_config(fasta, trainer={"tensorboard": True})
    with pytest.raises(ConfigError, match=r"pip install 'genomix-fm\[tensorboard\]'"):
        pretrain(config, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="tensorboard is not installed")
def test_tensorboard_has_the_numbers_of_the_table(fasta: Path, tmp_path: Path) -> None:
    accumulator: Any = importlib.import_module("tensorboard.backend.event_processing.event_accumulator")
    config = pretrain_config(fasta, trainer={"tensorboard": True})
    result = interrupted(config, tmp_path / "run", 4)
    events = accumulator.EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    found = [(e.step, e.value) for e in events.Scalars("loss")]
    assert [step for step, _ in found] == [point.step for point in result.history]
    assert [value for _, value in found] == pytest.approx([point.loss for point in result.history])
    valid = [(e.step, e.value) for e in events.Scalars("valid_bits_per_base")]
    assert [step for step, _ in valid] == [4, 8, 12]


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"data": {"seqlen_warmup": [[0, 16]]}}, "a stage of 0 steps with 16 tokens"),
        ({"data": {"seqlen_warmup": [[5, 64]]}}, "at most data.seqlen=32"),
        ({"data": {"seqlen_warmup": [[5, 24]]}}, "a divisor of the 128 tokens of a batch"),
        ({"data": {"seqlen_warmup": [[5]]}}, "must be a list of 2 values"),
        ({"data": {"num_workers": -1}}, "data.num_workers is -1"),
        ({"trainer": {"max_seconds": 0}}, "trainer.max_seconds is 0"),
        ({"trainer": {"patience": 0}}, "trainer.patience is 0"),
        ({"trainer": {"ema_decay": 1}}, "trainer.ema_decay is 1"),
        ({"trainer": {"recompute": "all"}}, "one of auto, none, mixer, mlp, block"),
        ({"schedule": {"name": "wsd", "decay_fraction": 0.9, "warmup_fraction": 0.2}}, "must not exceed 1"),
    ],
)
def test_settings_that_do_not_fit_are_refused(section: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        pretrain_config(Path("a.fa"), **section)


def test_what_older_runs_wrote_can_be_read_again() -> None:
    """A config.yaml from before these settings has none of them, and its betas in numbers."""
    values = {"data": {"fasta": ["a.fa"], "num_workers": 0}, "optimizer": {"betas": [0.9, 0.999]}}
    assert build(PretrainConfig, values).optimizer.betas == (0.9, 0.999)


def test_a_new_run_in_the_place_of_another_begins_its_tensorboard_anew(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.prepare("a: 1")
    folder.tensorboard.mkdir()
    (folder.tensorboard / "events.out").touch()
    folder.prepare("a: 2")
    assert not folder.tensorboard.exists()
