"""How much of a test set a model has seen in training, in counts that a person can read.

Identity and coordinates are exact. Near copies are found by minimizers: a test sequence is contained in a training
sequence to the extent that its minimizers stand in that one sequence, on either strand. ``covered`` looks at the
training set as a whole: how many of the k-mers of a test sequence occur anywhere in it, which also sees a test
sequence that is tiled by several training sequences.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genomix_data.errors import InputFileError
from genomix_data.leakage.clusters import WINDOW, K
from genomix_data.leakage.intervals import largest_overlap
from genomix_data.leakage.kmers import Sketch, kmer_hashes, minimizer_sketch
from genomix_data.leakage.pairs import shared_pairs
from genomix_data.tables.identity import either_strand, one_spelling
from genomix_data.tables.located import LocatedTable, Locations
from genomix_data.tables.table import SequenceTable

NEAR = 0.5
"""Contained to this extent, or overlapping by it, a test sequence has a near copy in training."""

NEARLY_IDENTICAL = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassLeakage:
    """Counts over the test sequences of one class, or of all.

    Args:
        n: Test sequences.
        identical: Also in training, letter for letter, on the same strand.
        identical_other_strand: In training as their reverse complement only.
        near_identical: Contained in one training sequence by 0.9 or more; identical ones count.
        near: Contained in one training sequence by 0.5 or more; identical ones count.
        shares_kmer: Share at least one k-mer with training.
        covered: At least half of their k-mers occur in training.
        overlapping: Their interval overlaps one of training; None without coordinates in both tables.
        overlapping_half: One training interval covers half of theirs or more.
        inside: One training interval covers theirs wholly.
        overlapping_same_class: As ``overlapping``, for training intervals of their own class.
        overlapping_half_same_class: As ``overlapping_half``, for their own class.
        inside_same_class: As ``inside``, for their own class.
        has_near_copy: Identical, near, or overlapping by half: what a clean test set leaves out.
    """

    n: int
    identical: int
    identical_other_strand: int
    near_identical: int
    near: int
    shares_kmer: int
    covered: int
    overlapping: int | None
    overlapping_half: int | None
    inside: int | None
    overlapping_same_class: int | None
    overlapping_half_same_class: int | None
    inside_same_class: int | None
    has_near_copy: int

    def to_dict(self) -> dict[str, int | None]:
        """Return the counts by name."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True, kw_only=True)
class LeakageReport:
    """What the test set shares with the training set.

    Args:
        total: Over all test sequences.
        by_class: Over the test sequences of each class.
        n_train: Training sequences.
        n_too_short: Test sequences without a k-mer: only identity and coordinates could be compared.
        has_coordinates: Whether both tables have intervals.
        k: Length of the k-mers.
        window: Of the minimizers.
        best_containment: For each test sequence, the largest share of its minimizers in one training sequence;
            1 where it is identical.
        has_near_copy: For each test sequence, whether a clean test set leaves it out.
    """

    total: ClassLeakage
    by_class: dict[str, ClassLeakage]
    n_train: int
    n_too_short: int
    has_coordinates: bool
    k: int
    window: int
    best_containment: NDArray[np.float64]
    has_near_copy: NDArray[np.bool_]

    def to_dict(self) -> dict[str, Any]:
        """Return the counts as JSON holds them, with the definitions that belong to them."""
        return {
            "n_train": self.n_train,
            "total": self.total.to_dict(),
            "by_class": {name: counts.to_dict() for name, counts in self.by_class.items()},
            "n_too_short": self.n_too_short,
            "has_coordinates": self.has_coordinates,
            "k": self.k,
            "window": self.window,
            "near": NEAR,
            "near_identical": NEARLY_IDENTICAL,
        }


def leakage_report(
    train: SequenceTable, test: SequenceTable, *, k: int = K, window: int = WINDOW
) -> LeakageReport:
    """Return what ``test`` shares with ``train``: by sequence on either strand, by coordinates where both have them.

    Args:
        train: What the model learns from; put the validation set with it, as it chooses the model.
        test: What it is judged by.
        k: Length of a k-mer.
        window: Of the minimizers.

    Raises:
        InputFileError: if a table is empty, or their classes differ.
    """
    if train.class_names != test.class_names:
        raise InputFileError(
            f"training has the classes {train.class_names}, the test {test.class_names}; they must be the same."
        )
    if not len(train) or not len(test):
        raise InputFileError("a leakage report needs at least one sequence on either side.")
    identical, other_strand = _identical(train, test)
    sketches = (minimizer_sketch(test.sequences, k, window), minimizer_sketch(train.sequences, k, window))
    best = best_containment(*sketches)
    best[identical | other_strand] = 1.0
    seen, share = _coverage(train, test, k)
    columns: dict[str, NDArray[np.bool_]] = {
        "identical": identical,
        "identical_other_strand": other_strand,
        "near_identical": best >= NEARLY_IDENTICAL,
        "near": best >= NEAR,
        "shares_kmer": seen,
        "covered": share >= NEAR,
    }
    copies = columns["near"]
    located = isinstance(train, LocatedTable) and isinstance(test, LocatedTable)
    if isinstance(train, LocatedTable) and isinstance(test, LocatedTable):
        columns |= _overlaps(test.locations, train.locations, "", None)
        columns |= _overlaps(test.locations, train.locations, "_same_class", (test.labels, train.labels))
        copies = copies | columns["overlapping_half"]
    columns["has_near_copy"] = copies

    def counts(rows: NDArray[np.bool_]) -> ClassLeakage:
        values: dict[str, Any] = {name: int(column[rows].sum()) for name, column in columns.items()}
        absent = {name: None for name in ClassLeakage.__dataclass_fields__ if name not in columns}
        return ClassLeakage(**{**absent, **values, "n": int(rows.sum())})

    return LeakageReport(
        total=counts(np.ones(len(test), dtype=bool)),
        by_class={name: counts(test.labels == label) for label, name in enumerate(test.class_names)},
        n_train=len(train),
        n_too_short=int((sketches[0].counts == 0).sum()),
        has_coordinates=located,
        k=k,
        window=window,
        best_containment=best,
        has_near_copy=copies,
    )


def best_containment(test: Sketch, train: Sketch) -> NDArray[np.float64]:
    """Return, for each test sequence, the largest share of its k-mers that one training sequence holds."""
    most = np.zeros(len(test), dtype=np.int64)
    for pairs in shared_pairs(test, train):
        np.maximum.at(most, pairs.left, pairs.shared)
    best: NDArray[np.float64] = most / np.maximum(test.counts, 1)
    return best


def _coverage(
    train: SequenceTable, test: SequenceTable, k: int
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return whether each test sequence shares a k-mer with training, and which share of its k-mers."""
    # Sorted is enough; numpy's unique takes four times longer here.
    known = np.sort(kmer_hashes(train.sequences, k)[0])
    values, owners = kmer_hashes(test.sequences, k)
    # Look-ups in ascending order stay in the cache: five times faster than in the order of the table.
    order = np.argsort(values)
    values, owners = values[order], owners[order]
    place = np.minimum(np.searchsorted(known, values), max(len(known) - 1, 0))
    found = known[place] == values if len(known) else np.zeros(len(values), dtype=bool)
    hits = np.bincount(owners[found], minlength=len(test))
    n_kmers = np.bincount(owners, minlength=len(test))
    return hits > 0, hits / np.maximum(n_kmers, 1)


def _identical(train: SequenceTable, test: SequenceTable) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which test sequences are in training as they are, and which only as their reverse complement."""
    forward = {one_spelling(sequence) for sequence in train.sequences}
    either = {either_strand(sequence) for sequence in train.sequences}
    same = np.array([one_spelling(sequence) in forward for sequence in test.sequences], dtype=bool)
    known = np.array([either_strand(sequence) in either for sequence in test.sequences], dtype=bool)
    return same, known & ~same


def _overlaps(
    test: Locations,
    train: Locations,
    suffix: str,
    labels: tuple[NDArray[np.int64], NDArray[np.int64]] | None,
) -> dict[str, NDArray[np.bool_]]:
    common = largest_overlap(test, train, same_group=labels)
    length = test.end - test.start
    return {
        f"overlapping{suffix}": common > 0,
        f"overlapping_half{suffix}": (common > 0) & (2 * common >= length),
        f"inside{suffix}": (common > 0) & (common == length),
    }
