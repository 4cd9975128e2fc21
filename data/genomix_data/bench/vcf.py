"""How fast a VCF is read, annotated and written: the path of `genomix score` with a constant in place of a model."""

import os
import platform
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pysam

from genomix_data import samples
from genomix_data.bench.store import machine
from genomix_data.vcf import VcfWriter, open_vcf

_DECLARED = (
    '##INFO=<ID=GMX_LLR,Number=A,Type=Float,Description="A constant">',
    '##INFO=<ID=GMX_STATUS,Number=A,Type=String,Description="A constant">',
)
_SUFFIXES = (".vcf", ".vcf.gz", ".bcf")


def measure_vcf(
    vcf: Path | None = None, *, seconds: float = 2.0, say: Callable[[str], object] = lambda message: None
) -> dict[str, Any]:
    """Return the machine, the versions and the records per second of each way, as JSON values.

    Args:
        vcf: VCF, VCF.gz or BCF; the BRCA1 sample if None.
        seconds: Time for each measurement; whole passes over the file are counted.
        say: Called with a line on what is being done.
    """
    source = vcf if vcf is not None else samples.path("brca1_sge.vcf.gz")
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="genomix-bench-") as scratch:
        ways: dict[str, Callable[[], int]] = {"read": lambda: _read(source)}
        for suffix in _SUFFIXES:
            out = Path(scratch) / f"out{suffix}"
            ways[f"read, annotate, write {suffix}"] = lambda out=out: _annotate(source, out)  # type: ignore[misc]
        ways["read, annotate, write .vcf with pysam"] = lambda: _annotate_with_pysam(
            source, Path(scratch) / "pysam.vcf"
        )
        for what, way in ways.items():
            say(what)
            n_records, rate = _rate(way, seconds)
            rows.append({"what": what, "records": n_records, "records_per_second": round(rate)})
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "vcf": source.name,
        "seconds_each": seconds,
        "load_average_at_end": [round(load, 2) for load in os.getloadavg()],
        "machine": machine(),
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "pysam": version("pysam"),
        },
        "rows": rows,
    }


def _rate(way: Callable[[], int], seconds: float) -> tuple[int, float]:
    """Return the records of one pass and the records per second of all passes, on one core."""
    n_records = way()
    n_passes = 0
    started = time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds or not n_passes:
        way()
        n_passes += 1
    return n_records, n_passes * n_records / elapsed


def _read(source: Path) -> int:
    with open_vcf(source) as reader:
        return sum(1 for _ in reader)


def _annotate(source: Path, out: Path) -> int:
    n_records = 0
    with open_vcf(source, keep_bcf=out.suffix == ".bcf") as reader:
        header = reader.header.annotated(_DECLARED, replace_info="GMX_", replace_meta="genomix")
        with VcfWriter(out, header, drop_prefix="GMX_", dictionary=reader.dictionary) as writer:
            for record in reader:
                n_alts = len(record.alts) or 1
                writer.write(record, {"GMX_LLR": [-0.125] * n_alts, "GMX_STATUS": ["OK"] * n_alts})
                n_records += 1
    return n_records


def _annotate_with_pysam(source: Path, out: Path) -> int:
    """Do the same by the library that most tools use, which sets its own format for every column."""
    n_records = 0
    with pysam.VariantFile(str(source)) as reader:
        for line in _DECLARED:
            reader.header.add_line(line)
        with pysam.VariantFile(str(out), "w", header=reader.header) as writer:
            for record in reader:
                n_alts = len(record.alts or ()) or 1
                record.info["GMX_LLR"] = [-0.125] * n_alts
                record.info["GMX_STATUS"] = ["OK"] * n_alts
                writer.write(record)
                n_records += 1
    return n_records
