"""Training, validation and test parts of a classification task, and what they have in common."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from genomix_data.errors import ConfigError, InputFileError
from genomix_data.tables.identity import either_strand
from genomix_data.tables.table import SequenceTable, read_table

PathLike = str | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class TableSplits:
    """The parts of a task; all have the classes of the training part.

    Args:
        train: What a model learns from.
        valid: What settings and the best epoch are chosen on.
        test: What the reported numbers come from, and nothing else; None where there is none.
    """

    train: SequenceTable
    valid: SequenceTable
    test: SequenceTable | None = None


def read_splits(
    train: PathLike,
    valid: PathLike | None = None,
    test: PathLike | None = None,
    *,
    valid_fraction: float = 0.1,
    seed: int = 0,
    sequence_column: str = "sequence",
    label_column: str = "label",
    class_names: Sequence[str] | None = None,
) -> TableSplits:
    """Return the parts of a task from CSV or TSV files.

    Args:
        train: Table to train on, of at least two classes.
        valid: Table to validate on; without it, ``valid_fraction`` of each class is taken off ``train``.
        test: Table to test on.
        valid_fraction: Between 0 and 1.
        seed: Which rows are taken.
        sequence_column: Column of sequences in every table.
        label_column: Column of labels in every table.
        class_names: The classes in their order; by default those of ``train``.

    Raises:
        InputFileError: as in `read_table`; also if a label of ``valid`` or ``test`` is not in ``train``.
    """

    def read(path: PathLike, names: Sequence[str] | None, require_two_classes: bool) -> SequenceTable:
        return read_table(
            path,
            sequence_column=sequence_column,
            label_column=label_column,
            class_names=names,
            require_two_classes=require_two_classes,
        )

    whole = read(train, class_names, True)
    held_out = None if test is None else read(test, whole.class_names, False)
    if valid is not None:
        return TableSplits(whole, read(valid, whole.class_names, False), held_out)
    rest, part = stratified_split(whole, valid_fraction, seed)
    return TableSplits(rest, part, held_out)


def stratified_split(table: SequenceTable, fraction: float, seed: int) -> tuple[SequenceTable, SequenceTable]:
    """Return ``(rest, part)``: ``fraction`` of each class goes to ``part``, at least one row of each.

    A pure function of the table, the fraction and the seed. Rows keep their order.

    Raises:
        ConfigError: if ``fraction`` is not between 0 and 1.
        InputFileError: if a class has a single row, which cannot be in both.
    """
    if not 0 < fraction < 1:
        raise ConfigError(f"fraction={fraction} of a table must lie between 0 and 1, such as 0.1.")
    # RandomState's stream is frozen; that of numpy's Generator may change between versions.
    random = np.random.RandomState(seed)
    in_part = np.zeros(len(table), dtype=bool)
    for label, name in enumerate(table.class_names):
        rows = np.flatnonzero(table.labels == label)
        if rows.size == 1:
            raise InputFileError(
                f"class {name!r} of {table.source} has one sequence only, so none can be held out for validation. "
                "Add more of it, or give a validation table."
            )
        if rows.size:
            n_taken = min(max(round(fraction * rows.size), 1), rows.size - 1)
            in_part[random.permutation(rows)[:n_taken]] = True
    return table.select(np.flatnonzero(~in_part)), table.select(np.flatnonzero(in_part))


def overlap_report(train: SequenceTable, test: SequenceTable) -> int:
    """Return how many sequences of ``test`` are also in ``train``, letter for letter, on either strand."""
    known = {either_strand(sequence) for sequence in train.sequences}
    return sum(either_strand(sequence) in known for sequence in test.sequences)


def without_overlap(train: SequenceTable, test: SequenceTable) -> SequenceTable:
    """Return ``train`` without the sequences that ``test`` has, on either strand; ``test`` stays as published."""
    held_out = {either_strand(sequence) for sequence in test.sequences}
    kept = [i for i, sequence in enumerate(train.sequences) if either_strand(sequence) not in held_out]
    return train.select(kept)
