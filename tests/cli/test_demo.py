"""The demo runs from end to end on the data that ship, and its report and outputs hold what they say."""

import json
from pathlib import Path

import numpy as np
import pysam
import pytest

from genomix.demo.story import auroc_with_interval
from genomix.evaluation.ranking import roc_points
from genomix_data.errors import InputFileError
from tests.conftest import RunGenomix


def test_the_whole_path_in_one_command(run_genomix: RunGenomix, tmp_path: Path) -> None:
    result = run_genomix("demo", "--smoke", "-o", "out")
    assert result.returncode == 0, result.stderr
    report = Path(result.stdout.strip())
    assert report == (tmp_path / "out" / "report.html").resolve()
    text = report.read_text()
    for part in ("Pretraining", "promoters", "enhancers", "BRCA1", "Markov, order 1", "GMX_LLR", "300"):
        assert part in text
    assert 'src="data:image/svg+xml' in text

    measured = json.loads((tmp_path / "out/pretrain/result.json").read_text())
    assert f"{measured['held_out']['bits_per_base']:.4f}" in text
    tested = json.loads((tmp_path / "out/finetune-promoters/result.json").read_text())
    assert tested["test"]["n"] == 400
    assert f"{tested['test']['auroc']:.3f}" in text
    enhancers = json.loads((tmp_path / "out/finetune-enhancers/result.json").read_text())
    assert enhancers["n_shared_between_train_and_test"] == 0

    with pysam.VariantFile(str(tmp_path / "out/brca1_scored.vcf.gz")) as scored:
        statuses = [record.info["GMX_STATUS"][0] for record in scored]
    assert statuses == ["OK"] * 300
    assert (tmp_path / "out/brca1_scored.vcf.gz.csi").exists()

    again = run_genomix("demo", "--smoke", "-o", "out")
    assert again.returncode == 3
    assert "--overwrite" in again.stderr


def test_roc_points_run_from_corner_to_corner_and_hold_the_auroc() -> None:
    rng = np.random.default_rng(0)
    labels = rng.random(200) < 0.3
    scores = np.round(rng.normal(labels.astype(float), 1.0), 1)  # with ties
    fpr, tpr = roc_points(scores, labels)
    assert (fpr[0], tpr[0], fpr[-1], tpr[-1]) == (0, 0, 1, 1)
    area, (low, high) = auroc_with_interval(scores, labels)
    assert np.trapezoid(tpr, fpr) == pytest.approx(area, abs=1e-12)
    assert low < area < high


def test_an_auroc_needs_both_classes() -> None:
    with pytest.raises(InputFileError, match="at least one variant of each class"):
        auroc_with_interval(np.ones(3), np.ones(3, dtype=bool))
