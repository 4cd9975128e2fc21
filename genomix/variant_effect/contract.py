"""What scoring takes and what it gives: options, statuses, scores, and the summary of a run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Self

from genomix_data.errors import ConfigError

if TYPE_CHECKING:
    from genomix.variant_effect.comparison import ExactComparison

Strand = Literal["both", "forward"]
Reduce = Literal["sum", "mean"]
Mode = Literal["exact", "tiled"]
CheckRef = Literal["w", "e", "x"]
Dtype = Literal["float32", "bfloat16"]

DEFAULT_WINDOW = 1024

SCORES = ("llr", "ref_ll", "alt_ll", "abs", "entropy", "cos", "l2", "head", "z", "rank")
"""What can be asked of an allele; see `genomix.variant_effect.columns`."""
OF_WHOLE_WINDOWS = frozenset({"cos", "l2", "head"})
"""Scores for which every distinct window runs whole: work is shared between alleles, not between REF and ALT."""
CALIBRATED = frozenset({"z", "rank"})
"""Scores beside those of random variants of the same genome."""

PROTOCOLS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {"evo2": MappingProxyType({"window": 8192, "mode": "exact", "strand": "forward", "reduce": "mean"})}
)
"""Published ways of scoring by name. ``evo2``: the BRCA1 study of Brixi et al. 2025 (Evo 2): windows of 8,192 bp with
the variant at index 4,096, mean log-likelihood of 8,191 tokens with nothing before the first, forward strand."""


class Status(StrEnum):
    """Why an allele has a score, or has none."""

    OK = "OK"
    REF_MISMATCH = "REF_MISMATCH"
    SYMBOLIC = "SYMBOLIC"
    STAR = "STAR"
    NON_ACGT = "NON_ACGT"
    TOO_LONG = "TOO_LONG"
    NO_CONTIG = "NO_CONTIG"
    EDGE = "EDGE"


STATUS_MEANING: dict[Status, str] = {
    Status.OK: "scored",
    Status.REF_MISMATCH: "REF is not what the FASTA has at POS",
    Status.SYMBOLIC: "symbolic allele (<DEL>, <*>, <NON_REF>) or breakend",
    Status.STAR: "* (deleted by an upstream variant)",
    Status.NON_ACGT: "REF or ALT holds a letter other than A, C, G, T",
    Status.TOO_LONG: "an allele is longer than half the window (in tiled mode: less half the stride)",
    Status.NO_CONTIG: "the FASTA has no such contig",
    Status.EDGE: "outside the contig, or too close to its right end for windows of equal length",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreOptions:
    """How variants are scored.

    Args:
        window: Window in bp; None takes the smaller of 1,024 and the model's context.
        mode: ``exact`` has each variant in the middle of its windows; in ``tiled`` mode variants share REF windows, see
            `genomix_data.variant_tiles`.
        stride: Of ``tiled`` mode, bp from one REF window to the next; None: half the window. At most that.
        horizon: Score the variant and so many bases after it, in the direction of reading; None: the whole window.
        exact_sample: With ``horizon`` or ``tiled``: so many of the alleles are scored in ``exact`` mode too, and
            `score_vcf` says how the scores correlate; 0: none.
        strand: ``both`` averages the scores of the window and of its reverse complement.
        reduce: ``sum`` of log-likelihoods over the window, or their ``mean`` over scored positions.
        check_ref: Where REF is not what the FASTA has: ``w`` leaves it unscored, ``e`` stops, ``x`` drops the record.
        max_ref_mismatch: Stop when a larger part of the first records mismatches; 1 never stops.
        ignore_contig_lengths: Go on where the VCF header and the FASTA give a contig different lengths.
        normalize: Score each allele trimmed and moved as far left as the genome allows; records come back unchanged.
        batch_size: Windows in a forward pass; None chooses by window and device.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
        dtype: Of the model's matrix products; log-softmax is fp32 in any case.
        scores: What is computed for each allele, of `SCORES`; ``llr`` always is.
        layer: Of ``cos`` and ``l2``, the module whose outputs are compared; None: the states after the last norm.
        head: Of the score ``head``, the folder of a fine-tuned model.
        head_class: Of ``head``, the class whose probability is compared; None: the second of two, or the only output.
        background: Of ``z`` and ``rank``, random variants of each class.
        shares: Whether ALT windows go on from REF windows in ``exact`` mode; None: on a CPU.
        protocol: Name of the published way of scoring that the other values are; for the header.
        sv: In a VCF, score ``<DEL>``, ``<DUP>``, ``<INV>`` and ``<INS>`` whose length or letters INFO states.
        haplotypes: In a VCF, score what a sample carries beside its phased neighbours.
        sample: Name of that sample; None for the only one.

    Raises:
        ConfigError: if a value is out of range.
    """

    window: int | None = None
    mode: Mode = "exact"
    stride: int | None = None
    horizon: int | None = None
    exact_sample: int = 64
    strand: Strand = "both"
    reduce: Reduce = "sum"
    check_ref: CheckRef = "w"
    max_ref_mismatch: float = 0.2
    ignore_contig_lengths: bool = False
    normalize: bool = False
    batch_size: int | None = None
    device: str = "auto"
    dtype: Dtype = "float32"
    scores: tuple[str, ...] = ("llr",)
    layer: str | None = None
    head: str | None = None
    head_class: str | None = None
    background: int = 100
    shares: bool | None = None
    protocol: str | None = None
    sv: bool = False
    haplotypes: bool = False
    sample: str | None = None

    @classmethod
    def of_protocol(cls, name: str, **more: Any) -> Self:
        """Return the options of a published way of scoring, one of `PROTOCOLS`, and others that it leaves open.

        Raises:
            ConfigError: if the name is not known, or a value of ``more`` contradicts it.
        """
        if name not in PROTOCOLS:
            raise ConfigError(f"protocol {name!r} is not known; there is {', '.join(PROTOCOLS)}.")
        for key, value in PROTOCOLS[name].items():
            if more.setdefault(key, value) != value:
                raise ConfigError(
                    f"protocol {name} has {key}={value}, but {key}={more[key]} was asked for. Leave one of them out."
                )
        return cls(**more, protocol=name)

    def __post_init__(self) -> None:
        unknown = [name for name in self.scores if name not in SCORES]
        if unknown or not self.scores:
            raise ConfigError(
                f"scores={','.join(self.scores)!r}; expected some of {', '.join(SCORES)}, parted by commas."
            )
        if ("head" in self.scores) != (self.head is not None):
            raise ConfigError(
                "the score 'head' needs the folder of a fine-tuned model, and the folder the score."
            )
        if self.layer is not None and not {"cos", "l2"} & set(self.scores):
            raise ConfigError(f"layer={self.layer!r} is of the scores cos and l2, which were not asked for.")
        if self.head_class is not None and self.head is None:
            raise ConfigError(
                f"head_class={self.head_class!r} is a class of a fine-tuned model; give its folder too."
            )
        if self.sample is not None and not self.haplotypes:
            raise ConfigError(f"sample={self.sample!r} is of haplotypes; add --haplotypes, or leave it out.")
        if self.background < 20:
            raise ConfigError(
                f"background={self.background}; expected at least 20 random variants of each class."
            )
        if self.window is not None and self.window < 2:
            raise ConfigError(
                f"window={self.window} bp; a window needs at least 2 (the first base is not scored)."
            )
        if self.batch_size is not None and self.batch_size < 1:
            raise ConfigError(f"batch_size={self.batch_size}; expected at least 1.")
        if not 0.0 <= self.max_ref_mismatch <= 1.0:
            raise ConfigError(f"max_ref_mismatch={self.max_ref_mismatch}; expected a fraction from 0 to 1.")
        if self.horizon is not None and self.horizon < 0:
            raise ConfigError(f"horizon={self.horizon}; expected 0 or more bases after the variant.")
        if self.exact_sample < 0:
            raise ConfigError(f"exact_sample={self.exact_sample}; expected 0 (none) or more alleles.")
        for name, value, known in (
            ("mode", self.mode, ("exact", "tiled")),
            ("strand", self.strand, ("both", "forward")),
            ("reduce", self.reduce, ("sum", "mean")),
            ("check_ref", self.check_ref, ("w", "e", "x")),
            ("dtype", self.dtype, ("float32", "bfloat16")),
        ):
            if value not in known:
                raise ConfigError(f"{name}={value!r}; expected one of {', '.join(known)}.")
        if self.stride is not None and self.mode != "tiled":
            raise ConfigError(
                f"stride={self.stride} is of tiled mode, but mode={self.mode!r}; add --mode tiled, or leave it out."
            )
        if self.window is not None:
            self.stride_for(self.window)

    @property
    def is_approximate(self) -> bool:
        """Whether scores are others than those of whole centred windows."""
        return self.mode != "exact" or self.horizon is not None

    def stride_for(self, window: int) -> int | None:
        """Return the stride in bp of windows of this length; None outside ``tiled`` mode.

        Raises:
            ConfigError: if the stride is out of range.
        """
        if self.mode != "tiled":
            return None
        stride = window // 2 if self.stride is None else self.stride
        if not 1 <= stride <= window // 2:
            raise ConfigError(
                f"stride={stride} bp; expected 1 to {window // 2}, half the window of {window} bp, so that every "
                "variant has a quarter of the window or more on either side."
            )
        return stride


@dataclass(frozen=True, slots=True)
class VariantScore:
    """The score of one ALT allele.

    Attributes:
        status: `Status.OK`, or why the others are None.
        llr: log P(ALT window) - log P(REF window) in nats, mean of the strands; negative = ALT less likely.
        llr_fwd: Of the forward strand.
        llr_rc: Of the reverse complement; None when only the forward strand is scored.
        ref_ll: log P(REF window) in nats, mean of the strands: sum or mean over its scored bases.
        alt_ll: log P(ALT window), likewise.
        entropy: Of the prediction at the first base that each strand reads of REF, over A, C, G, T: 0 to ln 4 nats,
            mean of the strands that have a base before it; None unless asked for, and where none has.
        cos: 1 - cosine of the mean hidden states of the two windows, mean of the strands; None unless asked for.
        l2: Euclidean distance of the same two vectors.
        head: Output of a fine-tuned model for the ALT window less that for the REF window.
        z: Standard deviations of ``llr`` from the mean of random variants of the same class; None unless asked for,
            and for classes without enough of them.
        rank: Part of those random variants with a lower ``llr``, ties by half.
    """

    status: Status
    llr: float | None = None
    llr_fwd: float | None = None
    llr_rc: float | None = None
    ref_ll: float | None = None
    alt_ll: float | None = None
    entropy: float | None = None
    cos: float | None = None
    l2: float | None = None
    head: float | None = None
    z: float | None = None
    rank: float | None = None


@dataclass(slots=True)
class ScoreSummary:
    """What a run did.

    Attributes:
        records: Records read.
        dropped: Records left out by ``check_ref="x"``.
        no_alt: Records with ALT ``.``, which have no allele to score.
        by_status: Alleles by status.
        normalized: Scored alleles that were scored in another spelling, with ``normalize``.
        spelled_out: Symbolic alleles with a length that were scored as letters, with ``sv``.
        from_table: Alleles whose scores were looked up.
        from_cache: Alleles whose scores were in the cache.
        not_in_cache: Alleles that were looked for there in vain, scored, and added.
        on_haplotype: Alleles that were scored beside the phased neighbours of a sample.
        haplotype_skipped: Why others of the sample's alleles were scored on the reference, and why neighbours were left
            out: counts by reason.
        resumed: Records that an earlier run, broken off, had scored.
        faults: In what, and how often, the header and the first 1,000 text records break the VCF specification; they
            come back as they came.
        windows: Windows that went through the model, whole or from where they leave another; shared ones count once.
        window: Window in bp.
        mode: ``exact`` or ``tiled``.
        stride: Of ``tiled`` mode, in bp.
        horizon: Bases after the variant that were scored; None: the whole window.
        against_exact: How the scores correlate with those of exact mode, where they are others.
        seconds: Wall time.
        model_sha256: Of the model's weights.
        output: Where the records went; None for standard output.
    """

    records: int = 0
    dropped: int = 0
    no_alt: int = 0
    by_status: dict[Status, int] = field(default_factory=dict)
    normalized: int = 0
    spelled_out: int = 0
    from_table: int = 0
    from_cache: int = 0
    not_in_cache: int = 0
    on_haplotype: int = 0
    haplotype_skipped: dict[str, int] = field(default_factory=dict)
    resumed: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    windows: int = 0
    window: int = 0
    mode: Mode = "exact"
    stride: int | None = None
    horizon: int | None = None
    against_exact: "ExactComparison | None" = None
    seconds: float = 0.0
    model_sha256: str = ""
    output: str | None = None

    @property
    def alleles(self) -> int:
        """ALT alleles read."""
        return sum(self.by_status.values())

    @property
    def scored(self) -> int:
        """ALT alleles with a score."""
        return self.by_status.get(Status.OK, 0)

    @property
    def unscored(self) -> int:
        """ALT alleles without one."""
        return self.alleles - self.scored

    @property
    def alleles_per_second(self) -> float:
        """Scored alleles by wall time."""
        return self.scored / self.seconds if self.seconds > 0 else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return the summary as JSON values."""
        return {
            "records": self.records,
            "records_dropped": self.dropped,
            "records_without_alt": self.no_alt,
            "alleles": self.alleles,
            "alleles_scored": self.scored,
            "alleles_unscored": self.unscored,
            "by_status": {status.value: count for status, count in sorted(self.by_status.items())},
            "alleles_normalized": self.normalized,
            "alleles_spelled_out": self.spelled_out,
            "alleles_from_table": self.from_table,
            "alleles_from_cache": self.from_cache,
            "alleles_not_in_cache": self.not_in_cache,
            "alleles_on_haplotype": self.on_haplotype,
            "haplotype_skipped": dict(sorted(self.haplotype_skipped.items())),
            "records_resumed": self.resumed,
            "vcf_faults": self.faults,
            "windows": self.windows,
            "window_bp": self.window,
            "mode": self.mode,
            "stride_bp": self.stride,
            "horizon_bp": self.horizon,
            "against_exact": self.against_exact.to_dict() if self.against_exact else None,
            "seconds": round(self.seconds, 3),
            "alleles_per_second": round(self.alleles_per_second, 1),
            "model_sha256": self.model_sha256,
            "output": self.output,
        }
