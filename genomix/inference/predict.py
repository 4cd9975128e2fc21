"""What a fine-tuned model says of sequences; what it says of one does not depend on which others are in its batch."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from genomix.checkpoint.native import LoadedModel, load_model
from genomix.heads.build import HeadModel
from genomix.heads.sequence_model import HeadKind
from genomix.inference.examples import Examples, Slots
from genomix.inference.head_scores import all_scores
from genomix.inference.regions import sequences_of
from genomix_data.errors import CheckpointError, InputFileError
from genomix_data.table_dataset import encode_sequences
from genomix_data.tables import read_sequences
from genomix_data.tables.pairs import read_pair_table
from genomix_data.tables.parquet import is_parquet
from genomix_data.text_input import open_text, require_file
from genomix_data.tokenizers import Tokenizer

TooLong = Literal["error", "truncate"]


@dataclass(frozen=True, slots=True)
class Inputs:
    """Sequences to predict.

    Args:
        sequences: Letters; of variants, those with REF.
        source: Where they are from, for messages.
        alts: Of variants, the letters with ALT.
        places: Columns that say what each row is, in the order of an output table: ``name``, or ``chrom``, ``start``,
            ``end`` and ``strand``.
    """

    sequences: Sequence[str]
    source: str = "the sequences"
    alts: Sequence[str] | None = None
    places: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Predictions:
    """What a model says, in the order of the input.

    Args:
        probabilities: ``(n, C)``: of classes, rows sum to 1; of labels, each on its own; of a regression, the numbers.
            Of single bases, all bases of all sequences one after the other.
        class_names: Names of the columns.
        n_truncated: Sequences of which only the first bases were looked at.
        model_sha256: The weights that predicted.
        kind: What the columns mean.
        lengths: Bases of each sequence that were looked at.
        places: As in `Inputs`.
    """

    probabilities: NDArray[np.float64]
    class_names: tuple[str, ...]
    n_truncated: int
    model_sha256: str
    kind: HeadKind = "classifier"
    lengths: tuple[int, ...] = ()
    places: dict[str, list[str]] = field(default_factory=dict)

    @property
    def predicted(self) -> list[str]:
        """Name of the most probable class of each row."""
        return [self.class_names[column] for column in self.probabilities.argmax(axis=1)]


def predict(
    model_folder: str | os.PathLike[str],
    table: str | os.PathLike[str] | None,
    *,
    sequence_column: str = "sequence",
    bed: str | os.PathLike[str] | None = None,
    genome: str | os.PathLike[str] | None = None,
    batch_size: int | None = None,
    device: torch.device | str = "cpu",
    too_long: TooLong | None = None,
    both_strands: bool | None = None,
) -> Predictions:
    """Return what a model says of every sequence of a file; labels are not needed.

    Args:
        model_folder: A model that ``genomix finetune`` wrote, with any head.
        table: CSV, TSV or Parquet with a column of sequences (of variants: ``ref_sequence`` and ``alt_sequence``), or a
            FASTA; None where a BED file is given.
        sequence_column: Name of the column of sequences.
        bed: Regions of ``genome`` instead of a table.
        genome: FASTA of the regions.
        batch_size: Sequences at once; by memory if None.
        device: Where to compute.
        too_long: What to do with sequences longer than the model takes; by default as in fine-tuning.
        both_strands: Average both strands; by default as in fine-tuning.

    Raises:
        CheckpointError: if the folder is no model with a head.
        InputFileError: if the input cannot be used.
        SequenceTooLongError: if a sequence is too long.
    """
    loaded = load_head_model(model_folder, device=device)
    inputs = read_inputs(
        table,
        sequence_column=sequence_column,
        bed=bed,
        genome=genome,
        is_pairs=loaded.head_model.kind == "variant_classifier",
    )
    return predict_inputs(
        loaded,
        inputs,
        batch_size=batch_size,
        device=device,
        too_long=too_long,
        both_strands=both_strands,
    )


def read_inputs(
    table: str | os.PathLike[str] | None,
    *,
    sequence_column: str = "sequence",
    bed: str | os.PathLike[str] | None = None,
    genome: str | os.PathLike[str] | None = None,
    is_pairs: bool = False,
) -> Inputs:
    """Return the sequences of a table, a FASTA, or regions of a genome.

    Raises:
        InputFileError: if a variant model gets single sequences, or the input cannot be read.
        ConfigError: if it is not clear what the input is.
    """
    if is_pairs:
        if table is None or _is_fasta(table):
            raise InputFileError(
                "this model reads pairs of sequences; give a table with the columns ref_sequence and alt_sequence."
            )
        pairs = read_pair_table(table, label_column=None)
        return Inputs(pairs.sequences, str(table), alts=pairs.alts)
    if table is not None and bed is None and genome is None and not _is_fasta(table):
        return Inputs(read_sequences(table, sequence_column=sequence_column), str(table))
    found = list(sequences_of(table, bed, genome))
    letters = [text for _, text in found]
    if bed is None:
        return Inputs(letters, str(table), places={"name": [place.name for place, _ in found]})
    if not found:
        raise InputFileError(f"{str(bed)!r} has no regions. Check the file.")
    columns = {
        "chrom": [place.name for place, _ in found],
        "start": [str(place.offset) for place, _ in found],
        "end": [str(place.offset + place.length) for place, _ in found],
        "strand": ["-" if place.is_reverse else "+" for place, _ in found],
    }
    return Inputs(letters, str(bed), places=columns)


def predict_sequences(
    loaded: LoadedModel,
    sequences: Sequence[str],
    *,
    batch_size: int | None = None,
    device: torch.device | str = "cpu",
    too_long: TooLong | None = None,
    both_strands: bool | None = None,
    source: str = "the sequences",
) -> Predictions:
    """Return what a loaded model says of sequences; see `predict`."""
    return predict_inputs(
        loaded,
        Inputs(sequences, source),
        batch_size=batch_size,
        device=device,
        too_long=too_long,
        both_strands=both_strands,
    )


def predict_inputs(
    loaded: LoadedModel,
    inputs: Inputs,
    *,
    batch_size: int | None = None,
    device: torch.device | str = "cpu",
    too_long: TooLong | None = None,
    both_strands: bool | None = None,
) -> Predictions:
    """Return what a loaded model says of sequences or pairs; see `predict`."""
    model = loaded.head_model
    slots, n_truncated = encode_inputs(model, loaded.tokenizer, inputs, too_long or trained_too_long(loaded))
    both = trained_both_strands(loaded) if both_strands is None else both_strands
    examples = Examples(slots, loaded.tokenizer, device=device, both_strands=both)
    scores = all_scores(model, examples, both_strands=both, batch_size=batch_size)
    return Predictions(
        scores,
        class_names_of(loaded),
        n_truncated,
        loaded.sha256,
        kind=model.kind,
        lengths=tuple(len(row) for row in slots[0]),
        places=inputs.places,
    )


def encode_inputs(
    model: HeadModel, tokenizer: Tokenizer, inputs: Inputs, too_long: TooLong
) -> tuple[Slots, int]:
    """Return the ids of sequences or pairs as the model takes them, and how many were cut to its longest input.

    Raises:
        SequenceTooLongError: naming the first that is too long.
    """
    slots = []
    n_truncated = 0
    for letters in (inputs.sequences, *([inputs.alts] if inputs.alts is not None else [])):
        # Soft-masked bases are bases: the byte tokenizer of StripedHyena 2 would take them for other letters.
        ids, n_cut = encode_sequences(
            [text.upper() for text in letters],
            tokenizer,
            longest_input(model),
            too_long=too_long,
            source=inputs.source,
        )
        slots.append(ids)
        n_truncated += n_cut
    return slots, n_truncated


def longest_input(model: HeadModel) -> int:
    """Return the most bases of a sequence that a model takes beside its soft prompt; a large number for no limit."""
    longest = model.config.longest_input
    return sys.maxsize if longest is None else longest - model.prompt_len


def load_head_model(folder: str | os.PathLike[str], *, device: torch.device | str = "cpu") -> LoadedModel:
    """Return a model that ``genomix finetune`` wrote, with any head and the names of its outputs.

    Raises:
        CheckpointError: if the folder holds something else.
    """
    loaded = load_model(folder, device=device)
    model = loaded.head_model
    names = class_names_of(loaded)
    if len(names) != model.n_outputs:
        raise CheckpointError(
            f"{str(loaded.path)!r} names {len(names)} classes but has {model.n_outputs} outputs. "
            "Restore its config.json."
        )
    return loaded


def class_names_of(loaded: LoadedModel) -> tuple[str, ...]:
    """Return the names of a model's classes, labels or targets, in their order; numbers where it has none."""
    head = loaded.head_info or {}
    names = head.get("class_names") or [str(number) for number in range(loaded.head_model.n_outputs)]
    return tuple(str(name) for name in names)


def trained_too_long(loaded: LoadedModel) -> TooLong:
    """Return what fine-tuning did with sequences longer than the model takes."""
    return "truncate" if (loaded.head_info or {}).get("too_long") == "truncate" else "error"


def trained_both_strands(loaded: LoadedModel) -> bool:
    """Return whether fine-tuning averaged both strands in its test."""
    return bool((loaded.head_info or {}).get("both_strands", False))


def _is_fasta(path: str | os.PathLike[str]) -> bool:
    if str(path) == "-":
        return True
    source = Path(path)
    if is_parquet(source):
        return False
    require_file(source, "table or FASTA")
    with open_text(source, "table or FASTA") as text:
        return text.readline().startswith(">")
