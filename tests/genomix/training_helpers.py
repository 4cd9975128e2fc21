"""Small genomes, tables and configs for the tests of training."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from genomix.models.registry import hyenadna_config
from genomix.training.build import build
from genomix.training.config import ModelConfig, PretrainConfig
from genomix.training.finetune_config import FinetuneConfig


def letters(n: int, seed: int, weights: tuple[float, ...] = (0.25, 0.25, 0.25, 0.25)) -> str:
    return "".join(np.random.default_rng(seed).choice(list("ACGT"), n, p=list(weights)))


def write_fasta(path: Path, **contigs: str) -> Path:
    path.write_text("".join(f">{name}\n{sequence}\n" for name, sequence in contigs.items()))
    return path


def tiny_model(**changes: Any) -> ModelConfig:
    settings = {"d_model": 16, "d_inner": 32, "n_layers": 1, "l_max": 64, "filter_order": 8, "shift": 0.0}
    return ModelConfig(
        name="hyenadna/demo", config=replace(hyenadna_config("hyenadna/demo"), **settings | changes)
    )


def pretrain_config(
    fasta: Path, *, model: ModelConfig | None = None, **sections: dict[str, Any]
) -> PretrainConfig:
    values: dict[str, Any] = {
        "data": {"fasta": [str(fasta)], "seqlen": 32, "batch_size": 4, "holdout": 0.1},
        "trainer": {"max_steps": 12, "log_every": 5, "validate_every": 4, "markov_order": 3, "device": "cpu"},
        "optimizer": {"lr": 3e-3},
        "schedule": {"warmup_fraction": 0.25},
    }
    for name, changes in sections.items():
        values[name] = {**values.get(name, {}), **changes}
    values["model"] = (model or tiny_model()).to_values()
    return build(PretrainConfig, values)


def write_table(path: Path, rows: list[tuple[str, str]], header: str = "sequence,label") -> Path:
    path.write_text("\n".join([header, *(f"{sequence},{label}" for sequence, label in rows)]) + "\n")
    return path


def gc_rows(n: int, seed: int, length: int = 40) -> list[tuple[str, str]]:
    """GC-rich and AT-rich sequences of unequal length: a task that a tiny model learns in a few steps."""
    rng = np.random.default_rng(seed)
    rich, poor = (0.1, 0.4, 0.4, 0.1), (0.35, 0.15, 0.15, 0.35)
    rows = []
    for i in range(n):
        size = int(rng.integers(length // 2, length + 1))
        rows.append((letters(size, seed * 1000 + i, rich if i % 2 else poor), "gc" if i % 2 else "at"))
    return rows


def finetune_config(
    train: Path, test: Path, *, model: ModelConfig | None = None, **sections: dict[str, Any]
) -> FinetuneConfig:
    values: dict[str, Any] = {
        "data": {"train": str(train), "test": str(test), "batch_size": 8, "valid_fraction": 0.25},
        "trainer": {"max_epochs": 4, "log_every": 3, "device": "cpu"},
        "optimizer": {"lr": 1e-2},
        "schedule": {"warmup_fraction": 0.1},
    }
    for name, changes in sections.items():
        values[name] = {**values.get(name, {}), **changes}
    values["model"] = (model or tiny_model()).to_values()
    return build(FinetuneConfig, values)
