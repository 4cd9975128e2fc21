"""Variants as pairs of windows, REF and ALT, with their class and their measured score."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Int64
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from genomix_data.alphabet import ACGT
from genomix_data.errors import ReferenceMismatchError, preview
from genomix_data.genome import Genome
from genomix_data.lm_batch import IGNORED
from genomix_data.table_dataset import SampleOrder, complement_table, pad_right
from genomix_data.tables.variants import VariantTable
from genomix_data.tokenizers.protocol import Tokenizer
from genomix_data.variant import Variant
from genomix_data.variant_windows import WindowPlace, allele_windows, place_windows, ref_agrees

_ACGT = frozenset(ACGT.decode())


class VariantSample(NamedTuple):
    """Ids of both windows, of equal length, the class index, and the score or NaN."""

    ref: NDArray[np.uint8]
    alt: NDArray[np.uint8]
    label: int
    score: float


class VariantBatch(NamedTuple):
    """Pairs of windows; padded on the right only where a contig is shorter than the window.

    Args:
        ref: Ids of the REF windows.
        alt: Ids of the ALT windows.
        lengths: True length of both windows of a pair.
        labels: Class indices.
        scores: Measured effects; NaN where there is none.
    """

    ref: Int64[Tensor, "B L"]
    alt: Int64[Tensor, "B L"]
    lengths: Int64[Tensor, " B"]
    labels: Int64[Tensor, " B"]
    scores: Float32[Tensor, " B"]


class VariantWindows(Dataset[VariantSample]):
    """Windows of equal length around variants by running number, placed as `genomix_data.variant_windows` says.

    Args:
        table: The variants.
        genome: Where the bases come from; safe in worker processes.
        tokenizer: That of the model.
        window: Length of the windows in bp.
        seed: Of the order and the strand; None is the order of the table.
        rc_augment: Give half of the pairs as their reverse complement, others in every epoch.

    Attributes:
        rows: Rows of the table that have windows, in order.
        skipped: How many variants have none, by reason.

    Raises:
        ReferenceMismatchError: if no variant has windows on this genome.
    """

    def __init__(
        self,
        table: VariantTable,
        genome: Genome,
        tokenizer: Tokenizer,
        window: int,
        *,
        seed: int | None,
        rc_augment: bool = False,
    ) -> None:
        self.table = table
        self.genome = genome
        self.tokenizer = tokenizer
        self._complement = complement_table(tokenizer)
        self._places: list[tuple[str, WindowPlace]] = []
        rows: list[int] = []
        skipped: Counter[str] = Counter()
        for row, variant in enumerate(table.variants):
            place = self._place(variant, window)
            if isinstance(place, str):
                skipped[place] += 1
            else:
                rows.append(row)
                self._places.append(place)
        self.rows, self.skipped = np.array(rows, dtype=np.int64), dict(skipped)
        if not rows:
            raise ReferenceMismatchError(
                f"none of the {len(table):,} variants of {table.source} has windows on {genome.path.name} "
                f"({preview(f'{reason}: {n:,}' for reason, n in skipped.items())}). Check that both are of the same "
                "assembly."
            )
        self.order = SampleOrder(len(rows), seed, rc_augment)

    def _place(self, variant: Variant, window: int) -> tuple[str, WindowPlace] | str:
        """Return the contig and the windows of a variant, or why it has none."""
        if not _ACGT.issuperset(variant.ref + variant.alt):
            return "an allele holds another letter than A, C, G, T"
        contig = self.genome.names.resolve(variant.chrom)
        if contig is None:
            return "the genome has no such contig"
        length = self.genome.contigs[contig]
        place = place_windows(length, variant.pos, len(variant.ref), len(variant.alt), window)
        if place == "TOO_LONG":
            return "an allele is longer than half the window"
        if isinstance(place, str):
            return "outside its contig, or too close to its end"
        if not ref_agrees(variant.ref, self.genome.fetch(contig, variant.start, variant.end)):
            return "REF is not what the genome has"
        return contig, place

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> VariantSample:
        """Return pair ``number`` of an endless run; a negative number is padding whose label is `IGNORED`."""
        if number < 0:
            padding = np.array([self.tokenizer.pad_id], dtype=np.uint8)
            return VariantSample(padding, padding, IGNORED, float("nan"))
        index, is_reverse = self.order.locate(number)
        row, (contig, place) = int(self.rows[index]), self._places[index]
        variant = self.table.variants[row]
        windows = allele_windows(
            lambda start, end: self.genome.fetch(contig, start, end),
            self.genome.contigs[contig],
            variant.pos,
            variant.ref,
            variant.alt,
            place,
        )
        ref, alt = (self.tokenizer.encode(letters) for letters in windows)
        if is_reverse:
            ref, alt = self._complement[ref[::-1]], self._complement[alt[::-1]]
        scores = self.table.scores
        return VariantSample(
            ref, alt, int(self.table.labels[row]), float("nan") if scores is None else float(scores[row])
        )

    def collate(self, samples: Sequence[VariantSample]) -> VariantBatch:
        """Return pairs as one batch."""
        ref, lengths = pad_right([sample.ref for sample in samples], self.tokenizer.pad_id)
        alt, _ = pad_right([sample.alt for sample in samples], self.tokenizer.pad_id)
        labels = torch.tensor([sample.label for sample in samples])
        scores = torch.tensor([sample.score for sample in samples], dtype=torch.float32)
        return VariantBatch(ref, alt, lengths, labels, scores)
