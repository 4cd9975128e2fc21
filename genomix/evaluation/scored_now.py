"""Labelled variants that have no scores yet: they are scored, and the scores put beside their classes."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from genomix.checkpoint.native import LoadedModel
from genomix.evaluation.labelled_variants import LabelledVariants, read_labelled_variants
from genomix.variant_effect import OutputOptions, ScoreOptions, ScoreSummary, score_vcf
from genomix.variant_effect.score import Progress
from genomix_data.errors import ConfigError

SCORE = "GMX_LLR"


def score_labelled_variants(
    path: str | os.PathLike[str],
    fasta: str | os.PathLike[str],
    model: LoadedModel | str | os.PathLike[str],
    options: ScoreOptions | None = None,
    *,
    label: str,
    group: str | None = None,
    keep: str | os.PathLike[str] | None = None,
    contig_map: Mapping[str, str] | str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> tuple[LabelledVariants, ScoreSummary]:
    """Return labelled variants with ``GMX_LLR``, and what scoring did; see `score_vcf` for arguments and errors.

    Args:
        path: VCF, BCF or table of variants; a file, because it is read twice.
        fasta: The genome.
        model: A language model, or its folder.
        options: How variants are scored.
        label: See `read_labelled_variants`.
        group: See `read_labelled_variants`.
        keep: Write the scored variants to this VCF as well; without it they are in a scratch file for a while.
        contig_map: See `score_vcf`.
        progress: See `score_vcf`.

    Raises:
        ConfigError: if ``path`` is standard input, or scoring drops records.
    """
    if str(path) == "-":
        raise ConfigError("the variants are read twice, for classes and for scoring; give a file, not -.")
    if options is not None and options.check_ref == "x":
        raise ConfigError("check_ref='x' drops records; an evaluation counts them all. Use w or e.")
    # before any scoring: a misspelt label should not wait for it
    variants = read_labelled_variants(path, label=label, group=group)
    with tempfile.TemporaryDirectory() as scratch:
        scored = Path(keep) if keep is not None else Path(scratch) / "scored.vcf"
        what = OutputOptions(output_type=None if keep is not None else "v")
        if keep is not None and what.type_for(scored) == "t":
            raise ConfigError(
                f"{str(keep)!r} would be a table; keep the scored variants as .vcf, .vcf.gz or .bcf."
            )
        summary = score_vcf(
            path, fasta, model, scored, options, output=what, contig_map=contig_map, progress=progress
        )
        found = read_labelled_variants(scored, label="GMX_STATUS", score_fields=[SCORE])
    assert found.alleles == variants.alleles, "every record comes back, in order"
    variants.scores = {SCORE: found.scores[SCORE]}
    return variants, summary
