"""Variants a second of ``genomix score``, file to file: reading, windows, the model, writing.

The modes are measured one after the other on the same records, so that their ratios mean something. Weights may be
random: how long a score takes does not depend on what it is.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from genomix.bench.models import random_model
from genomix.checkpoint.native import LoadedModel, load_model
from genomix.checkpoint.shipped import located
from genomix.models.registry import MODELS, get_model
from genomix.variant_effect import ScoreOptions, ScoreSummary, score_vcf
from genomix.variant_effect.on_processes import score_on_processes
from genomix.variant_effect.processes import Prepare, ScoringProcesses
from genomix.variant_effect.score import BLOCK_RECORDS
from genomix_data import samples
from genomix_data.errors import ConfigError
from genomix_data.tokenizers import ByteTokenizer, CharTokenizer
from genomix_data.vcf import open_vcf

MODES = ("whole", "exact", "tiled", "horizon", "tiled-horizon")
"""``whole``: two whole windows an allele. ``exact``: the same scores with shared prefixes. ``horizon`` is exact too."""

GENOME_LEN = 5_000_000
"""Bases of the random genome, where there are more variants than the BRCA1 sample has."""

WARM_UP = 4096
"""The most variants of the pass before the measured one, in which kernels are compiled."""


@dataclass(frozen=True, kw_only=True)
class ScoringCase:
    """What is measured.

    Args:
        model: Registered name, for random weights; or the folder or name of a checkpoint.
        modes: Of `MODES`.
        variants: SNVs; up to those of the BRCA1 SGE sample from there, more at random in a random genome.
        window: In bp.
        horizon: Of the modes that have one.
        strand: ``forward`` or ``both``.
        device: ``cpu`` or ``cuda``.
        dtype: ``fp32`` or ``bf16``: of random weights, or of the products of a checkpoint.
        processes: That score side by side; several take a checkpoint, and their start does not count.
    """

    model: str = "human-2m"
    modes: tuple[str, ...] = MODES
    variants: int = 1000
    window: int = 1024
    horizon: int = 128
    strand: str = "both"
    device: str = "cpu"
    dtype: str = "fp32"
    processes: int = 1

    def __post_init__(self) -> None:
        unknown = [mode for mode in self.modes if mode not in MODES]
        if unknown or not self.modes:
            raise ConfigError(f"{unknown or 'nothing'} cannot be measured; there is {', '.join(MODES)}.")
        if self.variants < 1:
            raise ConfigError(f"{self.variants} variants are asked for; it must be at least 1.")
        if self.processes > 1 and self.model in MODELS:
            raise ConfigError(
                f"{self.model} has random weights, which only this process has; for {self.processes} processes give a "
                "checkpoint, such as human-2m."
            )
        if self.device.startswith("cuda") and not torch.cuda.is_available():
            raise ConfigError("PyTorch sees no CUDA device here; measure with --device cpu.")

    def options(self, mode: str) -> ScoreOptions:
        """Return how variants are scored in a mode."""
        return ScoreOptions(
            window=self.window,
            strand="forward" if self.strand == "forward" else "both",
            mode="tiled" if mode.startswith("tiled") else "exact",
            horizon=self.horizon if mode.endswith("horizon") else None,
            shares=None if mode.startswith("tiled") else mode != "whole",
            exact_sample=0,
            device=self.device,
            # random weights have their dtype already
            dtype="bfloat16" if self.dtype == "bf16" and self.model not in MODELS else "float32",
        )


def measure_scoring(
    case: ScoringCase, *, say: Callable[[str], None], prepare: Prepare | None = None
) -> list[dict[str, Any]]:
    """Return a row for each mode; each is told as soon as it is known.

    Args:
        case: What is measured.
        say: Tells a line.
        prepare: Of several processes; see `ScoringProcesses`.

    Raises:
        GenomixError: if there is no such model, or it cannot score such windows.
    """
    rows: list[dict[str, Any]] = []
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        processes = None
        if case.processes > 1:
            several = ScoringProcesses(case.model, case.processes, device=case.device, prepare=prepare)
            processes = stack.enter_context(several)
        loaded = None if processes else _model(case)

        def score(vcf: Path, output: Path, options: ScoreOptions) -> ScoreSummary:
            if processes:
                return score_on_processes(vcf, fasta, processes, output, options)
            assert loaded is not None
            return score_vcf(vcf, fasta, loaded, output, options)

        fasta, vcf, first = _inputs(case, Path(folder))
        for mode in case.modes:
            options, output = case.options(mode), Path(folder) / "scores.vcf.gz"
            score(first, output, options)
            _reset_peak(case.device)
            started = time.perf_counter()
            summary = score(vcf, output, options)
            seconds = time.perf_counter() - started
            rows.append(
                {
                    "model": case.model,
                    "mode": mode,
                    "window": case.window,
                    "horizon": options.horizon,
                    "strand": case.strand,
                    "dtype": case.dtype,
                    "processes": case.processes,
                    "variants": summary.scored,
                    "windows": summary.windows,
                    "seconds": round(seconds, 3),
                    "variants_per_s": round(summary.scored / seconds, 2),
                    "peak_gb": _peak_gb(case.device, processes),
                }
            )
            say(
                f"  {mode}: {rows[-1]['variants_per_s']:,} variants/s, {summary.scored:,} variants in {seconds:.1f} s"
            )
    return rows


def _model(case: ScoringCase) -> LoadedModel:
    if case.model not in MODELS:
        return load_model(located(case.model))
    row = get_model(case.model)
    model: Any = random_model(
        case.model, device=case.device, dtype=torch.bfloat16 if case.dtype == "bf16" else torch.float32
    )
    return LoadedModel(
        model=model,
        config=row.config,
        tokenizer=CharTokenizer() if row.family == "hyenadna" else ByteTokenizer(),
        head_info=None,
        provenance={},
        sha256="0" * 64,
        path=Path(),
    )


def _inputs(case: ScoringCase, folder: Path) -> tuple[Path, Path, Path]:
    """Return a genome, a VCF of as many SNVs as are asked for, and one of the first of them."""
    with open_vcf(samples.path("brca1_sge.vcf.gz")) as reader:
        header, records = reader.header, list(reader)
    if case.variants <= len(records):
        fasta = samples.path("brca1_region.fa.gz")
        lines: Sequence[bytes] = [record.annotated({}) for record in records[: case.variants]]
        head = header.to_bytes()
    else:
        fasta, (head, lines) = folder / "random.fa", _random_snvs(case, folder / "random.fa")
    n_first = min(WARM_UP, max(12, len(lines) // 10))
    if case.processes > 1:  # a block for each
        n_first = min(len(lines), case.processes * BLOCK_RECORDS)
    for name, chosen in (("all.vcf", lines), ("first.vcf", lines[:n_first])):
        (folder / name).write_bytes(head + b"".join(chosen))
    return fasta, folder / "all.vcf", folder / "first.vcf"


def _random_snvs(case: ScoringCase, fasta: Path) -> tuple[bytes, list[bytes]]:
    rng = np.random.default_rng(0)
    bases = np.frombuffer(b"ACGT", np.uint8)[rng.integers(0, 4, GENOME_LEN)].tobytes()
    fasta.write_bytes(b">chr1\n" + bases + b"\n")
    room = GENOME_LEN - 2 * case.window
    if case.variants > room:
        raise ConfigError(
            f"{case.variants:,} variants are asked for; the random genome has room for {room:,}."
        )
    positions = np.sort(rng.choice(room, case.variants, replace=False)) + case.window
    lines = []
    for position in positions.tolist():
        ref = bases[position : position + 1]
        alt = b"ACGT"[(b"ACGT".index(ref) - 1) % 4 :][:1]
        lines.append(b"chr1\t%d\t.\t%s\t%s\t29.0\tPASS\tAF=0.5\n" % (position + 1, ref, alt))
    return b"##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n", lines


def _reset_peak(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def _peak_gb(device: str, processes: ScoringProcesses | None) -> float | None:
    if not device.startswith("cuda"):
        return None
    return round((processes.peak_bytes if processes else torch.cuda.max_memory_allocated()) / 1e9, 2)
