"""Scores of variants: ``llr = log P(ALT window) - log P(REF window)``, nats, in blocks of bounded memory."""

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from genomix.checkpoint.native import LoadedModel, load_model
from genomix.inference.limits import check_length
from genomix.variant_effect.assembly import Assembly
from genomix.variant_effect.background import Background, with_background
from genomix.variant_effect.cache_keys import AlleleKeys, identity_of, settings_of
from genomix.variant_effect.contract import CALIBRATED, DEFAULT_WINDOW, ScoreOptions, VariantScore
from genomix.variant_effect.engine import Engine
from genomix.variant_effect.plan import AllelePlan, Plan, Planner, Work, score_of
from genomix.variant_effect.read_ahead import read_ahead
from genomix.variant_effect.recall import Recall, RecalledSubstitutions
from genomix.variant_effect.score_cache import ScoreCache
from genomix.variant_effect.site import Site
from genomix.variant_effect.substitution_scores import score_substitutions
from genomix.variant_effect.substitutions import Substitutions, SubstitutionWindows
from genomix.variant_effect.table_lookup import ScoreTable
from genomix.variant_effect.whole_windows import WholeWindowScores
from genomix_data.genome import Genome
from genomix_data.variant import Variant

BLOCK_RECORDS = 1024
"""A block ends at multiples of so many records, so that parts of a file that begin at one are run as in the whole."""
BLOCK_LETTERS = 1 << 24
BLOCK_BYTES = 1 << 26

Progress = Callable[[float], None]
_Record = TypeVar("_Record")


@dataclass(slots=True)
class ScoredBlock(Generic[_Record]):
    """Some records, one after the other, with their scores.

    Attributes:
        records: Each record with the score of each of its ALT alleles.
        n_windows: That went through the model.
        counts: What happened to alleles; see `genomix.variant_effect.plan.Work`.
    """

    records: list[tuple[_Record, list[VariantScore]]]
    n_windows: int
    counts: Counter[str]


@dataclass(slots=True)
class _PlannedBlock(Generic[_Record]):
    work: Work
    records: list[tuple[_Record, Site, list[Plan]]] = field(default_factory=list)
    contexts: list[bytes] = field(default_factory=list)
    substitutions: SubstitutionWindows | None = None
    recalled: RecalledSubstitutions | None = None


LARGE = 1_000_000_000
"""Parameters from which a GPU shares prefixes by itself: with 7 billion it scores 1.5 times as fast then,
with 2 million 0.93 to 0.96 times (one H200).
"""


class Scorer:
    """Scores sites against one genome with one model.

    Args:
        genome: The FASTA.
        model: A language model.
        assembly: Resolves contigs and judges REF.
        options: How.
        table: Scores that are known already, by `genomix tile`.
        cache: Scores of this model that were computed before; what is computed is added.

    Raises:
        SequenceTooLongError: if the window is longer than the model's context.
        ConfigError: if the stride does not fit the window, or the model has no such layer.
        CheckpointError: if the model is a classifier.
    """

    def __init__(
        self,
        genome: Genome,
        model: LoadedModel,
        assembly: Assembly,
        options: ScoreOptions,
        *,
        table: ScoreTable | None = None,
        cache: ScoreCache | None = None,
    ) -> None:
        self.window = window_of(model, options.window)
        self.n_windows = 0
        self.n_normalized = 0
        self._genome = genome
        self._model = model
        self._assembly = assembly
        self._options = options
        self._table = table
        self._n_strands = 2 if options.strand == "both" else 1
        self._engine = Engine(
            model, device=options.device, dtype=options.dtype, batch_size=options.batch_size
        )
        self._overlaps = self._engine.device.type == "cuda"
        shares = self._shares_by_itself() if options.shares is None else options.shares
        self._whole_windows = WholeWindowScores(self._engine, options, self._n_strands)
        self._recall = None if cache is None else self._recall_from(cache, shares)
        self._planner = Planner(genome, assembly, self.window, options, shares=shares, recall=self._recall)
        self._background: Background | None = None

    def _shares_by_itself(self) -> bool:
        """Return whether prefixes are shared where nobody said: if it is faster, or the mode is for it."""
        is_plain = self._options.mode == "exact" and self._options.horizon is None
        if self._engine.device.type == "cpu" or not is_plain:
            return True
        return sum(parameter.numel() for parameter in self._engine.model.parameters()) >= LARGE

    def _recall_from(self, cache: ScoreCache, shares: bool) -> Recall:
        model, head = identity_of(self._model), self._whole_windows.head_model
        assert cache.model == model, "the cache is that of another model"
        settings = settings_of(
            model,
            self._options,
            window=self.window,
            device=self._engine.device.type,
            shares=shares,
            head=None if head is None else identity_of(head),
        )
        return Recall(cache, AlleleKeys(settings))

    def score(
        self,
        records: Iterable[_Record],
        site_of: Callable[[_Record], Site],
        progress: Progress | None = None,
    ) -> Iterator[tuple[_Record, list[VariantScore]]]:
        """Yield each record, in order, with the score of each of its ALT alleles; see `score_blocks`."""
        for block in self.score_blocks(records, site_of, progress):
            yield from block.records

    def score_blocks(
        self,
        records: Iterable[_Record],
        site_of: Callable[[_Record], Site],
        progress: Progress | None = None,
        *,
        first: int = 0,
    ) -> Iterator[ScoredBlock[_Record]]:
        """Yield the records in blocks, in order, with the score of each of their ALT alleles.

        Memory is bounded: a block ends before a record whose number is a multiple of 1,024, or at 16 M letters to be
        run or 64 MiB of records, the first that comes. Which records share a block changes no score. On a GPU the next
        block is read while one is scored, and scored while one is used.

        Args:
            records: Any records, read as they are needed.
            site_of: What a record says.
            progress: Called with the number of alleles done since the last call (a part of a block may be fractional).
            first: Number of the first record.
        """
        if not CALIBRATED.isdisjoint(self._options.scores) and self._background is None:
            self._background = Background.of(
                self._genome, self._model, self._options, self.window, self._scores_of
            )
        planned = self._plan_blocks(records, site_of, first)
        ready = read_ahead(planned) if self._overlaps else planned
        left = threading.Event()
        scored = (self._score_block(block, progress, left) for block in ready)
        try:
            for block in read_ahead(scored, left) if self._overlaps else scored:
                self.n_windows += block.n_windows
                self.n_normalized += block.counts["normalized"]
                yield block
        finally:
            left.set()

    def _scores_of(self, options: ScoreOptions, sites: Sequence[Site]) -> Iterator[list[VariantScore]]:
        """Yield the scores of sites with other options."""
        assembly = Assembly(self._genome, {}, max_ref_mismatch=1.0)
        other = Scorer(self._genome, self._model, assembly, options)
        return (scores for _, scores in other.score(sites, lambda site: site))

    def _plan_blocks(
        self, records: Iterable[_Record], site_of: Callable[[_Record], Site], first: int
    ) -> Iterator[_PlannedBlock[_Record]]:
        stream = iter(records)
        number = first
        exhausted = False
        while not exhausted:
            work = self._planner.new_work()
            block = _PlannedBlock[_Record](work)
            n_bytes = 0
            room = BLOCK_RECORDS - number % BLOCK_RECORDS
            while len(block.records) < room and work.n_letters < BLOCK_LETTERS and n_bytes < BLOCK_BYTES:
                record = next(stream, None)
                if record is None:
                    exhausted = True
                    self._assembly.check_at_end()
                    break
                site = site_of(record)
                n_bytes += site.n_bytes
                block.records.append((record, site, self._plan(site, work)))
                if self._background is not None:
                    block.contexts.append(self._planner.context(site))
            number += len(block.records)
            if work.substitutions:
                self._place_substitutions(block, work.substitutions)
            if block.records:
                yield block

    def _place_substitutions(self, block: _PlannedBlock[_Record], found: Substitutions) -> None:
        """Lay out the windows of a block's substitutions, but for those whose scores are in the cache."""
        placed = found.placed(self._genome.contigs, self._genome.fetch)
        if self._recall is None:
            block.substitutions = placed.windows()
            return
        block.recalled = recalled = self._recall.substitutions(placed)
        for _, _, plans in block.records:
            for plan in plans:
                if isinstance(plan, int):
                    is_known = recalled.known[plan] is not None
                    block.work.counts["from_cache" if is_known else "not_in_cache"] += 1
        missing = recalled.missing
        block.substitutions = placed.only(missing).windows() if len(missing) else None

    def _plan(self, site: Site, work: Work) -> list[Plan]:
        if self._table is None:
            return self._planner.plan(site, work)
        known = self._table.scores(self._assembly.resolve(site.chrom), site)
        if all(score is not None for score in known) and known:
            self._planner.check_ref(site)
            work.counts["from_table"] += len(known)
            return [AllelePlan(score.status, known=score) for score in known if score is not None]
        return self._planner.plan(site, work)

    def _score_block(
        self, block: _PlannedBlock[_Record], progress: Progress | None, left: threading.Event
    ) -> ScoredBlock[_Record]:
        n_alleles = sum(len(plans) for _, _, plans in block.records)
        work = block.work
        arrays = block.substitutions
        n_windows = len(work.windows) + (arrays.n_windows if arrays else 0)
        share = n_alleles / n_windows if n_windows else 0.0

        def on_batch(n_done: int) -> None:
            if left.is_set():
                raise InterruptedError("nobody waits for this block any more")
            if progress is not None:
                progress(n_done * share)

        singles = (
            score_substitutions(self._engine, arrays, self._options, self._n_strands, on_batch)
            if arrays
            else []
        )
        if block.recalled is not None:
            singles = block.recalled.completed(singles)
        found = self._engine.likelihoods(work.windows, on_batch)
        if progress is not None and not n_windows:
            progress(n_alleles)
        reduce = self._options.reduce
        scored = [
            (
                record,
                [
                    singles[plan] if isinstance(plan, int) else score_of(plan, found, reduce, self._n_strands)
                    for plan in plans
                ],
            )
            for record, _, plans in block.records
        ]
        if self._whole_windows.are_wanted:
            plans = [plan for _, _, plans in block.records for plan in plans if isinstance(plan, AllelePlan)]
            self._whole_windows.add(plans, work.windows, [scores for _, scores in scored])
        if self._recall is not None:
            self._recall.keep(_to_be_kept(block, scored))
        if self._background is not None:
            for (_, site, _), (_, scores), context in zip(block.records, scored, block.contexts, strict=True):
                scores[:] = with_background(self._background, context, site, scores)
        return ScoredBlock(scored, n_windows, work.counts)


def _to_be_kept(
    block: _PlannedBlock[_Record], scored: Sequence[tuple[_Record, list[VariantScore]]]
) -> dict[bytes, VariantScore]:
    """Return the scores of a block that were not in the cache, by their keys."""
    found: dict[bytes, VariantScore] = {}
    recalled = block.recalled
    for (_, _, plans), (_, scores) in zip(block.records, scored, strict=True):
        for plan, score in zip(plans, scores, strict=True):
            if isinstance(plan, AllelePlan):
                if plan.key is not None and plan.known is None:
                    found[plan.key] = score
            elif recalled is not None and recalled.known[plan] is None:
                found[recalled.keys[plan]] = score
    return found


def score_variants(
    variants: Sequence[Variant],
    genome: Genome,
    model: LoadedModel | str | os.PathLike[str],
    options: ScoreOptions | None = None,
    *,
    cache: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> list[VariantScore]:
    """Return the score of each variant, in order.

    Args:
        variants: Any number, in any order; those that share a window share its forward pass.
        genome: Where they lie.
        model: A loaded language model, or its folder.
        options: How; the defaults are those of `ScoreOptions`.
        cache: Folder of scores that were computed before; what is computed is added.
        progress: Called with the number of variants done since the last call.

    Raises:
        ReferenceMismatchError: if the variants do not belong to this genome.
        SequenceTooLongError: if the window is longer than the model's context.
        CheckpointError: if the model is a classifier.
    """
    chosen = options or ScoreOptions()
    assembly = Assembly(genome, {}, check_ref=chosen.check_ref, max_ref_mismatch=chosen.max_ref_mismatch)
    loaded = language_model(model)
    with nullcontext() if cache is None else open_cache(cache, loaded) as kept:
        scorer = Scorer(genome, loaded, assembly, chosen, cache=kept)
        return [scores[0] for _, scores in scorer.score(variants, _site_of_variant, progress)]


def _site_of_variant(variant: Variant) -> Site:
    return Site(variant.chrom, variant.pos, variant.ref, (variant.alt,), str(variant))


def open_cache(folder: str | os.PathLike[str], model: LoadedModel) -> ScoreCache:
    """Return the cache of a model; see `genomix.variant_effect.score_cache.ScoreCache`."""
    return ScoreCache(folder, identity_of(model))


def language_model(model: LoadedModel | str | os.PathLike[str]) -> LoadedModel:
    """Return the language model of a folder, or the loaded one as it is.

    Raises:
        CheckpointError: if it is a classifier, or no checkpoint.
    """
    return model if isinstance(model, LoadedModel) else load_model(model, expect="language_model")


def window_of(model: LoadedModel, window: int | None) -> int:
    """Return the window in bp: the one asked for, or the smaller of 1,024 and the model's context.

    Raises:
        SequenceTooLongError: if it is longer than the context.
    """
    context = model.config.context_len
    if window is None:
        return min(DEFAULT_WINDOW, context)
    check_length(
        model.config,
        window,
        f"a window of {window:,} bp",
        f"Use --window {context} or less, or a model of longer context (see `genomix models`).",
    )
    return window
