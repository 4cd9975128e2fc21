"""Effects of variants by likelihood: ``llr = log P(ALT window) - log P(REF window)``."""

from genomix.variant_effect.contract import ScoreOptions, ScoreSummary, Status, VariantScore
from genomix.variant_effect.output import OutputOptions
from genomix.variant_effect.score import score_variants
from genomix.variant_effect.shards import Shard
from genomix.variant_effect.vcf import score_vcf

__all__ = [
    "OutputOptions",
    "ScoreOptions",
    "ScoreSummary",
    "Shard",
    "Status",
    "VariantScore",
    "score_variants",
    "score_vcf",
]
