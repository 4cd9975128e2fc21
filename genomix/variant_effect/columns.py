"""The columns of an output: what each is called, what its header says, and which part of a score it holds."""

from collections.abc import Callable
from dataclasses import dataclass

from genomix.variant_effect.contract import ScoreOptions, VariantScore
from genomix_data.errors import ConfigError

PREFIX = "GMX_"
STATUS_KEY = "GMX_STATUS"


@dataclass(frozen=True, slots=True)
class Column:
    """One number an allele.

    Attributes:
        key: Of INFO, and name of the column in a table.
        description: For the header; without quotation marks.
        value: Takes it from a score; None is written as missing.
        field: Name of the field of `VariantScore`; ``abs`` has none of its own.
    """

    key: str
    description: str
    value: Callable[[VariantScore], float | None]
    field: str


def columns_of(options: ScoreOptions, *, per_strand: bool = False) -> tuple[Column, ...]:
    """Return the columns that a run with these options writes, but for the status.

    Raises:
        ConfigError: if scores of the strands are wanted and one is scored.
    """
    if per_strand and options.strand != "both":
        raise ConfigError("per-strand scores need both strands; leave out --strand forward, or --per-strand.")
    unit = "nats" if options.reduce == "sum" else "nats per scored base"
    strands = "mean of both strands" if options.strand == "both" else "forward strand"
    difference = f"log P(ALT window) - log P(REF window), {unit}"
    layer = options.layer or "the last norm"
    head = f"output {options.head_class}" if options.head_class else "output"
    known = [
        Column("GMX_LLR", f"{difference}, {strands}; negative = ALT less likely", lambda s: s.llr, "llr"),
        Column("GMX_REF_LL", f"log P(REF window), {unit}, {strands}", lambda s: s.ref_ll, "ref_ll"),
        Column("GMX_ALT_LL", f"log P(ALT window), {unit}, {strands}", lambda s: s.alt_ll, "alt_ll"),
        Column("GMX_ABS", f"absolute value of GMX_LLR: {difference}, {strands}", _absolute, "abs"),
        Column(
            "GMX_ENTROPY",
            f"entropy of the prediction of A, C, G, T at the first base of REF as read, nats, {strands}",
            lambda s: s.entropy,
            "entropy",
        ),
        Column(
            "GMX_COS",
            f"1 - cosine of the mean states of the REF and the ALT window after {layer}, {strands}",
            lambda s: s.cos,
            "cos",
        ),
        Column(
            "GMX_L2",
            f"Euclidean distance of the mean states of the REF and the ALT window after {layer}, {strands}",
            lambda s: s.l2,
            "l2",
        ),
        Column(
            "GMX_HEAD",
            f"{head} of the fine-tuned model for ALT less that for REF (of a model of pairs: for the pair), {strands}",
            lambda s: s.head,
            "head",
        ),
        Column(
            "GMX_Z",
            f"standard deviations of GMX_LLR from the mean of up to {options.background} random variants of the genome "
            "and of the same class (substitution in its trinucleotide, or length of the indel)",
            lambda s: s.z,
            "z",
        ),
        Column(
            "GMX_RANK",
            "part of those random variants with a lower GMX_LLR, ties by half",
            lambda s: s.rank,
            "rank",
        ),
    ]
    found = [column for column in known if column.field in options.scores]
    if per_strand:
        found += [
            Column("GMX_LLR_FWD", f"{difference}, forward strand", lambda s: s.llr_fwd, "llr_fwd"),
            Column("GMX_LLR_RC", f"{difference}, reverse complement", lambda s: s.llr_rc, "llr_rc"),
        ]
    return tuple(found)


def _absolute(score: VariantScore) -> float | None:
    return None if score.llr is None else abs(score.llr)
