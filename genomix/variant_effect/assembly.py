"""Do the VCF and the FASTA belong together? By contig names, by contig lengths, and by REF."""

import copy
import logging
from collections.abc import Mapping

from genomix.variant_effect.builds import build_hint
from genomix.variant_effect.contract import CheckRef
from genomix_data.errors import ReferenceMismatchError, preview
from genomix_data.genome import Genome

logger = logging.getLogger(__name__)

CHECKED_FIRST = 1000
ENOUGH_TO_JUDGE = 100
SMALL_FILE = 5


class Assembly:
    """The contigs of a VCF as the FASTA has them, and the count of records whose REF disagrees.

    Args:
        genome: The FASTA.
        declared: Contigs of the VCF header with lengths in bp where given; empty for variants without a header.
        check_ref: See `genomix.variant_effect.contract.ScoreOptions`.
        max_ref_mismatch: Likewise.
        ignore_contig_lengths: Likewise.
        is_part: Whether these are some records of a file whose contigs were looked up, and warned of, before.

    Raises:
        ReferenceMismatchError: if no declared contig is in the FASTA, or a contig has another length there. A
            mitochondrial contig of another length, while others agree, is another sequence (hg19's chrM is not the
            rCRS of GRCh37): it counts as absent, with a warning.
    """

    def __init__(
        self,
        genome: Genome,
        declared: Mapping[str, int | None],
        *,
        check_ref: CheckRef = "w",
        max_ref_mismatch: float = 0.2,
        ignore_contig_lengths: bool = False,
        is_part: bool = False,
    ) -> None:
        self._genome = genome
        self._declared = declared
        self._check_ref = check_ref
        self._max_mismatch = max_ref_mismatch
        self._is_part = is_part
        self._resolved: dict[str, str | None] = {}
        self._checked = 0
        self._mismatched = 0
        self._example = ""
        self._barred = set() if ignore_contig_lengths else self._contigs_of_other_length()
        if declared and not any(self.resolve(name) for name in declared):
            raise self._no_contig_matches(list(declared))

    def without_judgement(self) -> "Assembly":
        """Return one that resolves contigs likewise, for looking ahead: it stops no run, and counts by itself."""
        other = copy.copy(self)
        other._check_ref = "w"
        other._max_mismatch = 1.0
        return other

    @property
    def is_judged(self) -> bool:
        """Whether the REF of no further record can stop the run."""
        return self._check_ref != "e" and self._checked >= CHECKED_FIRST

    def resolve(self, chrom: str) -> str | None:
        """Return the FASTA's name of a contig, or None where it has none."""
        if chrom not in self._resolved:
            name = None if chrom in self._barred else self._genome.names.resolve(chrom)
            self._resolved[chrom] = name
            if name is not None and name != chrom:
                logger.info("contig %s of the VCF is %s of the FASTA", chrom, name)
        return self._resolved[chrom]

    def note_ref(self, agrees: bool, where: str, ref: str, found: str) -> None:
        """Count a record; stop the run where it is clear that the assembly is another one.

        Args:
            agrees: Whether REF is what the FASTA has.
            where: The record, for messages.
            ref: REF of the record.
            found: What the FASTA has there.

        Raises:
            ReferenceMismatchError: at the first mismatch with ``check_ref="e"``; else when more than
                ``max_ref_mismatch`` of the first records (at least 100) mismatch.
        """
        self._checked += 1
        if not agrees:
            self._mismatched += 1
            self._example = (
                self._example or f"{where}: REF is {_short(ref)!r}, the FASTA has {_short(found)!r}"
            )
            if self._check_ref == "e":
                raise ReferenceMismatchError(
                    f"{self._example}. Check that VCF and FASTA are of the same assembly, or let such records "
                    "stay unscored with --check-ref w."
                )
        if ENOUGH_TO_JUDGE <= self._checked <= CHECKED_FIRST:
            self._judge()

    def note_agreeing(self) -> None:
        """Count a record whose REF is what the FASTA has; see `note_ref`."""
        self._checked += 1
        if self._mismatched and ENOUGH_TO_JUDGE <= self._checked <= CHECKED_FIRST:
            self._judge()

    def check_at_end(self) -> None:
        """Call when all records are read.

        Raises:
            ReferenceMismatchError: if no record's contig is in the FASTA, or all of a small file mismatches.
        """
        if self._resolved and not any(self._resolved.values()) and not self._is_part:
            raise self._no_contig_matches(list(self._resolved))
        all_wrong = SMALL_FILE <= self._checked < ENOUGH_TO_JUDGE and self._mismatched == self._checked
        if all_wrong and self._max_mismatch < 1.0:
            raise self._wrong_assembly()

    def _judge(self) -> None:
        if self._fraction > self._max_mismatch:
            raise self._wrong_assembly()

    @property
    def _fraction(self) -> float:
        return self._mismatched / self._checked if self._checked else 0.0

    def _contigs_of_other_length(self) -> set[str]:
        same: list[str] = []
        other: list[str] = []
        for name, length in self._declared.items():
            found = self._genome.names.resolve(name)
            if found is not None and length is not None:
                (same if self._genome.contigs[found] == length else other).append(name)
        if not other:
            return set()
        if same and all(_is_mitochondrion(name) for name in other):
            if not self._is_part:
                logger.warning(
                    "%s has another length in the FASTA, so it is another sequence: its records are left unscored",
                    preview(other),
                )
            return set(other)
        name = other[0]
        found = self._genome.resolve(name)
        raise ReferenceMismatchError(
            f"the VCF and the FASTA are of different assemblies: contig {name} has {self._declared[name]:,} bp in the "
            f"VCF header, but {found} has {self._genome.contigs[found]:,} bp in {self._genome.path.name} "
            f"({len(other)} of {len(same) + len(other)} contigs differ)."
            f"{build_hint(self._declared, self._genome.contigs)} Give the FASTA that the variants were called on; "
            "if the header is wrong and the FASTA is right, use --ignore-contig-lengths."
        )

    def _no_contig_matches(self, names: list[str]) -> ReferenceMismatchError:
        return ReferenceMismatchError(
            f"no contig of the VCF is in {self._genome.path.name}: the VCF has {preview(names)}; the FASTA has "
            f"{preview(self._genome.contigs)}.{build_hint(self._declared, self._genome.contigs)} 'chr' and M/MT are "
            "translated already; for other spellings give --contig-map FILE with two columns."
        )

    def _wrong_assembly(self) -> ReferenceMismatchError:
        return ReferenceMismatchError(
            f"wrong assembly? REF disagrees with {self._genome.path.name} in {self._mismatched} of the first "
            f"{self._checked} records, e.g. {self._example}.{build_hint(self._declared, self._genome.contigs)} "
            "Give the FASTA that the variants were called on, or go on all the same with --max-ref-mismatch 1."
        )


def _is_mitochondrion(name: str) -> bool:
    return name.lower().removeprefix("chr") in ("m", "mt")


def _short(allele: str, limit: int = 20) -> str:
    return allele if len(allele) <= limit else f"{allele[:limit]}... ({len(allele)} bp)"
