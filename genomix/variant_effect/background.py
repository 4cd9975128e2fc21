"""Where a score lies among those of random variants of the same genome and class: z and rank.

What is likely differs between contexts (a base after CG is not one after AA) and between lengths of indels, whatever
the variant does; the background takes that out. Classes are the 96 substitutions in their trinucleotide, a strand and
its complement as one, and insertions and deletions by length. Random variants are drawn once for a genome, scored with
the same model and options, and kept in a cache.
"""

import fcntl
import hashlib
import json
import logging
import os
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from genomix import __version__
from genomix.checkpoint.native import LoadedModel
from genomix.variant_effect.contract import CALIBRATED, OF_WHOLE_WINDOWS, ScoreOptions, Status, VariantScore
from genomix.variant_effect.site import Site
from genomix_data.alphabet import reverse_complement
from genomix_data.atomic import atomic_file
from genomix_data.genome import Genome
from genomix_data.variant import Variant

logger = logging.getLogger(__name__)

ENOUGH = 20
"""Random variants that a class needs."""
LENGTHS = ((1, 1), (2, 2), (3, 4), (5, 8), (9, 16), (17, 32))
"""Classes of indels by length in bp, first and last; the last class takes longer ones too."""
_MOST_DRAWS = 400_000
_SEED = 0

ScoreSites = Callable[[ScoreOptions, Sequence[Site]], Iterator[list[VariantScore]]]


def variant_class(ref: str, alt: str, context: bytes) -> str | None:
    """Return the class of a pair of alleles in upper case, or None for one without a background.

    Args:
        ref: REF allele.
        alt: ALT allele.
        context: Of a substitution: its base with one on either side.

    >>> variant_class("C", "T", b"ACG"), variant_class("G", "A", b"CGT"), variant_class("A", "ACCCC", b"")
    ('A[C>T]G', 'A[C>T]G', 'insertion 3-4')
    """
    if len(ref) == len(alt) == 1:
        if len(context) != 3 or b"N" in context or ref == alt or chr(context[1]) != ref:
            return None
        if ref in "AG":
            ref, alt, context = (
                *(reverse_complement(base) for base in (ref, alt)),
                reverse_complement(context),
            )
        return f"{chr(context[0])}[{ref}>{alt}]{chr(context[2])}"
    kind = Variant("x", 1, ref, alt).kind
    if kind not in ("insertion", "deletion"):
        return None
    return _length_class(kind, abs(len(alt) - len(ref)))


def _length_class(kind: str, length: int) -> str:
    first, last = next((bounds for bounds in LENGTHS if length <= bounds[1]), LENGTHS[-1])
    if (first, last) == LENGTHS[-1]:
        return f"{kind} {first}+"
    return f"{kind} {first}" if first == last else f"{kind} {first}-{last}"


@dataclass(frozen=True, slots=True, eq=False)
class Background:
    """Sorted scores of random variants by class, in the unit of ``llr``."""

    classes: Mapping[str, Sequence[float]]

    @classmethod
    def of(
        cls, genome: Genome, model: LoadedModel, options: ScoreOptions, window: int, score: ScoreSites
    ) -> "Background":
        """Return the background of a genome, from the cache or by scoring random variants.

        Args:
            genome: Where variants are drawn.
            model: Of the scores.
            options: Likewise; ``background`` says how many variants a class has.
            window: In bp.
            score: Scores sites with options.
        """
        plain = replace(
            options,
            window=window,
            scores=("llr",),
            head=None,
            head_class=None,
            layer=None,
            max_ref_mismatch=1.0,
            check_ref="w",
        )
        drawn = draw(genome, options.background, longest=window // 4)
        path = cache_folder() / f"{_key(model, genome, plain, drawn)}.json"
        # of processes side by side one scores it, and the others wait for that
        with nullcontext() if path.exists() else _turn_at(path):
            if path.exists():
                logger.info("background: %s", path)
                return cls(json.loads(path.read_text(encoding="utf-8"))["classes"])
            # said aloud: with a large model this takes longer than the user's own variants
            logger.warning(
                "z and rank: %s random variants are scored first, once for this model and genome; kept in %s",
                f"{len(drawn):,}",
                path,
            )
            classes: dict[str, list[float]] = {}
            sites = [site for _, site in drawn]
            for (name, _), scores in zip(drawn, score(plain, sites), strict=True):
                if scores[0].status is Status.OK and scores[0].llr is not None:
                    classes.setdefault(name, []).append(scores[0].llr)
            for values in classes.values():
                values.sort()
            with atomic_file(path) as temporary:
                temporary.write_text(
                    json.dumps({"model": model.sha256, "classes": classes}) + "\n", encoding="utf-8"
                )
            return cls(classes)

    def place(self, name: str | None, llr: float) -> tuple[float | None, float | None]:
        """Return z and rank of a score; None of a class with too few variants, z also where all of them are alike."""
        values = self.classes.get(name or "", ())
        if len(values) < ENOUGH:
            return None, None
        below, above = bisect_left(values, llr), bisect_right(values, llr)
        rank = (below + above) / 2 / len(values)
        deviation = float(np.std(values, ddof=1))
        return (llr - float(np.mean(values))) / deviation if deviation else None, rank


def with_background(
    background: Background, context: bytes, site: Site, scores: Sequence[VariantScore]
) -> list[VariantScore]:
    """Return the scores of a site with z and rank; ``context`` is the base at POS with one on either side."""
    found = []
    for alt, score in zip(site.alts, scores, strict=True):
        if score.llr is not None and not alt.startswith("<"):
            ref, alt = site.ref.upper(), alt.upper()
            z, rank = background.place(variant_class(ref, alt, context), score.llr)
            score = replace(score, z=z, rank=rank)
        found.append(score)
    return found


def draw(genome: Genome, n_each: int, *, longest: int) -> list[tuple[str, Site]]:
    """Return random variants with their classes, at most ``n_each`` of a class; always the same for a genome.

    Args:
        genome: Where they lie; contigs are taken by their length.
        n_each: Of each class.
        longest: Of an indel, in bp.
    """
    rng = np.random.default_rng(_SEED)
    names = [name for name, length in genome.contigs.items() if length > 2]
    if not names:
        return []
    ends = np.cumsum([genome.contigs[name] for name in names])

    def bases(n: int) -> tuple[str, int, str] | None:
        """Return a random place and ``n`` bases from there, or None where they are not all A, C, G, T."""
        at = int(rng.integers(ends[-1]))
        which = int(np.searchsorted(ends, at, side="right"))
        start = at - (int(ends[which - 1]) if which else 0)
        if start + n > genome.contigs[names[which]]:
            return None
        letters = genome.fetch(names[which], start, start + n).decode().upper()
        return (names[which], start, letters) if set(letters) <= set("ACGT") else None

    found: dict[str, dict[tuple[str, int, str, str], Site]] = {}

    def keep(name: str, chrom: str, pos: int, ref: str, alt: str) -> None:
        of_class = found.setdefault(name, {})
        if len(of_class) < n_each:
            of_class[chrom, pos, ref, alt] = Site(chrom, pos, ref, (alt,), f"{chrom}:{pos}")

    most = min(_MOST_DRAWS, 20 * int(ends[-1]))
    n_full, n_draws = 0, 0
    while n_full < 96 and n_draws < most:
        n_draws += 1
        here = bases(3)
        if here is None:
            continue
        chrom, start, letters = here
        alts = [base for base in "ACGT" if base != letters[1]]
        alt = alts[int(rng.integers(3))]
        name = str(variant_class(letters[1], alt, letters.encode()))
        was_full = len(found.get(name, ())) >= n_each
        keep(name, chrom, start + 2, letters[1], alt)
        n_full += not was_full and len(found[name]) >= n_each
    for first, last in LENGTHS:
        for _ in range(min(50 * n_each, most)):
            length = int(rng.integers(first, last + 1))
            deleted, inserted = bases(length + 1), bases(length)
            if length > longest or deleted is None or inserted is None:
                continue
            chrom, start, letters = deleted
            keep(_length_class("deletion", length), chrom, start + 1, letters, letters[0])
            keep(_length_class("insertion", length), chrom, start + 1, letters[0], letters[0] + inserted[2])
            if (
                len(found.get(_length_class("insertion", length), ()))
                >= n_each
                <= len(found.get(_length_class("deletion", length), ()))
            ):
                break
    return [(name, site) for name, of_class in sorted(found.items()) for site in of_class.values()]


def cache_folder() -> Path:
    """Return where backgrounds are kept: ``$XDG_CACHE_HOME/genomix/backgrounds``, by default under ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "genomix" / "backgrounds"


@contextmanager
def _turn_at(path: Path) -> Iterator[None]:
    """Wait until no other process makes a file; where the disk knows no locks, each makes it for itself."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_suffix(".lock")
    with lock.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:
            logger.info("%s cannot be locked: %s", lock, error)
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)  # who waits for it finds the file that was made


def _key(model: LoadedModel, genome: Genome, options: ScoreOptions, drawn: Sequence[tuple[str, Site]]) -> str:
    """Return a name for what the scores depend on; the drawn variants hold bases of the genome itself."""
    settings: dict[str, Any] = {
        "version": __version__,
        "model": model.sha256,
        "genome": genome.fingerprint()["contigs_sha256"],
        "window": options.window,
        "mode": options.mode,
        "stride": options.stride,
        "horizon": options.horizon,
        "strand": options.strand,
        "reduce": options.reduce,
        "dtype": options.dtype,
        "normalize": options.normalize,
        "variants": [(site.chrom, site.pos, site.ref, site.alts[0], name) for name, site in drawn],
    }
    assert CALIBRATED.isdisjoint(options.scores)
    assert OF_WHOLE_WINDOWS.isdisjoint(options.scores)
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:32]
