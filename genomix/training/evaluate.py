"""Metrics of a fine-tuned model on labelled sequences. Needs neither Lightning nor Hydra."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

import torch

from genomix.checkpoint.native import LoadedModel
from genomix.inference.predict import (
    Inputs,
    Predictions,
    TooLong,
    class_names_of,
    load_head_model,
    predict_inputs,
)
from genomix.training.config import ModelConfig
from genomix.training.finetune_config import FinetuneConfig, HeadConfig, TableDataConfig
from genomix.training.objectives import objective_of
from genomix.training.results import M
from genomix_data.tables.bases import BaseTable, read_base_table
from genomix_data.tables.joined import ExampleTable
from genomix_data.tables.pairs import PairTable, read_pair_table
from genomix_data.tables.table import read_table
from genomix_data.tables.targets import read_target_table


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation(Generic[M]):
    """What a model does on a table.

    Args:
        metrics: Over the whole table.
        predictions: What it says, in the order of the table.
        table: The sequences and their labels.
        model_sha256: The weights that were evaluated.
    """

    metrics: M
    predictions: Predictions
    table: ExampleTable
    model_sha256: str

    def to_dict(self) -> dict[str, Any]:
        """Return the evaluation as JSON holds it."""
        return {
            **self.metrics.to_dict(),
            "table": self.table.source,
            "n_truncated": self.predictions.n_truncated,
            "model_sha256": self.model_sha256,
        }


def evaluate(
    model_folder: str | os.PathLike[str],
    table: str | os.PathLike[str],
    *,
    sequence_column: str = "sequence",
    label_column: str = "label",
    batch_size: int | None = None,
    device: torch.device | str = "cpu",
    too_long: TooLong | None = None,
    both_strands: bool | None = None,
) -> Evaluation[Any]:
    """Return the metrics of a model with any head on a labelled file.

    Labels are taken by the names of the model's classes; labels and targets of a model of several are its columns.

    Raises:
        CheckpointError: if the folder is no model with a head.
        InputFileError: if the table cannot be used, or has a label that the model does not know.
        SequenceTooLongError: if a sequence is longer than the model takes (see ``too_long`` of `predict`).
    """
    loaded = load_head_model(model_folder, device=device)
    labelled = _read(loaded, table, sequence_column, label_column)
    alts = labelled.alts if isinstance(labelled, PairTable) else None
    predictions = predict_inputs(
        loaded,
        Inputs(labelled.sequences, labelled.source, alts=alts),
        batch_size=batch_size,
        device=device,
        too_long=too_long,
        both_strands=both_strands,
    )
    if isinstance(labelled, BaseTable):
        labelled = labelled.cut(predictions.lengths)
    # What the head is trained for says how it is measured; nothing else of the config is looked at.
    data = TableDataConfig(train=Path(table), test=Path(table))
    config = FinetuneConfig(data=data, model=ModelConfig(), head=HeadConfig(kind=loaded.head_model.kind))
    objective = objective_of(config, labelled)
    metrics = objective.metrics(predictions.probabilities, objective.truth(labelled))
    return Evaluation(metrics=metrics, predictions=predictions, table=labelled, model_sha256=loaded.sha256)


def _read(
    loaded: LoadedModel, table: str | os.PathLike[str], sequence_column: str, label_column: str
) -> ExampleTable:
    names, kind = class_names_of(loaded), loaded.head_model.kind
    if kind in ("multilabel", "regressor"):
        return read_target_table(
            table,
            "multi-label" if kind == "multilabel" else "regression",
            sequence_column=sequence_column,
            target_columns=names,
        )
    if kind == "token_classifier":
        return read_base_table(
            table, sequence_column=sequence_column, label_column=label_column, class_names=names
        )
    if kind == "variant_classifier":
        return read_pair_table(table, label_column=label_column, class_names=names)
    return read_table(table, sequence_column=sequence_column, label_column=label_column, class_names=names)
