"""Metrics of a fine-tuned classifier on a labelled table. Needs neither Lightning nor Hydra."""

import os
from dataclasses import dataclass
from typing import Any

import torch

from genomix.inference.predict import (
    BATCH_SIZE,
    Predictions,
    TooLong,
    class_names_of,
    load_classifier,
    predict_sequences,
)
from genomix.training.metrics import ClassificationMetrics, classification_metrics
from genomix_data.tables import SequenceTable, read_table


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What a classifier does on a table.

    Args:
        metrics: Over the whole table.
        predictions: Class probabilities, in the order of the table.
        table: The sequences and their labels.
        model_sha256: The weights that were evaluated.
    """

    metrics: ClassificationMetrics
    predictions: Predictions
    table: SequenceTable
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
    batch_size: int = BATCH_SIZE,
    device: torch.device | str = "cpu",
    too_long: TooLong | None = None,
) -> Evaluation:
    """Return the metrics of a classifier on a CSV or TSV file, labels taken by the names of the model's classes.

    Raises:
        CheckpointError: if the folder is no classifier.
        InputFileError: if the table cannot be used, or has a label that the model does not know.
        SequenceTooLongError: if a sequence is longer than the model takes (see ``too_long`` of `predict`).
    """
    loaded = load_classifier(model_folder, device=device)
    labelled = read_table(
        table,
        sequence_column=sequence_column,
        label_column=label_column,
        class_names=class_names_of(loaded),
    )
    predictions = predict_sequences(
        loaded,
        labelled.sequences,
        batch_size=batch_size,
        device=device,
        too_long=too_long,
        source=labelled.source,
    )
    metrics = classification_metrics(predictions.probabilities, labelled.labels, labelled.class_names)
    return Evaluation(metrics=metrics, predictions=predictions, table=labelled, model_sha256=loaded.sha256)
