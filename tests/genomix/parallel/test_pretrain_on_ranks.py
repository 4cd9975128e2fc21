"""`pretrain` on a mesh makes the run of one process: its log, its validation, its model, its result."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from genomix.checkpoint.native import load_model
from genomix.models.stripedhyena2.config import StripedHyena2Config
from genomix.parallel.processes import Ranks
from genomix.parallel.shape import MeshShape
from genomix.training.config import ModelConfig, PretrainConfig
from genomix.training.pretrain import pretrain
from genomix.training.results import PretrainResult
from genomix_data.errors import ConfigError
from tests.genomix.parallel.ranks import run_on_ranks
from tests.genomix.training_helpers import letters, pretrain_config, tiny_model, write_fasta

HYBRID = ModelConfig(
    name="sh2/7m",
    config=StripedHyena2Config(
        pattern="SMLA",
        d_model=16,
        n_heads=2,
        d_inner=32,
        context_len=32,
        vocab_size=16,
        n_groups=4,
        mr_filter_len=20,
        gelu_blocks=None,
    ),
)


def settings(
    folder: Path, axes: dict[str, Any], *, hybrid: bool = False, max_steps: int = 6
) -> PretrainConfig:
    fasta = folder / "g.fa"
    if not fasta.exists():
        write_fasta(fasta, chr1=letters(1040, 1) + "N" * 20, chr2=letters(401, 3).lower())
    model = HYBRID if hybrid else tiny_model(embed_dropout=0.0)
    return pretrain_config(
        fasta,
        model=model,
        data={"tokenizer": "char", "soft_mask_weight": 0.5},
        trainer={
            "max_steps": max_steps,
            "validate_every": 3,
            "checkpoint_every": 4,
            "log_every": 1,
            "accumulate": 2,
            "ema_decay": 0.9,
        },
        parallel=axes,
    )


def essence(result: PretrainResult) -> dict[str, Any]:
    return {
        "losses": [point.loss for point in result.history],
        "validation": [point.bits_per_base for point in result.validation],
        "held out": result.held_out.bits_per_base,
        "bases": result.held_out.n_bases,
        "best step": result.best_step,
    }


class Pretrain:
    """On each rank."""

    def __init__(self, config: PretrainConfig, **options: Any) -> None:
        self.config, self.options = config, options

    def __call__(self, ranks: Ranks, folder: Path) -> dict[str, Any]:
        return essence(pretrain(self.config, folder / "run", progress=False, **self.options))


SHARDED = MeshShape(data=1, shard=2)
AXES = {"data": 1, "shard": 2}


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """A run of a hybrid of all mixers on two ranks that share its parameters: where, and what each rank returned."""
    folder = tmp_path_factory.mktemp("sharded")
    return folder, run_on_ranks(SHARDED, Pretrain(settings(folder, AXES, hybrid=True)), folder)


def check_same(found: list[dict[str, Any]], folder: Path, *, hybrid: bool) -> None:
    """Check that a run on a mesh is that of one process."""
    alone = pretrain(settings(folder, {}, hybrid=hybrid), folder / "alone", progress=False)
    expected = essence(alone)
    for result in found:
        assert result == found[0], "every rank returns the result of the first"
    assert found[0]["bases"] == expected["bases"]
    for name in ("losses", "validation", "held out"):
        assert found[0][name] == pytest.approx(expected[name], rel=1e-4), name
    loaded = load_model(folder / "run" / "model").language_model
    ids = torch.randint(7, 11, (2, 32), generator=torch.Generator().manual_seed(0))
    ours, theirs = loaded(ids), load_model(alone.model_folder).language_model(ids)
    torch.testing.assert_close(ours, theirs, rtol=1e-2, atol=1e-3)
    names = sorted(path.name for path in (folder / "run").iterdir())
    assert names == sorted(path.name for path in alone.folder.iterdir())
    assert (
        json.loads((folder / "run" / "result.json").read_text())["held_out"]["n_bases"] == expected["bases"]
    )


def test_shared_parameters_make_the_run_of_one_process(sharded: Any) -> None:
    folder, found = sharded
    check_same(found, folder, hybrid=True)


def test_shared_windows_make_the_run_of_one_process(tmp_path: Path) -> None:
    shape, axes = MeshShape(data=1, context=2), {"context": 2}
    check_same(run_on_ranks(shape, Pretrain(settings(tmp_path, axes)), tmp_path), tmp_path, hybrid=False)


def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(sharded: Any, tmp_path: Path) -> None:
    _, whole = sharded
    # with the schedule of the long run, so that the short one makes its first steps
    short = _scheduled(settings(tmp_path, AXES, hybrid=True, max_steps=4), 6)
    run_on_ranks(SHARDED, Pretrain(short), tmp_path)
    long = _scheduled(settings(tmp_path, AXES, hybrid=True, max_steps=6), 6)
    resumed = run_on_ranks(SHARDED, Pretrain(long, resume=True), tmp_path)
    assert resumed[0]["losses"] == whole[0]["losses"]
    # one process goes on where a mesh has stopped, and the other way round
    more = _scheduled(settings(tmp_path, {}, hybrid=True, max_steps=7), 6)
    alone = pretrain(more, tmp_path / "run", resume=True, progress=False)
    assert [point.loss for point in alone.history][:6] == whole[0]["losses"]
    longest = _scheduled(settings(tmp_path, AXES, hybrid=True, max_steps=8), 6)
    again = run_on_ranks(SHARDED, Pretrain(longest, resume=True), tmp_path)
    assert again[0]["losses"][:7] == [point.loss for point in alone.history]
    assert len(again[0]["losses"]) == 8


def _scheduled(config: PretrainConfig, total_steps: int) -> PretrainConfig:
    return dataclasses.replace(config, schedule=dataclasses.replace(config.schedule, total_steps=total_steps))


def refused(ranks: Ranks, folder: Path) -> None:
    for axes, changes, message in (
        ({"context": 2}, {"data": {"seqlen": 31}}, "data.seqlen=31 cannot be split evenly"),
        ({"data": 2}, {"data": {"batch_size": 3}}, "batch_size=3 cannot be shared evenly"),
        ({"data": 2}, {"trainer": {"max_seconds": 5.0}}, "max_seconds is measured on one process"),
        ({"data": 3}, {}, "needs 3 processes, and there are 2"),
    ):
        config = pretrain_config(folder / "g.fa", parallel=axes, **changes)
        with pytest.raises(ConfigError, match=message):
            pretrain(config, folder / "refused", progress=False)
    assert not (folder / "refused").exists()


def test_what_cannot_be_shared_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    settings(tmp_path, {})
    run_on_ranks(MeshShape(data=2), refused, tmp_path)
