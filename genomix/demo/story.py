"""What the demo does, in order: small enough for two CPU cores and three minutes, and nothing in it is made up."""

import dataclasses
import os
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pysam
from numpy.typing import NDArray

from genomix.evaluation.ranking import separation
from genomix.evaluation.resampling import N_RESAMPLES
from genomix.models.registry import hyenadna_config
from genomix.provenance import run_record
from genomix.training.config import (
    ModelConfig,
    OptimizerConfig,
    PretrainConfig,
    ScheduleConfig,
    StepTrainerConfig,
)
from genomix.training.fasta_config import FastaDataConfig
from genomix.training.finetune import finetune
from genomix.training.finetune_config import EpochTrainerConfig, FinetuneConfig, TableDataConfig
from genomix.training.pretrain import pretrain
from genomix.training.results import FinetuneResult, PretrainResult
from genomix.variant_effect import OutputOptions, ScoreOptions, ScoreSummary, score_vcf
from genomix_data import samples
from genomix_data.errors import InputFileError

if TYPE_CHECKING:
    from rich.console import Console

MODEL = "hyenadna/demo"
GENOMES = ("yeast_chrI.fa.gz", "lambda.fa.gz", "phix174.fa.gz", "sars_cov2.fa.gz")
TASKS = {
    "promoters": "human_nontata_promoters.mini",
    "enhancers": "ienhancer_2l.layer1",
}
EPOCHS = {"promoters": 8, "enhancers": 4}
"""The smaller set needs more passes; together they take a third of the demo."""

VARIANTS, REGION = "brca1_sge.vcf.gz", "brca1_region.fa.gz"
WINDOW = 256


class ProgressBar(Protocol):
    """See `genomix_cli.console.Progress`."""

    def advance(self, steps: float = 1) -> None:
        """Move on by ``steps``."""
        ...


MakeProgress = Callable[[str, float], AbstractContextManager[ProgressBar]]


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantResult:
    """Scores of the BRCA1 variants and how they separate loss of function from the rest.

    Attributes:
        path: The annotated VCF.
        summary: Of the scoring run.
        llr: Of the scored variants, nats.
        classes: ``FUNC``, ``INT`` or ``LOF``, for each of them (Findlay et al. 2018).
        auroc: Of ``-llr`` for LOF against FUNC and INT.
        interval: 95 % bootstrap interval of ``auroc``.
    """

    path: Path
    summary: ScoreSummary
    llr: NDArray[np.float64]
    classes: NDArray[np.str_]
    auroc: float
    interval: tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """Everything that the report shows."""

    pretrained: PretrainResult
    finetuned: dict[str, FinetuneResult]
    variants: VariantResult
    seconds: dict[str, float]
    provenance: dict[str, Any]


def run_demo(
    output: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    seed: int = 2222,
    steps: int = 500,
    max_epochs: int | None = None,
    max_variants: int | None = None,
    command: Sequence[str] | None = None,
    progress: "bool | Console" = True,
    make_progress: MakeProgress | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> DemoResult:
    """Pretrain on four small genomes, fine-tune on two tasks, score the BRCA1 variants.

    Args:
        output: Folder for all that is made.
        overwrite: Replace what is there.
        seed: Of everything that is drawn.
        steps: Pretraining steps.
        max_epochs: Fine-tuning epochs of each task, at most; None takes those of `EPOCHS`.
        max_variants: Score only the first so many (for tests); None scores all 3,893.
        command: Command line, for provenance.
        progress: See `pretrain`.
        make_progress: Makes a progress bar for scoring.
        say: Called with a heading before each part.

    Raises:
        InputFileError: if ``output`` holds something and ``overwrite`` is not given.
    """
    folder = Path(output)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())) and not overwrite:
        raise InputFileError(
            f"{str(folder)!r} is not empty. Give another folder with --output, or --overwrite to replace what is there."
        )
    seconds: dict[str, float] = {}

    say("1/3  pretraining on yeast chrI, phage lambda, phiX174 and SARS-CoV-2")
    started = time.perf_counter()
    pretrained = pretrain(
        pretraining_config(seed, steps),
        folder / "pretrain",
        overwrite=overwrite,
        command=command,
        progress=progress,
    )
    seconds["pretrain"] = time.perf_counter() - started

    finetuned: dict[str, FinetuneResult] = {}
    for task in TASKS:
        say(f"2/3  fine-tuning on human {task}")
        started = time.perf_counter()
        finetuned[task] = finetune(
            finetuning_config(task, pretrained.model_folder, seed, max_epochs or EPOCHS[task]),
            folder / f"finetune-{task}",
            overwrite=overwrite,
            command=command,
            progress=progress,
        )
        seconds[f"finetune {task}"] = time.perf_counter() - started

    say("3/3  scoring the BRCA1 saturation genome editing variants, both strands")
    started = time.perf_counter()
    variants = _score(folder, pretrained.model_folder, max_variants, make_progress, command)
    seconds["score"] = time.perf_counter() - started
    return DemoResult(
        pretrained=pretrained,
        finetuned=finetuned,
        variants=variants,
        seconds=seconds,
        provenance=run_record(command, seed=seed, samples=samples.manifest()),
    )


def pretraining_config(seed: int, steps: int) -> PretrainConfig:
    """Return the demo's pretraining run: windows of 256 bases, both strands, the last tenth of each contig held out."""
    architecture = dataclasses.replace(hyenadna_config(MODEL), shift=0.0, embed_dropout=0.0)
    return PretrainConfig(
        data=FastaDataConfig(
            fasta=tuple(samples.path(name) for name in GENOMES),
            seqlen=WINDOW,
            batch_size=16,
            rc_augment=True,
            valid_windows=None,
        ),
        model=ModelConfig(name=MODEL, config=architecture),
        optimizer=OptimizerConfig(lr=1.5e-3),
        schedule=ScheduleConfig(warmup_fraction=0.05, min_lr_fraction=0.02),
        trainer=StepTrainerConfig(max_steps=steps, seed=seed, checkpoint_every=10 * steps, log_every=5),
    )


def finetuning_config(task: str, model_folder: Path, seed: int, epochs: int) -> FinetuneConfig:
    """Return the demo's fine-tuning run of a task: all weights, the epoch chosen on a part of the training set."""
    name = TASKS[task]
    return FinetuneConfig(
        data=TableDataConfig(
            train=samples.path(f"{name}.train.csv.gz"),
            test=samples.path(f"{name}.test.csv.gz"),
            valid_fraction=0.15,
            valid_split="cluster",
            rc_augment=True,
            drop_shared=True,
            batch_size=32,
        ),
        model=ModelConfig(init=model_folder),
        optimizer=OptimizerConfig(lr=1e-3),
        trainer=EpochTrainerConfig(max_epochs=epochs, patience=3, monitor="auroc", seed=seed),
    )


def _score(
    folder: Path,
    model: Path,
    max_variants: int | None,
    make_progress: MakeProgress | None,
    command: Sequence[str] | None,
) -> VariantResult:
    source = samples.path(VARIANTS)
    if max_variants is not None:
        source = _first_records(source, folder / "first_variants.vcf", max_variants)
    scored = folder / "brca1_scored.vcf.gz"
    options = ScoreOptions(window=WINDOW, device="cpu")
    what = OutputOptions(write_index=True, command=" ".join(command or ["genomix", "demo"]))
    with pysam.VariantFile(str(source)) as records:
        n_records = sum(1 for _ in records)
    if make_progress is None:
        summary = score_vcf(source, samples.path(REGION), model, scored, options, output=what)
    else:
        with make_progress("scoring", n_records) as bar:
            summary = score_vcf(
                source, samples.path(REGION), model, scored, options, output=what, progress=bar.advance
            )
    llr, classes = _read_scores(scored)
    is_lof = classes == "LOF"
    auroc, interval = auroc_with_interval(-llr, is_lof)
    return VariantResult(
        path=scored, summary=summary, llr=llr, classes=classes, auroc=auroc, interval=interval
    )


def _first_records(source: Path, target: Path, n: int) -> Path:
    with (
        pysam.VariantFile(str(source)) as records,
        pysam.VariantFile(str(target), "w", header=records.header) as out,
    ):
        for index, record in enumerate(records):
            if index == n:
                break
            out.write(record)
    return target


def _read_scores(path: Path) -> tuple[NDArray[np.float64], NDArray[np.str_]]:
    llr, classes = [], []
    with pysam.VariantFile(str(path)) as records:
        for record in records:
            value = record.info["GMX_LLR"][0]
            if value is not None:
                llr.append(float(value))
                classes.append(str(record.info["CLASS"]))
    return np.array(llr), np.array(classes)


def auroc_with_interval(
    scores: NDArray[np.float64],
    is_positive: NDArray[np.bool_],
    *,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> tuple[float, tuple[float, float]]:
    """Return the AUROC and its 95 % percentile bootstrap interval; each class is resampled within itself.

    Raises:
        InputFileError: if there are not both positives and negatives.
    """
    found = separation(scores, is_positive, n_resamples=n_resamples, seed=seed)
    if found is None:
        raise InputFileError("an AUROC needs at least one variant of each class; score more variants.")
    return found.auroc.value, (found.auroc.low, found.auroc.high)
