"""Class probabilities of sequences; those of one sequence do not depend on which others are in its batch."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TextIO, cast

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray

from genomix.checkpoint.native import LoadedModel, load_model
from genomix.heads.classifier import SequenceClassifier
from genomix_data.errors import CheckpointError
from genomix_data.table_dataset import encode_sequences, pad_right
from genomix_data.tables import read_sequences
from genomix_data.tokenizers import CharTokenizer

TooLong = Literal["error", "truncate"]
BATCH_SIZE = 64


@dataclass(frozen=True, slots=True)
class Predictions:
    """Class probabilities in the order of the table.

    Args:
        probabilities: ``(n, C)``, rows sum to 1.
        class_names: Names of the columns.
        n_truncated: Sequences of which only the first bases were looked at.
        model_sha256: The weights that predicted.
    """

    probabilities: NDArray[np.float64]
    class_names: tuple[str, ...]
    n_truncated: int
    model_sha256: str

    @property
    def predicted(self) -> list[str]:
        """Name of the most probable class of each sequence."""
        return [self.class_names[column] for column in self.probabilities.argmax(axis=1)]


def predict(
    model_folder: str | os.PathLike[str],
    table: str | os.PathLike[str],
    *,
    sequence_column: str = "sequence",
    batch_size: int = BATCH_SIZE,
    device: torch.device | str = "cpu",
    too_long: TooLong | None = None,
) -> Predictions:
    """Return the class probabilities of every sequence of a CSV or TSV file; labels are not needed.

    Args:
        model_folder: A classifier that ``genomix finetune`` wrote.
        table: The file.
        sequence_column: Name of the column of sequences.
        batch_size: Sequences at once.
        device: Where to compute.
        too_long: What to do with sequences longer than the model takes; by default as in fine-tuning.

    Raises:
        CheckpointError: if the folder is no classifier.
        InputFileError: if the table cannot be used.
        SequenceTooLongError: if a sequence is too long.
    """
    loaded = load_classifier(model_folder, device=device)
    sequences = read_sequences(table, sequence_column=sequence_column)
    return predict_sequences(
        loaded, sequences, batch_size=batch_size, device=device, too_long=too_long, source=str(table)
    )


def predict_sequences(
    loaded: LoadedModel,
    sequences: Sequence[str],
    *,
    batch_size: int = BATCH_SIZE,
    device: torch.device | str = "cpu",
    too_long: TooLong | None = None,
    source: str = "the sequences",
) -> Predictions:
    """Return the class probabilities of sequences by a loaded classifier; see `predict`."""
    tokenizer = char_tokenizer(loaded)
    ids, n_truncated = encode_sequences(
        sequences,
        tokenizer,
        loaded.classifier.config.l_max,
        too_long=too_long or trained_too_long(loaded),
        source=source,
    )
    probabilities = predict_probabilities(
        loaded.classifier, ids, tokenizer.pad_id, batch_size=batch_size, device=device
    )
    return Predictions(probabilities, class_names_of(loaded), n_truncated, loaded.sha256)


@torch.inference_mode()
def predict_probabilities(
    model: SequenceClassifier,
    ids: Sequence[NDArray[np.uint8]],
    pad_id: int,
    *,
    batch_size: int = BATCH_SIZE,
    device: torch.device | str = "cpu",
) -> Float[NDArray[np.float64], "n C"]:
    """Return the class probabilities of tokenized sequences, in their order; softmax in fp64.

    Sequences of like length go together, so that little padding is computed.

    Args:
        model: On ``device``; left in the mode (train or eval) that it was in.
        ids: Token ids of each sequence.
        pad_id: Id that fills batches up.
        batch_size: Sequences at once.
        device: Where to compute.
    """
    was_training = model.training
    model.eval()
    result = np.empty((len(ids), model.n_classes))
    order = np.argsort([len(row) for row in ids], kind="stable")
    for first in range(0, len(order), batch_size):
        rows = order[first : first + batch_size]
        batch, lengths = pad_right([ids[row] for row in rows], pad_id)
        logits = model(batch.to(device), lengths.to(device))
        result[rows] = logits.double().softmax(dim=1).cpu().numpy()
    model.train(was_training)
    return result


def load_classifier(folder: str | os.PathLike[str], *, device: torch.device | str = "cpu") -> LoadedModel:
    """Return a classifier that ``genomix finetune`` wrote, with the names of its classes.

    Raises:
        CheckpointError: if the folder holds something else.
    """
    loaded = load_model(folder, device=device, expect="classifier")
    names = class_names_of(loaded)
    if len(names) != loaded.classifier.n_classes:
        raise CheckpointError(
            f"{str(loaded.path)!r} names {len(names)} classes but has {loaded.classifier.n_classes} outputs. "
            "Restore its config.json."
        )
    return loaded


def class_names_of(loaded: LoadedModel) -> tuple[str, ...]:
    """Return the names of a classifier's classes, in the order of its outputs; numbers where it has none."""
    head = loaded.head_info or {}
    names = head.get("class_names") or [str(number) for number in range(loaded.classifier.n_classes)]
    return tuple(str(name) for name in names)


def trained_too_long(loaded: LoadedModel) -> TooLong:
    """Return what fine-tuning did with sequences longer than the model takes."""
    return "truncate" if (loaded.head_info or {}).get("too_long") == "truncate" else "error"


def char_tokenizer(loaded: LoadedModel) -> CharTokenizer:
    """Return the tokenizer of a HyenaDNA checkpoint."""
    return cast(CharTokenizer, loaded.tokenizer)


def write_predictions(
    out: TextIO,
    predictions: Predictions,
    *,
    labels: Sequence[str] | None = None,
    near_copies: Sequence[bool] | NDArray[np.bool_] | None = None,
) -> None:
    """Write predictions as TSV: row (1-based), true label where known, prediction, and one probability a class.

    Args:
        out: Where to write.
        predictions: What to write.
        labels: True label of each sequence.
        near_copies: Whether each sequence has a near copy in training; a last column says yes or no.
    """
    header = ["row", *(["label"] if labels is not None else []), "predicted"]
    last = ["near_copy_in_training"] if near_copies is not None else []
    out.write("\t".join([*header, *(f"p_{name}" for name in predictions.class_names), *last]) + "\n")
    for row, (name, values) in enumerate(zip(predictions.predicted, predictions.probabilities, strict=True)):
        cells = [str(row + 1), *([labels[row]] if labels is not None else []), name]
        cells += [f"{value:.6g}" for value in values]
        if near_copies is not None:
            cells.append("yes" if near_copies[row] else "no")
        out.write("\t".join(cells) + "\n")


def write_predictions_file(
    path: Path,
    predictions: Predictions,
    *,
    labels: Sequence[str] | None = None,
    near_copies: Sequence[bool] | NDArray[np.bool_] | None = None,
) -> None:
    """Write predictions to a plain TSV file at ``path``."""
    with path.open("w", encoding="utf-8", newline="\n") as out:
        write_predictions(out, predictions, labels=labels, near_copies=near_copies)
