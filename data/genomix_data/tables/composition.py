"""What sequences are made of: length, GC, soft-masked and unknown bases, repeated words. One row a sequence."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64

WORD = 6
"""Length of the words whose repetition is counted."""

COLUMNS = ("length", "gc", "soft_masked", "n", "repeated_words")


@dataclass(frozen=True, slots=True)
class Composition:
    """Of every sequence, in order.

    Attributes:
        length: Bases.
        gc: G and C, as a part of A, C, G, T; 0 where there are none of these.
        soft_masked: Lower-case letters, as a part of all.
        n: Letters other than A, C, G, T, U, as a part of all.
        repeated_words: Words of six letters that came before in the same sequence, as a part of all such words; high in
            repeats of any kind, whether they are soft-masked or not. 0 where a sequence is shorter.
    """

    length: Float64[np.ndarray, " n"]
    gc: Float64[np.ndarray, " n"]
    soft_masked: Float64[np.ndarray, " n"]
    n: Float64[np.ndarray, " n"]
    repeated_words: Float64[np.ndarray, " n"]


def composition(sequences: Sequence[str]) -> Composition:
    """Return what each sequence is made of.

    >>> found = composition(["ACGT", "ggcc", "ACNNACACACAC"])
    >>> found.gc.tolist(), found.soft_masked.tolist(), found.repeated_words.round(2).tolist()
    ([0.5, 1.0, 0.5], [0.0, 1.0, 0.0], [0.0, 0.0, 0.14])
    """
    rows = np.zeros((len(sequences), len(COLUMNS)))
    for row, sequence in zip(rows, sequences, strict=True):
        upper = sequence.upper().replace("U", "T")
        counts = [upper.count(base) for base in "ACGT"]
        known = sum(counts)
        n_words = max(0, len(upper) - WORD + 1)
        n_distinct = len({upper[start : start + WORD] for start in range(n_words)})
        row[:] = (
            len(sequence),
            (counts[1] + counts[2]) / max(known, 1),
            sum(map(str.islower, sequence)) / max(len(sequence), 1),
            (len(upper) - known) / max(len(upper), 1),
            (n_words - n_distinct) / max(n_words, 1),
        )
    return Composition(*rows.T)


def write_composition(path: str | os.PathLike[str], sequences: Sequence[str]) -> None:
    """Write what sequences are made of as a tab-separated table, with the 1-based number of each."""
    found = composition(sequences)
    with Path(path).open("w", encoding="utf-8", newline="\n") as out:
        out.write("\t".join(("row", *COLUMNS)) + "\n")
        values = zip(*(getattr(found, name).tolist() for name in COLUMNS), strict=True)
        for row, (length, *parts) in enumerate(values, start=1):
            out.write("\t".join((str(row), f"{length:.0f}", *(f"{part:.4f}" for part in parts))) + "\n")
