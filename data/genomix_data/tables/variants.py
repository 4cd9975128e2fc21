"""Variants with a class and perhaps a score: BRCA1 saturation genome editing, ClinVar, any table of variants."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genomix_data.errors import GenomixError, InputFileError, preview
from genomix_data.tables.rows import read_rows
from genomix_data.tables.table import label_indices
from genomix_data.text_input import open_text
from genomix_data.variant import Variant
from genomix_data.vcf import VcfRecord, open_vcf

CLINVAR_CLASSES = ("benign", "pathogenic")
_CLNSIG = {
    "benign": 0,
    "likely_benign": 0,
    "benign/likely_benign": 0,
    "pathogenic": 1,
    "likely_pathogenic": 1,
    "pathogenic/likely_pathogenic": 1,
}
_STARS = {
    "criteria_provided,_single_submitter": 1,
    "criteria_provided,_conflicting_classifications": 1,
    "criteria_provided,_conflicting_interpretations": 1,
    "criteria_provided,_multiple_submitters,_no_conflicts": 2,
    "reviewed_by_expert_panel": 3,
    "practice_guideline": 4,
}


@dataclass(frozen=True)
class VariantTable:
    """Variants and their classes, in file order.

    Args:
        variants: One an allele.
        labels: Index into ``class_names``, ``(n,)`` int64.
        class_names: Names of the classes, sorted.
        scores: Measured effect of each, ``(n,)`` float64, NaN where there is none; None if nothing was measured.
        source: The file.
        skipped: What was left out, and how often, by reason.
    """

    variants: list[Variant]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    source: str
    scores: NDArray[np.float64] | None = None
    skipped: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.variants)

    @property
    def n_per_class(self) -> dict[str, int]:
        """Number of variants of each class."""
        counts = np.bincount(self.labels, minlength=len(self.class_names))
        return dict(zip(self.class_names, counts.tolist(), strict=True))


def read_variant_vcf(
    path: str | os.PathLike[str], class_key: str, *, score_key: str | None = None
) -> VariantTable:
    """Return the variants of a VCF or BCF with their class from an INFO field.

    Args:
        path: The file.
        class_key: INFO field of the class, such as ``CLASS``.
        score_key: INFO field of the measured score, such as ``FS``.

    Raises:
        InputFileError: if the file cannot be read, or no record has the field.
    """
    variants, classes, places, scores = [], [], [], []
    skipped: Counter[str] = Counter()
    for variant, info in _alleles(Path(path), skipped):
        label = info.get(class_key, "")
        if not label:
            skipped[f"no {class_key}"] += 1
            continue
        variants.append(variant)
        classes.append(label)
        places.append(str(variant))
        scores.append(_number(info.get(score_key, "")) if score_key else np.nan)
    if not variants:
        raise InputFileError(
            f"{str(path)!r} has no variant with the INFO field {class_key!r} ({preview(skipped.items())})."
        )
    names, labels = label_indices(classes, places)
    return VariantTable(
        variants, labels, names, str(path), np.array(scores) if score_key else None, dict(skipped)
    )


def read_clinvar(path: str | os.PathLike[str], *, min_stars: int = 0) -> VariantTable:
    """Return the benign and pathogenic variants of a ClinVar VCF (``CLNSIG``); all others are counted in ``skipped``.

    Likely benign is benign, likely pathogenic is pathogenic. What follows a ``|`` in CLNSIG (drug response, risk
    factor) is not looked at.

    Args:
        path: The file.
        min_stars: Keep records of at least this review status, 0 to 4, as ClinVar's stars count it (``CLNREVSTAT``).

    Raises:
        InputFileError: if the file cannot be read, or none is left.
    """
    variants, labels = [], []
    skipped: Counter[str] = Counter()
    for variant, info in _alleles(Path(path), skipped):
        significance = info.get("CLNSIG", "").split("|")[0].lower()
        if significance not in _CLNSIG:
            skipped[f"CLNSIG {significance or 'absent'}"] += 1
        elif _STARS.get(info.get("CLNREVSTAT", "").lower(), 0) < min_stars:
            skipped[f"fewer than {min_stars} stars"] += 1
        else:
            variants.append(variant)
            labels.append(_CLNSIG[significance])
    if not variants:
        raise InputFileError(
            f"{str(path)!r} has no benign or pathogenic variant left ({preview(skipped.items())}). It should be a "
            "ClinVar VCF with the INFO field CLNSIG."
        )
    return VariantTable(
        variants, np.array(labels, dtype=np.int64), CLINVAR_CLASSES, str(path), None, dict(skipped)
    )


def read_variant_table(
    path: str | os.PathLike[str],
    class_column: str,
    *,
    score_column: str | None = None,
    columns: Sequence[str] = ("chrom", "pos", "ref", "alt"),
) -> VariantTable:
    """Return the variants of a CSV, TSV or Parquet file; positions are 1-based, as in VCF.

    Raises:
        InputFileError: with the place: a column is missing, an allele or a position is not valid.
    """
    source = Path(path)
    wanted = [*columns, class_column, *([score_column] if score_column else [])]
    variants, classes, places, scores = [], [], [], []
    for place, cells in read_rows(source, wanted):
        chrom, pos, ref, alt, label = cells[:5]
        try:
            variants.append(Variant(chrom, int(pos), ref, alt))
        except (ValueError, GenomixError) as error:
            raise InputFileError(f"{place}: not a variant: {error}") from error
        if not label:
            raise InputFileError(
                f"{place}: column {class_column!r} is empty. Fill it in, or remove the line."
            )
        classes.append(label)
        places.append(place)
        scores.append(_number(cells[5]) if score_column else np.nan)
    names, labels = label_indices(classes, places)
    return VariantTable(variants, labels, names, str(source), np.array(scores) if score_column else None)


def read_brca1_sge(path: str | os.PathLike[str]) -> VariantTable:
    """Return the BRCA1 variants of Findlay et al. 2018, from the VCF or from the table, whatever its suffix.

    Classes are FUNC, INT and LOF; the score is the function score (negative is loss of function).
    """
    with open_text(path, "table of variants") as text:
        is_vcf = text.readline().startswith("##fileformat=VCF")
    if is_vcf:
        return read_variant_vcf(path, "CLASS", score_key="FS")
    return read_variant_table(path, "func.class", score_column="function.score.mean")


def _alleles(source: Path, skipped: Counter[str]) -> Iterator[tuple[Variant, dict[str, str]]]:
    with open_vcf(source) as reader:
        for record in reader:
            assert isinstance(record, VcfRecord), "a BCF comes as text unless asked otherwise"
            info = {key: value or "" for key, value in record.info.items()}
            if not record.alts:
                skipped["no ALT"] += 1
            for alt in record.alts:
                try:
                    variant = Variant(record.chrom, record.pos, record.ref, alt)
                except GenomixError:
                    skipped["alleles without letters"] += 1
                    continue
                yield variant, info


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
