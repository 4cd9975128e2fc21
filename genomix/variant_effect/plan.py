"""From alleles to windows, and from the likelihoods of windows back to scores."""

from dataclasses import dataclass

from genomix.variant_effect.assembly import Assembly
from genomix.variant_effect.contract import Reduce, ScoreOptions, Status, VariantScore
from genomix.variant_effect.likelihoods import WindowLikelihoods
from genomix.variant_effect.strands import Span, StrandWindows, centred, tiled
from genomix.variant_effect.window_set import WindowSet
from genomix.variant_effect.windows import TO_ACGTN, allele_status, place_windows, ref_agrees
from genomix_data.genome import Genome
from genomix_data.normalize import normalize_alleles
from genomix_data.variant_tiles import TilePlace, place_tile

COARSEST_END = 8
"""With a horizon, windows are run at most this part of it further than they must be, so that they have few lengths."""

_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class WindowPair:
    """The windows of one allele on one strand.

    Attributes:
        ref: Number of the REF window.
        alt: Number of the ALT window.
        ref_span: Positions of REF, half-open, among which all but N are scored.
        alt_span: Positions of ALT, likewise.
        n_scored: Scored positions in each.
    """

    ref: int
    alt: int
    ref_span: Span
    alt_span: Span
    n_scored: int


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
        options: Strands, mode, horizon, and whether each allele is planned in its normal form.

    Attributes:
        n_normalized: Alleles with windows whose normal form is another spelling.
    """

    def __init__(self, genome: Genome, assembly: Assembly, window: int, options: ScoreOptions) -> None:
        self.n_normalized = 0
        self._normalize = options.normalize
        self._genome = genome
        self._assembly = assembly
        self._window = window
        self._stride = options.stride_for(window)
        self._horizon = options.horizon
        self._strands = (False, True) if options.strand == "both" else (False,)
        self._chunk = ("", 0, b"")

    def new_windows(self, *, shares: bool = True) -> WindowSet:
        """Return an empty set of windows, laid out for this plan.

        Args:
            shares: Whether ALT windows may be continued from their REF windows.
        """
        coarse = 1 if self._horizon is None else max(1, self._horizon // COARSEST_END)
        return WindowSet(self._window, end_step=coarse, shares=shares)

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
        strands = self._strand_windows(contig, contig_length, pos, ref, alt)
        if isinstance(strands, Status):
            return AllelePlan(strands)
        self.n_normalized += (pos, ref, alt) != given
        return AllelePlan(Status.OK, tuple(_pair(each, windows) for each in strands))

    def _strand_windows(
        self, contig: str, contig_length: int, pos: int, ref: str, alt: str
    ) -> list[StrandWindows] | Status:
        """Return the windows of an allele on each strand, or why it has none."""

        def bases(start: int, end: int) -> bytes:
            return self._bases(contig, start, end)

        if self._stride is None:
            place = place_windows(contig_length, pos, len(ref), len(alt), self._window)
            if isinstance(place, Status):
                return place
            return centred(bases, contig_length, pos, ref, alt, place, self._horizon, self._strands)
        tile = place_tile(contig_length, pos, len(ref), len(alt), self._window, self._stride)
        if not isinstance(tile, TilePlace):
            return Status(tile)
        return tiled(bases, pos, ref, alt, tile, self._horizon, self._strands)

    def _bases(self, contig: str, start: int, end: int) -> bytes:
        """Return bases of a contig through a chunk that neighbouring records share."""
        name, chunk_start, letters = self._chunk
        if name != contig or start < chunk_start or end > chunk_start + len(letters):
            chunk_start = max(0, start - self._window)
            chunk_end = min(self._genome.contigs[contig], max(end + self._window, chunk_start + _CHUNK))
            letters = self._genome.fetch(contig, chunk_start, chunk_end)
            self._chunk = (contig, chunk_start, letters)
        return letters[start - chunk_start : end - chunk_start]


def _pair(strand: StrandWindows, windows: WindowSet) -> WindowPair:
    ref, alt = windows.add_pair(
        strand.ref,
        strand.alt,
        ref_end=max(2, strand.ref_span[1]),
        alt_end=max(2, strand.alt_span[1]),
        n_shared=strand.n_shared,
    )
    return WindowPair(ref, alt, strand.ref_span, strand.alt_span, strand.n_scored)


def score_of(plan: AllelePlan, found: WindowLikelihoods, reduce: Reduce) -> VariantScore:
    """Return the score of an allele from the likelihoods of its windows."""
    if plan.status is not Status.OK:
        return VariantScore(plan.status)
    strands = [_strand_llr(pair, found, reduce) for pair in plan.pairs]
    return VariantScore(
        Status.OK, sum(strands) / len(strands), strands[0], strands[1] if len(strands) > 1 else None
    )


def _strand_llr(pair: WindowPair, found: WindowLikelihoods, reduce: Reduce) -> float:
    llr = found.total(pair.alt, pair.alt_span) - found.total(pair.ref, pair.ref_span)
    return llr / max(pair.n_scored, 1) if reduce == "mean" else llr
