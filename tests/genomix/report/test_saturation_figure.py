"""The picture of a saturation mutagenesis holds all of its words."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from genomix.report.saturation_figure import draw_saturation


@pytest.mark.parametrize("n_bases", [21, 140])
@pytest.mark.parametrize("chrom", ["BRCA1_hg19_chr17_41176312_41370000", "gi|9626243|ref|NC_001416.1|" * 4])
def test_nothing_runs_out_of_the_picture(tmp_path: Path, chrom: str, n_bases: int) -> None:
    llr = np.random.default_rng(0).normal(size=(n_bases, 4))
    path = draw_saturation(
        tmp_path / "x.png",
        ("ACGT" * 40)[:n_bases],
        llr,
        chrom=chrom,
        start=43_124_000,
        unit="nats",
    )
    pixels = imread(path)
    border = np.concatenate([pixels[:, 0], pixels[:, -1], pixels[0], pixels[-1]])
    assert (border == border[0]).all(), "a word is cut off at the edge"
