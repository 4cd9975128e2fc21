"""Scores of variants: ``llr = log P(ALT window) - log P(REF window)``, nats, in blocks of bounded memory."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from genomix.checkpoint.native import LoadedModel, load_model
from genomix.inference.limits import check_length
from genomix.variant_effect.assembly import Assembly
from genomix.variant_effect.contract import DEFAULT_WINDOW, ScoreOptions, VariantScore
from genomix.variant_effect.engine import Engine
from genomix.variant_effect.plan import AllelePlan, Planner, score_of
from genomix.variant_effect.site import Site
from genomix.variant_effect.window_set import WindowSet
from genomix_data.genome import Genome
from genomix_data.variant import Variant

BLOCK_RECORDS = 4096
BLOCK_LETTERS = 1 << 24
BLOCK_BYTES = 1 << 26

Progress = Callable[[float], None]
_Record = TypeVar("_Record")


class Scorer:
    """Scores sites against one genome with one model.

    Args:
        genome: The FASTA.
        model: A language model.
        assembly: Resolves contigs and judges REF.
        options: How.

    Raises:
        SequenceTooLongError: if the window is longer than the model's context.
        ConfigError: if the stride does not fit the window.
        CheckpointError: if the model is a classifier.
    """

    def __init__(self, genome: Genome, model: LoadedModel, assembly: Assembly, options: ScoreOptions) -> None:
        self.window = window_of(model, options.window)
        self.n_windows = 0
        self._assembly = assembly
        self._options = options
        self._planner = Planner(genome, assembly, self.window, options)
        self._engine = Engine(
            model, device=options.device, dtype=options.dtype, batch_size=options.batch_size
        )
        # whole windows on a GPU until sharing them has been measured there; other modes are for what they share
        is_plain = options.mode == "exact" and options.horizon is None
        self._shares = self._engine.device.type == "cpu" or not is_plain

    @property
    def n_normalized(self) -> int:
        """Alleles that were scored in another spelling than the record's."""
        return self._planner.n_normalized

    def score(
        self,
        records: Iterable[_Record],
        site_of: Callable[[_Record], Site],
        progress: Progress | None = None,
    ) -> Iterator[tuple[_Record, list[VariantScore]]]:
        """Yield each record, in order, with the score of each of its ALT alleles.

        Memory is bounded: a block ends at 4,096 records, 16 M letters to be run or 64 MiB of records, the
        first that comes. Which records share a block changes no score.

        Args:
            records: Any records, read as they are needed.
            site_of: What a record says.
            progress: Called with the number of alleles done since the last call (a part of a block may be fractional).
        """
        stream = iter(records)
        exhausted = False
        while not exhausted:
            windows = self._planner.new_windows(shares=self._shares)
            block: list[tuple[_Record, list[AllelePlan]]] = []
            n_bytes = 0
            while len(block) < BLOCK_RECORDS and windows.n_letters < BLOCK_LETTERS and n_bytes < BLOCK_BYTES:
                record = next(stream, None)
                if record is None:
                    exhausted = True
                    self._assembly.check_at_end()
                    break
                site = site_of(record)
                n_bytes += site.n_bytes
                plans = self._planner.plan(site.chrom, site.pos, site.ref, site.alts, site.where, windows)
                block.append((record, plans))
            yield from self._score_block(block, windows, progress)

    def _score_block(
        self, block: list[tuple[_Record, list[AllelePlan]]], windows: WindowSet, progress: Progress | None
    ) -> Iterator[tuple[_Record, list[VariantScore]]]:
        n_alleles = sum(len(plans) for _, plans in block)
        share = n_alleles / len(windows) if len(windows) else 0.0

        def on_batch(n_windows: int) -> None:
            if progress is not None:
                progress(n_windows * share)

        found = self._engine.likelihoods(windows, on_batch)
        self.n_windows += len(windows)
        if progress is not None and not len(windows):
            progress(n_alleles)
        for record, plans in block:
            yield record, [score_of(plan, found, self._options.reduce) for plan in plans]


def score_variants(
    variants: Sequence[Variant],
    genome: Genome,
    model: LoadedModel | str | os.PathLike[str],
    options: ScoreOptions | None = None,
    *,
    progress: Progress | None = None,
) -> list[VariantScore]:
    """Return the score of each variant, in order.

    Args:
        variants: Any number, in any order; those that share a window share its forward pass.
        genome: Where they lie.
        model: A loaded language model, or its folder.
        options: How; the defaults are those of `ScoreOptions`.
        progress: Called with the number of variants done since the last call.

    Raises:
        ReferenceMismatchError: if the variants do not belong to this genome.
        SequenceTooLongError: if the window is longer than the model's context.
        CheckpointError: if the model is a classifier.
    """
    chosen = options or ScoreOptions()
    assembly = Assembly(genome, {}, check_ref=chosen.check_ref, max_ref_mismatch=chosen.max_ref_mismatch)
    scorer = Scorer(genome, language_model(model), assembly, chosen)
    return [scores[0] for _, scores in scorer.score(variants, _site_of_variant, progress)]


def _site_of_variant(variant: Variant) -> Site:
    return Site(variant.chrom, variant.pos, variant.ref, (variant.alt,), str(variant))


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
