"""From alleles to windows, and from the likelihoods of windows back to scores."""

from dataclasses import dataclass

import numpy as np

from genomix.variant_effect.assembly import Assembly
from genomix.variant_effect.contract import Reduce, Status, Strand, VariantScore
from genomix.variant_effect.engine import WindowLikelihoods, WindowSet
from genomix.variant_effect.windows import (
    TO_ACGTN,
    allele_status,
    allele_windows,
    place_windows,
    ref_agrees,
)
from genomix_data.alphabet import reverse_complement
from genomix_data.genome import Genome
from genomix_data.normalize import normalize_alleles

_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class WindowPair:
    """The windows of one allele on one strand.

    Attributes:
        ref: Number of the REF window.
        alt: Number of the ALT window.
        n_scored: Scored positions in each.
        ref_surplus: Scored positions that REF has beyond ``n_scored``; they are left out at the right flank.
        alt_surplus: Likewise of ALT.
        is_rc: Whether the windows are reverse complements.
    """

    ref: int
    alt: int
    n_scored: int
    ref_surplus: int
    alt_surplus: int
    is_rc: bool


@dataclass(frozen=True, slots=True)
class AllelePlan:
    """One ALT allele: its status, and its windows where it is `Status.OK`."""

    status: Status
    pairs: tuple[WindowPair, ...] = ()


class Planner:
    """Turns records into windows.

    Args:
        genome: The FASTA.
        assembly: Resolves contigs and counts REF mismatches.
        window: Window in bp.
        strand: Which strands.
        normalize: Plan each allele in its normal form, see `genomix_data.normalize`.

    Attributes:
        n_normalized: Alleles with windows whose normal form is another spelling.
    """

    def __init__(
        self, genome: Genome, assembly: Assembly, window: int, strand: Strand, *, normalize: bool = False
    ) -> None:
        self.n_normalized = 0
        self._normalize = normalize
        self._genome = genome
        self._assembly = assembly
        self._window = window
        self._strands = (False, True) if strand == "both" else (False,)
        self._chunk = ("", 0, b"")

    def plan(
        self, chrom: str, pos: int, ref: str, alts: tuple[str, ...], where: str, windows: WindowSet
    ) -> list[AllelePlan]:
        """Return a plan for each ALT and add its windows to ``windows``.

        The first of these that applies is the status: what the alleles are (STAR, SYMBOLIC, NON_ACGT), NO_CONTIG,
        EDGE outside the contig, REF_MISMATCH, TOO_LONG, EDGE for lack of right flank, OK.
        """
        contig = self._assembly.resolve(chrom)
        fault = self._site_fault(contig, pos, ref, where)
        return [
            AllelePlan(status)
            if (status := allele_status(ref, alt) or fault)
            else self._plan_allele(str(contig), pos, ref.upper(), alt.upper(), windows)
            for alt in alts
        ]

    def _site_fault(self, contig: str | None, pos: int, ref: str, where: str) -> Status | None:
        if contig is None:
            return Status.NO_CONTIG
        if allele_status(ref, "A") is not None:
            return None  # no letters to compare; the alleles' own status says so
        first, end = pos - 1, pos - 1 + len(ref)
        length = self._genome.contigs[contig]
        if end > length or first < 0:
            found = f"only {length:,} bp in {contig}"
            self._assembly.note_ref(False, where, ref, found)
            return Status.EDGE
        letters = self._bases(contig, first, end)
        agrees = ref_agrees(ref, letters)
        self._assembly.note_ref(agrees, where, ref, letters.decode())
        return None if agrees else Status.REF_MISMATCH

    def _plan_allele(self, contig: str, pos: int, ref: str, alt: str, windows: WindowSet) -> AllelePlan:
        contig_length = self._genome.contigs[contig]
        given = (pos, ref, alt)
        if self._normalize:
            pos, ref, (alt,) = normalize_alleles(
                lambda start, end: self._bases(contig, start, end).translate(TO_ACGTN),
                contig_length,
                pos,
                ref,
                (alt,),
            )
        place = place_windows(contig_length, pos, len(ref), len(alt), self._window)
        if isinstance(place, Status):
            return AllelePlan(place)
        self.n_normalized += (pos, ref, alt) != given
        ref_window, alt_window = allele_windows(
            lambda start, end: self._bases(contig, start, end), contig_length, pos, ref, alt, place
        )
        return AllelePlan(
            Status.OK, tuple(_pair(ref_window, alt_window, is_rc, windows) for is_rc in self._strands)
        )

    def _bases(self, contig: str, start: int, end: int) -> bytes:
        """Return bases of a contig through a chunk that neighbouring records share."""
        name, chunk_start, letters = self._chunk
        if name != contig or start < chunk_start or end > chunk_start + len(letters):
            chunk_start = max(0, start - self._window)
            chunk_end = min(self._genome.contigs[contig], max(end + self._window, chunk_start + _CHUNK))
            letters = self._genome.fetch(contig, chunk_start, chunk_end)
            self._chunk = (contig, chunk_start, letters)
        return letters[start - chunk_start : end - chunk_start]


def _pair(ref: bytes, alt: bytes, is_rc: bool, windows: WindowSet) -> WindowPair:
    if is_rc:
        ref, alt = reverse_complement(ref), reverse_complement(alt)
    n_ref = len(ref) - 1 - ref.count(b"N", 1)
    n_alt = len(alt) - 1 - alt.count(b"N", 1)
    n_scored = min(n_ref, n_alt)
    pair = WindowPair(windows.add(ref), windows.add(alt), n_scored, n_ref - n_scored, n_alt - n_scored, is_rc)
    if n_ref != n_alt:
        windows.kept_rows.update((pair.ref, pair.alt))
    return pair


def score_of(plan: AllelePlan, found: WindowLikelihoods, reduce: Reduce) -> VariantScore:
    """Return the score of an allele from the likelihoods of its windows."""
    if plan.status is not Status.OK:
        return VariantScore(plan.status)
    strands = [_strand_llr(pair, found, reduce) for pair in plan.pairs]
    return VariantScore(
        Status.OK, sum(strands) / len(strands), strands[0], strands[1] if len(strands) > 1 else None
    )


def _strand_llr(pair: WindowPair, found: WindowLikelihoods, reduce: Reduce) -> float:
    alt = _total(pair.alt, pair.alt_surplus, pair.is_rc, found)
    ref = _total(pair.ref, pair.ref_surplus, pair.is_rc, found)
    llr = alt - ref
    return llr / max(pair.n_scored, 1) if reduce == "mean" else llr


def _total(number: int, surplus: int, is_rc: bool, found: WindowLikelihoods) -> float:
    """Return the sum over a window, less the ``surplus`` scored positions that lie furthest right on the contig."""
    total = float(found.totals[number])
    if not surplus:
        return total
    row = found.rows[number]
    extra = row[:surplus] if is_rc else row[-surplus:]
    return total - float(extra.sum(dtype=np.float64))
