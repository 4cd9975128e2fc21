"""Pretraining with the settings of its windows."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from genomix.models.registry import build_model
from genomix.training.build import build
from genomix.training.config import PretrainConfig
from genomix.training.fasta_config import FastaDataConfig
from genomix.training.pretrain import pretrain
from genomix.training.results import RunInterruptedError
from genomix.training.stages import training_windows
from genomix_data.corpus import load_corpus
from genomix_data.errors import ConfigError
from genomix_data.holdout import HeldOut
from genomix_data.lm_batch import NO_TARGET
from genomix_data.tokenizers import CharTokenizer
from tests.genomix.training_helpers import letters, pretrain_config, tiny_model, write_fasta


def genomes(folder: Path) -> list[str]:
    a, b = letters(900, 1), letters(500, 2)
    one = write_fasta(
        folder / "a.fa", chr1=a[:100] + a[100:500].lower() + "NN" + a[500:], chr2=letters(300, 3)
    )
    two = write_fasta(folder / "b.fa", chr1=b[:200] + "N" * 20 + b[200:])
    return [str(one), str(two)]


EVERYTHING: list[dict[str, Any]] = [
    {"weights": [1, 3], "n_policy": "max:0.1", "soft_mask_weight": 0.1, "rc_augment": True},
    {"weights": [2, 1], "packing": True, "soft_mask_weight": 0.5, "soft_mask_loss": "normalized_weighted"},
]


@pytest.mark.parametrize("data", EVERYTHING, ids=["tiles", "packed"])
def test_a_run_with_all_settings_resumes_bit_for_bit(tmp_path: Path, data: dict[str, Any]) -> None:
    class Interrupting(Console):
        def print(self, *objects: object, **options: Any) -> None:
            if objects and str(objects[0]).split()[:2] == ["step", "4"]:
                signal.raise_signal(signal.SIGINT)

    config = pretrain_config(
        Path("a.fa"),
        model=tiny_model(embed_dropout=0.2),
        data={"fasta": genomes(tmp_path), **data},
        trainer={"max_steps": 8},
    )
    whole = pretrain(config, tmp_path / "whole", progress=False)
    with pytest.raises(RunInterruptedError):
        pretrain(config, tmp_path / "run", progress=Interrupting(quiet=True))
    resumed = pretrain(config, tmp_path / "run", resume=True, progress=False)
    assert [p.loss for p in resumed.history] == [p.loss for p in whole.history]
    assert resumed.held_out == whole.held_out
    assert whole.held_out.n_masked > 0
    result = json.loads((whole.folder / "result.json").read_text())
    assert result["n_windows"] == whole.n_windows
    assert result["n_windows_left_out"] == whole.n_windows_left_out == (1 if "n_policy" in data else 0)
    assert result["held_out"]["n_soft_masked"] == whole.held_out.n_masked
    assert result["held_out"]["bits_per_base_soft_masked"] == whole.held_out.bits_per_base_masked


def test_the_first_loss_is_weighted(tmp_path: Path) -> None:
    config = pretrain_config(
        Path("a.fa"),
        model=tiny_model(embed_dropout=0.0),
        data={"fasta": genomes(tmp_path), "soft_mask_weight": 0.1, "batch_size": 16},
        trainer={"max_steps": 1, "log_every": 1},
    )
    result = pretrain(config, tmp_path / "run", progress=False)
    corpus = load_corpus(config.data.fasta, CharTokenizer(), HeldOut(fraction=0.1), longest_n_run=32)
    windows = training_windows(corpus, config)
    batch = windows.collate(windows.read(range(16)))
    assert batch.weights is not None
    assert 0 < int((batch.weights < 1).sum()) < batch.weights.numel()
    with torch.random.fork_rng():
        torch.manual_seed(config.trainer.seed)
        fresh = build_model(config.model.config)
    with torch.inference_mode():
        log_p = fresh(batch.inputs).log_softmax(-1)
    counted = batch.targets != NO_TARGET
    ce = -log_p.gather(2, torch.where(counted, batch.targets, 0).long()[..., None])[..., 0]
    expected = (batch.weights * ce)[counted].sum() / counted.sum()
    assert result.history[0].loss == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"n_policy": "most"}, "data.n_policy: 'most' is no policy for N"),
        ({"weights": [1, 2]}, r"data.weights is .* for 1 files"),
        ({"weights": [0]}, "each must be above 0"),
        ({"soft_mask_weight": 1.5}, "data.soft_mask_weight is 1.5"),
        ({"soft_mask_loss": "weigthed"}, "did you mean 'weighted'"),
        ({"packing": True, "add_eos": True}, "data.packing ends each document"),
        ({"packing": True, "n_policy": "skip"}, "data.n_policy leaves out windows"),
    ],
)
def test_settings_that_do_not_fit_are_refused(data: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(PretrainConfig, {"data": {"fasta": ["a.fa"], **data}})


def test_one_weight_a_file() -> None:
    config = FastaDataConfig(fasta=(Path("a.fa"), Path("b.fa")), weights=(1.0, 2.0))
    assert config.weights == (1.0, 2.0)
