"""From alleles to windows, and from the likelihoods of windows back to scores."""

from collections import Counter
from dataclasses import dataclass, field

from genomix.variant_effect.assembly import Assembly
from genomix.variant_effect.contract import OF_WHOLE_WINDOWS, Reduce, ScoreOptions, Status, VariantScore
from genomix.variant_effect.likelihoods import WindowLikelihoods
from genomix.variant_effect.recall import Recall
from genomix.variant_effect.site import Site
from genomix.variant_effect.strands import Bases, Span, StrandWindows, centred, tiled
from genomix.variant_effect.substitutions import Layout, Substitutions
from genomix.variant_effect.window_set import Grid, WindowSet
from genomix.variant_effect.windows import TO_ACGTN, allele_status, place_windows, ref_agrees
from genomix_data.genome import Genome
from genomix_data.normalize import normalize_alleles
from genomix_data.symbolic import spell_out
from genomix_data.variant_tiles import TilePlace, place_tile

COARSEST_END = 8
"""With a horizon, windows are run at most this part of it further than they must be, so that they have few lengths."""

_CHUNK = 1 << 16
_BASES = dict(zip("ACGTacgt", b"ACGTACGT", strict=True))


@dataclass(frozen=True, slots=True)
class WindowPair:
    """The windows of one allele on one strand.

    Attributes:
        ref: Number of the REF window.
        alt: Number of the ALT window.
        ref_span: Positions of REF, half-open, among which all but N are scored.
        alt_span: Positions of ALT, likewise.
        n_scored: Scored positions in each.
        offset: Where REF begins in its window.
    """

    ref: int
    alt: int
    ref_span: Span
    alt_span: Span
    n_scored: int
    offset: int


@dataclass(frozen=True, slots=True)
class AllelePlan:
    """One ALT allele: its status, and where it is `Status.OK` its windows, strand by strand, or a known score.

    With several haplotypes the pairs of the first come first. The key is that of a score which the cache is to keep.
    """

    status: Status
    pairs: tuple[WindowPair, ...] = ()
    known: VariantScore | None = None
    key: bytes | None = None


Plan = AllelePlan | int
"""An allele of any kind; or the number of a single-base substitution in `Work.substitutions`."""


@dataclass(slots=True)
class Work:
    """What is to be run for a block of records.

    Attributes:
        windows: Of alleles of any kind.
        substitutions: Of single bases; None where all alleles go through ``windows``.
        counts: What happened to alleles, by the names of the fields of `ScoreSummary`, and why not, by reason.
    """

    windows: WindowSet
    substitutions: Substitutions | None
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def n_letters(self) -> int:
        """Roughly what is to be run, in tokens."""
        return self.windows.n_letters + (self.substitutions.n_letters if self.substitutions else 0)


class Planner:
    """Turns records into windows.

    Args:
        genome: The FASTA.
        assembly: Resolves contigs and counts REF mismatches.
        window: Window in bp.
        options: Strands, mode, horizon, scores, and whether each allele is planned in its normal form.
        shares: Whether ALT windows may be continued from their REF windows.
        recall: Scores in a cache, which need no windows.
    """

    def __init__(
        self,
        genome: Genome,
        assembly: Assembly,
        window: int,
        options: ScoreOptions,
        *,
        shares: bool = True,
        recall: Recall | None = None,
    ) -> None:
        self._recall = recall
        self._normalize = options.normalize
        self._genome = genome
        self._assembly = assembly
        self._window = window
        self._stride = options.stride_for(window)
        self._horizon = options.horizon
        self._strands = (False, True) if options.strand == "both" else (False,)
        self._probes = "entropy" in options.scores
        self._is_whole = not OF_WHOLE_WINDOWS.isdisjoint(options.scores)
        self._shares = shares and not self._is_whole
        coarse = 1 if self._horizon is None else max(1, self._horizon // COARSEST_END)
        self._layout = Layout(
            window,
            self._stride,
            self._horizon,
            len(self._strands) == 2,
            self._shares,
            Grid(window, coarse),
        )
        self._chunk = ("", 0, b"")

    def new_work(self) -> Work:
        """Return an empty set of windows, laid out for this plan."""
        windows = WindowSet(self._window, end_step=self._layout.grid.end_step, shares=self._shares)
        return Work(windows, None if self._is_whole else Substitutions(self._layout))

    def plan(self, site: Site, work: Work) -> list[Plan]:
        """Return a plan for each ALT and add its windows to ``work``.

        The first of these that applies is the status: what the alleles are (STAR, SYMBOLIC, NON_ACGT), NO_CONTIG,
        EDGE outside the contig, REF_MISMATCH, TOO_LONG, EDGE for lack of right flank, OK.
        """
        contig = self._assembly.resolve(site.chrom)
        if contig is not None and site.haplotypes is None and work.substitutions is not None:
            plans = self._substitutions(contig, site, work.substitutions)
            if plans is not None:
                return plans
        fault = self._site_fault(contig, site)
        return [self._plan_alt(contig, site, number, fault, work) for number in range(len(site.alts))]

    def _substitutions(self, contig: str, site: Site, found: Substitutions) -> list[Plan] | None:
        """Return the plans of a record whose alleles are all single bases; None of any other."""
        ref = _BASES.get(site.ref)
        alts = [_BASES.get(alt) for alt in site.alts]
        first = site.pos - 1
        length = self._genome.contigs[contig]
        if ref is None or None in alts or not 0 <= first < length or length < 2:
            return None
        if self._bases(contig, first, first + 1).translate(TO_ACGTN)[0] != ref:
            return None
        self._assembly.note_agreeing()
        return [found.add(contig, first, alt) for alt in alts if alt is not None]

    def _plan_alt(
        self, contig: str | None, site: Site, number: int, fault: Status | None, work: Work
    ) -> AllelePlan:
        ref, alt = site.ref, site.alts[number]
        status = allele_status(ref, alt)
        pos = site.pos
        is_spelled_out = False
        if status is Status.SYMBOLIC and site.info is not None and contig is not None and fault is None:
            spelled = spell_out(
                pos,
                ref,
                alt,
                number,
                site.info,
                lambda start, end: self._bases(contig, start, end).translate(TO_ACGTN),
                self._genome.contigs[contig],
                longest=self._window // 2,
            )
            if spelled == "TOO_LONG":
                return AllelePlan(Status.TOO_LONG)
            if spelled is not None:
                pos, ref, alt = spelled
                status = allele_status(ref, alt)
                is_spelled_out = True
        status = status or fault
        if status is not None:
            return AllelePlan(status)
        assert contig is not None
        plan = self._plan_allele(contig, pos, ref.upper(), alt.upper(), site, number, work)
        work.counts["spelled_out"] += is_spelled_out and plan.status is Status.OK
        return plan

    def _site_fault(self, contig: str | None, site: Site) -> Status | None:
        ref = site.ref
        if contig is None:
            return Status.NO_CONTIG
        if allele_status(ref, "A") is not None:
            return None  # no letters to compare; the alleles' own status says so
        first, end = site.pos - 1, site.pos - 1 + len(ref)
        length = self._genome.contigs[contig]
        if end > length or first < 0:
            found = f"only {length:,} bp in {contig}"
            self._assembly.note_ref(False, site.where, ref, found)
            return Status.EDGE
        letters = self._bases(contig, first, end)
        agrees = ref_agrees(ref, letters)
        self._assembly.note_ref(agrees, site.where, ref, letters.decode())
        return None if agrees else Status.REF_MISMATCH

    def _plan_allele(
        self, contig: str, pos: int, ref: str, alt: str, site: Site, number: int, work: Work
    ) -> AllelePlan:
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
        strands: list[StrandWindows] = []
        backgrounds = self._backgrounds(contig, pos, ref, site, number, work)
        for background in backgrounds or [self._reference(contig, pos)]:
            found = self._strand_windows(*background, ref, alt)
            if isinstance(found, Status):
                return AllelePlan(found)
            strands += found
        work.counts["normalized"] += (pos, ref, alt) != given
        work.counts["on_haplotype"] += bool(backgrounds)
        key = known = None
        if self._recall is not None:
            key, known = self._recall.allele(strands, ref, alt)
            work.counts["from_cache" if known else "not_in_cache"] += 1
        pairs = () if known else tuple(_pair(each, work.windows, self._probes) for each in strands)
        return AllelePlan(Status.OK, pairs, known, key)

    def _backgrounds(
        self, contig: str, pos: int, ref: str, site: Site, number: int, work: Work
    ) -> list[tuple[Bases, int, int]]:
        """Return the haplotypes that carry an allele: bases, their number, and POS there; none: the reference."""
        if site.haplotypes is None:
            return []
        found = site.haplotypes.backgrounds(number, pos, ref)
        work.counts.update(found.skipped)
        return [(_slices_of(letters), len(letters), at) for letters, at in found.sequences]

    def _reference(self, contig: str, pos: int) -> tuple[Bases, int, int]:
        return lambda start, end: self._bases(contig, start, end), self._genome.contigs[contig], pos

    def _strand_windows(
        self, bases: Bases, contig_length: int, pos: int, ref: str, alt: str
    ) -> list[StrandWindows] | Status:
        """Return the windows of an allele on each strand, or why it has none."""
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

    def is_mismatch(self, site: Site) -> bool:
        """Return whether any allele of a record has the status REF_MISMATCH; counts it as `check_ref` does."""
        is_judged = any(allele_status(site.ref, alt) is None for alt in site.alts)
        return is_judged and self.check_ref(site) is Status.REF_MISMATCH

    def check_ref(self, site: Site) -> Status | None:
        """Count a record for the judgement of the assembly, and return what is wrong with its REF, if anything."""
        return self._site_fault(self._assembly.resolve(site.chrom), site)

    def context(self, site: Site) -> bytes:
        """Return the base of the genome at POS with one on either side as A, C, G, T, N; empty at a contig's ends."""
        contig = self._assembly.resolve(site.chrom)
        if contig is None or not 2 <= site.pos < self._genome.contigs[contig]:
            return b""
        return self._bases(contig, site.pos - 2, site.pos + 1).translate(TO_ACGTN)


def _slices_of(letters: bytes) -> Bases:
    return lambda start, end: letters[start:end]


def _pair(strand: StrandWindows, windows: WindowSet, is_probed: bool) -> WindowPair:
    ref, alt = windows.add_pair(
        strand.ref,
        strand.alt,
        ref_end=max(2, strand.ref_span[1], strand.offset + 1 if is_probed else 0),
        alt_end=max(2, strand.alt_span[1]),
        n_shared=strand.n_shared,
    )
    if is_probed and strand.offset:
        windows.probe(ref, strand.offset - 1)
    return WindowPair(ref, alt, strand.ref_span, strand.alt_span, strand.n_scored, strand.offset)


def score_of(plan: AllelePlan, found: WindowLikelihoods, reduce: Reduce, n_strands: int) -> VariantScore:
    """Return the score of an allele from the likelihoods of its windows.

    Args:
        plan: The allele.
        found: Of all windows.
        reduce: Sum or mean.
        n_strands: 2 where pairs of windows are forward and reverse in turn.
    """
    if plan.known is not None:
        return plan.known
    if plan.status is not Status.OK:
        return VariantScore(plan.status)
    totals = [
        (found.total(pair.ref, pair.ref_span), found.total(pair.alt, pair.alt_span), max(pair.n_scored, 1))
        for pair in plan.pairs
    ]
    if reduce == "mean":
        totals = [(ref / n, alt / n, n) for ref, alt, n in totals]
    llrs = [alt - ref for ref, alt, _ in totals]
    entropies = [
        found.entropies[key] for pair in plan.pairs if (key := (pair.ref, pair.offset - 1)) in found.entropies
    ]
    return VariantScore(
        Status.OK,
        _mean(llrs),
        _mean(llrs[::n_strands]),
        _mean(llrs[1::2]) if n_strands == 2 else None,
        _mean([ref for ref, _, _ in totals]),
        _mean([alt for _, alt, _ in totals]),
        _mean(entropies) if entropies else None,
    )


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
