"""Which genomes a pretraining run reads, what of them is held out, and how windows are made of the rest."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from genomix_data.errors import ConfigError
from genomix_data.n_policy import NPolicy

SoftMaskLoss = Literal["weighted", "normalized_weighted"]


def _check(is_fine: bool, message: str) -> None:
    if not is_fine:
        raise ConfigError(message)


@dataclass(frozen=True, kw_only=True)
class FastaDataConfig:
    """Genomes for pretraining, and which part of them is held out.

    Held-out bases come from, in this order: the splits of ``bed``; ``valid_contigs`` and ``test_contigs``; or the
    middle ``2 * holdout`` of every contig (validation left of its centre, the test right of it).

    Args:
        fasta: One or several genomes: FASTA (plain or bgzipped), 2bit, GenBank, a folder, or a token store.
        seqlen: Input tokens of a window; each window predicts as many bases.
        bed: BED file whose fourth column is train, valid or test.
        train_contigs: Contigs to train on; all that are not held out by default.
        valid_contigs: Contigs for validation.
        test_contigs: Contigs that are scored once, at the end.
        holdout: Part of each contig for validation, and again for the test.
        contig_map: File of two columns with other names of the contigs.
        batch_size: Windows in a batch.
        seqlen_warmup: Stages of shorter windows at the beginning, each ``(steps, seqlen)``; batches hold as many tokens
            as later ones, so ``batch_size * seqlen`` has to be divisible by the length of each stage.
        jitter: Move each training window by a random number of bases, another one in every epoch.
        rc_augment: Show half of the training windows as their reverse complement.
        add_eos: End each training window with HyenaDNA's ``[SEP]``, as its published recipe does.
        n_policy: Which training windows are offered: ``keep`` all, ``skip`` those with N, or ``max:0.1``, those of
            which at most this part is N. N is no target in any case.
        weights: Expected share of the training windows of each genome; None is by their size.
        packing: Read training regions one after the other with an end-of-sequence token after each, so that a
            window may hold the end of one and the beginning of the next, as Evo 2 was trained.
        soft_mask_weight: Weight in the loss of bases in lower case (repeats); Evo 2 has 0.1.
        soft_mask_loss: ``weighted`` divides the weighted sum by the number of targets; ``normalized_weighted`` by the
            sum of their weights, so that down-weighting does not shrink the loss.
        tokenizer: ``auto`` is ``char`` (16 rows) for HyenaDNA and ``byte`` (512 rows) for StripedHyena 2, as published.
        eval_overlap: Bases of left context that neighbouring held-out windows share; they are scored once.
        valid_windows: Held-out windows, evenly spread, that each validation during training looks at; None is all.
        num_workers: Processes that load data; 0 loads in the training process. None is 0 for training on a CPU, and as
            many as keep up with a GPU otherwise. It changes nothing but speed.
    """

    fasta: tuple[Path, ...]
    seqlen: int = 1024
    bed: Path | None = None
    train_contigs: tuple[str, ...] | None = None
    valid_contigs: tuple[str, ...] | None = None
    test_contigs: tuple[str, ...] | None = None
    holdout: float = 0.05
    contig_map: Path | None = None
    batch_size: int = 32
    seqlen_warmup: tuple[tuple[int, int], ...] | None = None
    jitter: bool = True
    rc_augment: bool = False
    add_eos: bool = False
    n_policy: str = "keep"
    weights: tuple[float, ...] | None = None
    packing: bool = False
    soft_mask_weight: float = 1.0
    soft_mask_loss: SoftMaskLoss = "weighted"
    tokenizer: Literal["auto", "char", "byte"] = "auto"
    eval_overlap: int = 0
    valid_windows: int | None = 256
    num_workers: int | None = None

    def __post_init__(self) -> None:
        _check(len(self.fasta) > 0, "data.fasta is empty; give at least one FASTA file.")
        _check(self.seqlen >= 2, f"data.seqlen is {self.seqlen}; a window needs at least 2 tokens.")
        _check(self.batch_size >= 1, f"data.batch_size is {self.batch_size}; it must be at least 1.")
        _check(
            self.num_workers is None or self.num_workers >= 0,
            f"data.num_workers is {self.num_workers}; it must not be negative.",
        )
        _check(0 < self.holdout < 0.5, f"data.holdout is {self.holdout}; it must lie between 0 and 0.5.")
        _check(
            0 <= self.eval_overlap < self.seqlen,
            f"data.eval_overlap is {self.eval_overlap}; it must be shorter than data.seqlen={self.seqlen}.",
        )
        self._check_windows()
        _check(
            self.valid_windows is None or self.valid_windows >= 1,
            f"data.valid_windows is {self.valid_windows}; it must be at least 1, or null for all.",
        )
        by_contig = self.valid_contigs is not None or self.test_contigs is not None
        _check(
            not (self.bed and (by_contig or self.train_contigs)),
            "data.bed and data.*_contigs both say what is held out; give one of them.",
        )
        _check(
            not by_contig or bool(self.valid_contigs and self.test_contigs),
            "data.valid_contigs and data.test_contigs belong together: validation chooses the checkpoint, the test is "
            "scored once. Give both, or neither to hold out a part of every contig (data.holdout).",
        )

    def _check_windows(self) -> None:
        for steps, seqlen in self.seqlen_warmup or ():
            _check(
                steps >= 1 and 2 <= seqlen <= self.seqlen and self.batch_size * self.seqlen % seqlen == 0,
                f"data.seqlen_warmup has a stage of {steps} steps with {seqlen} tokens; a stage needs at least 1 step "
                f"and 2 tokens, at most data.seqlen={self.seqlen}, and a divisor of the "
                f"{self.batch_size * self.seqlen} tokens of a batch.",
            )
        try:
            policy = NPolicy.parse(self.n_policy)
        except ConfigError as error:
            raise ConfigError(f"data.n_policy: {error}") from error
        _check(
            0 <= self.soft_mask_weight <= 1,
            f"data.soft_mask_weight is {self.soft_mask_weight}; it must lie between 0 and 1.",
        )
        _check(
            self.weights is None or len(self.weights) == len(self.fasta),
            f"data.weights is {self.weights}, for {len(self.fasta)} files in data.fasta; give one weight for each.",
        )
        _check(
            self.weights is None or all(weight > 0 for weight in self.weights),
            f"data.weights is {self.weights}; each must be above 0. Leave out a file that is not wanted.",
        )
        _check(
            not self.packing or not self.add_eos,
            "data.packing ends each document, data.add_eos each window; choose one.",
        )
        _check(
            not self.packing or policy.keeps_all,
            "data.n_policy leaves out windows, data.packing reads all there is; choose one. Gaps as long as a window "
            "are cut out in any case.",
        )
