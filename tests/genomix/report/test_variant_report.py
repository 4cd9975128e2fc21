"""The page on scores of variants draws the classes that have scores, and says which it leaves out."""

import re
from pathlib import Path

import numpy as np

from genomix.evaluation.labelled_variants import Allele, LabelledVariants
from genomix.evaluation.variants import VariantEvaluation, evaluate_scores
from genomix.report.variant_report import write_variant_report

CLASSES = ("_<b>$x$", *"abcdefg")


def evaluated(unscored: str = "") -> VariantEvaluation:
    """Return 20 alleles of the positive class, and of the others 19, 18, ...; those of one class have no score."""
    labels = [name for place, name in enumerate(CLASSES) for _ in range(20 - place)]
    variants = LabelledVariants(source="x.vcf", labels=list(labels))
    variants.alleles = [Allele("chr1", 10 + 3 * row, "A", "C") for row in range(len(labels))]
    scores = np.random.default_rng(0).normal(size=len(labels))
    scores[np.array(labels) == unscored] = np.nan
    variants.scores = {"GMX_LLR": scores}
    return evaluate_scores(variants, label="y", positive=CLASSES[:1], n_resamples=20)


def test_classes_that_are_not_drawn_are_counted(tmp_path: Path) -> None:
    text = write_variant_report(evaluated(), tmp_path / "all.html", provenance={}).read_text()
    n_left = sum(20 - place for place in (5, 6, 7))
    assert f"{n_left} variants of the 3 classes that have fewest are not drawn." in text
    assert "Classes with fewer variants are not drawn: 3." in text
    assert f"along chr1, {sum(20 - place for place in range(5))} variants" in text
    assert "&lt;b&gt;$x$" in text
    assert "<b>" not in text
    assert all(link.startswith("data:") for link in re.findall(r'(?:src|href)="([^"]*)"', text))


def test_a_class_without_scores_takes_no_place(tmp_path: Path) -> None:
    text = write_variant_report(evaluated("a"), tmp_path / "some.html", provenance={}).read_text()
    assert "Classes with fewer variants are not drawn: 2." in text
    assert "19 labelled alleles have no score" in text
