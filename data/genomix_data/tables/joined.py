"""Tables of one kind as one, and the sequences of any kind of table as one that can be split and compared."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from genomix_data.tables.bases import BaseTable
from genomix_data.tables.pairs import PairTable
from genomix_data.tables.table import SequenceTable
from genomix_data.tables.targets import TargetTable

ExampleTable = SequenceTable | TargetTable | BaseTable
"""What a head can be trained on; a `PairTable` is a `SequenceTable`."""

Table = TypeVar("Table", bound=ExampleTable)


@dataclass(frozen=True)
class RowTable(SequenceTable):
    """Sequences of another table, which remember their rows there.

    Args:
        rows: Row of each in the table that it is of.
    """

    rows: NDArray[np.int64]

    def select(self, rows: NDArray[np.int64] | Sequence[int]) -> "RowTable":
        """Return the table of these rows, in this order."""
        index = np.asarray(rows, dtype=np.int64)
        return replace(
            self,
            sequences=[self.sequences[i] for i in index],
            labels=self.labels[index],
            rows=self.rows[index],
        )


def row_table(table: ExampleTable) -> RowTable:
    """Return the sequences of a table of any kind; where it has no single class a sequence, all are of one."""
    if isinstance(table, SequenceTable):
        labels, names = table.labels, table.class_names
    else:
        labels, names = np.zeros(len(table), dtype=np.int64), ("all",)
    return RowTable(table.sequences, labels, names, table.source, np.arange(len(table)))


def as_sequences(table: ExampleTable) -> SequenceTable:
    """Return the table where it has a class for each sequence, and its sequences as one class otherwise."""
    return table if isinstance(table, SequenceTable) else row_table(table)


def joined(tables: Sequence[Table]) -> Table:
    """Return tables of the same kind and the same outputs as one, in their order; places are not kept."""
    first = tables[0]
    sequences = [text for table in tables for text in table.sequences]
    source = " + ".join(dict.fromkeys(table.source for table in tables))
    whole: ExampleTable
    if isinstance(first, TargetTable):
        targets = np.concatenate([table.targets for table in tables if isinstance(table, TargetTable)])
        whole = TargetTable(sequences, targets, first.target_names, first.kind, source)
    elif isinstance(first, BaseTable):
        rows = [row for table in tables if isinstance(table, BaseTable) for row in table.labels]
        whole = BaseTable(sequences, rows, first.class_names, source)
    else:
        labels = np.concatenate([table.labels for table in tables if isinstance(table, SequenceTable)])
        alts = [alt for table in tables if isinstance(table, PairTable) for alt in table.alts]
        if isinstance(first, PairTable):
            whole = PairTable(sequences, labels, first.class_names, source, alts)
        else:
            whole = SequenceTable(sequences, labels, first.class_names, source)
    assert isinstance(whole, type(first)) or isinstance(first, SequenceTable)
    return whole  # type: ignore[return-value]  # of the kind of the first, as just built
