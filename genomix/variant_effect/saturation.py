"""Saturation mutagenesis in silico: every substitution of each base of a region, and if wanted its deletion, scored.

Each is scored as any variant of a VCF is (see `genomix.variant_effect.score`), by the same engine. A deletion is spelt
with the base before it, as VCF has it (at the first base of a contig, with the base after it), and scored in its normal
form: in a run of equal bases all deletions of one base are the same haplotype and have the same score.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from genomix.checkpoint.native import LoadedModel
from genomix.variant_effect.assembly import Assembly
from genomix.variant_effect.contract import ScoreOptions, Status, VariantScore
from genomix.variant_effect.score import Progress, Scorer, language_model
from genomix.variant_effect.site import Site
from genomix.variant_effect.windows import TO_ACGTN
from genomix_data.errors import ConfigError, ReferenceMismatchError
from genomix_data.genome import Genome
from genomix_data.interval import Interval
from genomix_data.regions import CONTIG_END, Regions

BASES = "ACGT"
_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class MutatedBase:
    """One base of a region and what its changes score.

    Attributes:
        chrom: Contig, as the FASTA names it.
        start: 0-based.
        ref: The base; N for an ambiguity code or N, which has neither substitutions nor a deletion.
        substitutions: The other three bases in the order of A, C, G, T, and their scores.
        deletion: The site that deletes the base, and its score; None where none was asked for, or the base is N.
    """

    chrom: str
    start: int
    ref: str
    substitutions: tuple[tuple[str, VariantScore], ...]
    deletion: tuple[Site, VariantScore] | None = None


@dataclass(slots=True)
class SaturationSummary:
    """What a run did.

    Attributes:
        regions: Stretches, after those that overlap or touch were made one.
        bases: In them.
        skipped_n: Bases that are N or another ambiguity code, and so have no scores.
        alleles: Substitutions and deletions.
        by_status: Of the alleles.
        window: In bp.
        windows: That went through the model; shared ones count once.
        model_sha256: Of the weights.
        seconds: Wall time.
        outputs: What was written.
    """

    regions: int = 0
    bases: int = 0
    skipped_n: int = 0
    alleles: int = 0
    by_status: dict[Status, int] = field(default_factory=dict)
    window: int = 0
    windows: int = 0
    model_sha256: str = ""
    seconds: float = 0.0
    outputs: tuple[str, ...] = ()

    @property
    def scored(self) -> int:
        """Alleles with a score."""
        return self.by_status.get(Status.OK, 0)

    def count(self, base: MutatedBase) -> None:
        """Add a base."""
        self.bases += 1
        self.skipped_n += base.ref == "N"
        scores = [score for _, score in base.substitutions] + ([base.deletion[1]] if base.deletion else [])
        self.alleles += len(scores)
        for score in scores:
            self.by_status[score.status] = self.by_status.get(score.status, 0) + 1

    def watch(self, bases: Iterable[MutatedBase]) -> Iterator[MutatedBase]:
        """Yield bases as they come, and count them."""
        for base in bases:
            self.count(base)
            yield base

    def to_dict(self) -> dict[str, Any]:
        """Return the summary as JSON values."""
        return {
            "regions": self.regions,
            "bases": self.bases,
            "bases_skipped_n": self.skipped_n,
            "alleles": self.alleles,
            "alleles_scored": self.scored,
            "by_status": {status.value: count for status, count in sorted(self.by_status.items())},
            "window_bp": self.window,
            "windows": self.windows,
            "model_sha256": self.model_sha256,
            "seconds": round(self.seconds, 3),
            "outputs": list(self.outputs),
        }


def regions_on(genome: Genome, regions: Regions) -> list[Interval]:
    """Return regions as stretches of the genome, in its order; those that overlap or touch are one.

    Raises:
        ReferenceMismatchError: if a contig is not there, or a region reaches beyond its contig.
        ConfigError: if all but the regions is meant (``^``).
    """
    if regions.is_excluded:
        raise ConfigError(
            f"regions {regions.source!r} begin with ^; name the bases to mutate, not all others."
        )
    if regions.is_file:
        for chrom in regions.chroms:
            genome.resolve(chrom)  # a base that is asked for and not there must not vanish
    found = []
    for chrom, spans in regions.merged(genome.names).items():
        length = genome.contigs[chrom]
        for start, end in spans:
            if start >= length or (end > length and end != CONTIG_END):
                raise ReferenceMismatchError(
                    f"region {chrom}:{start + 1:,}-{end:,} reaches beyond its contig, which has {length:,} bp in "
                    f"{genome.path.name}. Check that both are of the same assembly."
                )
            found.append(Interval(chrom, start, min(end, length)))
    return found


def n_alleles(regions: Iterable[Interval], *, deletions: bool) -> int:
    """Return how many alleles a run has at most; bases that are N have none."""
    return sum(len(region) for region in regions) * (4 if deletions else 3)


class Saturation:
    """Saturation mutagenesis of a genome with a model.

    Args:
        genome: The FASTA.
        model: A language model, or its folder.
        options: How alleles are scored; deletions always in their normal form.
        deletions: Whether each base is deleted too.

    Raises:
        SequenceTooLongError: if the window is longer than the model's context.
        CheckpointError: if the model is a classifier.
    """

    def __init__(
        self,
        genome: Genome,
        model: LoadedModel | str | os.PathLike[str],
        options: ScoreOptions | None = None,
        *,
        deletions: bool = False,
    ) -> None:
        # substitutions have one spelling, so that normal forms matter to deletions only
        self.options = replace(options or ScoreOptions(), normalize=True)
        self.genome = genome
        self.model = language_model(model)
        self.deletions = deletions
        self._scorer = Scorer(genome, self.model, Assembly(genome, {}), self.options)
        self.window = self._scorer.window

    @property
    def n_windows(self) -> int:
        """Windows that went through the model so far."""
        return self._scorer.n_windows

    def run(self, regions: Iterable[Interval], progress: Progress | None = None) -> Iterator[MutatedBase]:
        """Yield every base of the regions in order, in bounded memory.

        Args:
            regions: Stretches of the genome, by the names of its contigs.
            progress: Called with the number of alleles done since the last call.
        """
        deletion: tuple[Site, VariantScore] | None = None
        for (place, site), scores in self._scorer.score(self._sites(regions), _site_of, progress):
            if place is None:
                deletion = (site, scores[0])
                continue
            substitutions = tuple(zip(site.alts, scores, strict=True))
            yield MutatedBase(site.chrom, place, site.ref, substitutions, deletion)
            deletion = None

    def _sites(self, regions: Iterable[Interval]) -> Iterator[tuple[int | None, Site]]:
        """Yield what is scored: the deletion of a base (without its place), then its substitutions; by POS."""
        for region in regions:
            for begin in range(region.start, region.end, _CHUNK):
                end = min(begin + _CHUNK, region.end)
                first = max(0, begin - 1)
                last = min(end + 1, self.genome.contigs[region.chrom])
                letters = self.genome.fetch(region.chrom, first, last).translate(TO_ACGTN).decode("ascii")
                for start in range(begin, end):
                    ref = letters[start - first]
                    if self.deletions and ref != "N":
                        site = _deletion(region.chrom, start, letters, start - first)
                        if site is not None:
                            yield None, site
                    alts = tuple(base for base in BASES if base != ref) if ref != "N" else ()
                    yield start, Site(region.chrom, start + 1, ref, alts, f"{region.chrom}:{start + 1}")


def _site_of(entry: tuple[int | None, Site]) -> Site:
    return entry[1]


def _deletion(chrom: str, start: int, letters: str, at: int) -> Site | None:
    """Return the deletion of the base at ``letters[at]``, which is at ``start``; None on a contig of one base."""
    where = f"{chrom}:{start + 1}"
    if start > 0:
        return Site(chrom, start, letters[at - 1 : at + 1], (letters[at - 1],), where)
    if at + 1 == len(letters):
        return None
    return Site(chrom, 1, letters[at : at + 2], (letters[at + 1],), where)
