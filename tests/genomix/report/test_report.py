"""A report is one file, with everything inside and everything escaped."""

import re
from pathlib import Path

import numpy as np

from genomix.report import Card, Fact, Figure, Page, Section, Table, figures, write_page


def test_a_page_needs_nothing_beside_it(tmp_path: Path) -> None:
    curve = figures.training_curve(
        [1, 2, 3, 4], [2.0, 1.9, 1.8, 1.8], x_label="step", y_label="bits", levels={"Markov": 1.95}
    )
    page = Page(
        title="A <title>",
        subtitle="what & where",
        cards=[Card(label="AUROC", value="0.51", note="chance is 0.50")],
        sections=[
            Section(
                title="Training",
                paragraphs=["<script>alert(1)</script>"],
                figures=[Figure(svg=curve, caption="loss")],
                tables=[Table(columns=["name", "n"], rows=[["chrI", "230,218"]])],
                commands=["genomix demo"],
            )
        ],
        provenance=[Fact(name="command", value="genomix demo")],
    )
    text = write_page(page, tmp_path / "report.html").read_text()
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert 'class="number">230,218' in text
    links = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert links
    assert all(link.startswith("data:") for link in links)


def test_figures_are_the_same_each_time() -> None:
    counts = np.array([[90, 10], [30, 70]])
    one, two = (figures.confusion_matrix(counts, ["negative", "positive"]) for _ in range(2))
    assert one == two
    assert one.startswith("<?xml")


def test_every_figure_draws() -> None:
    rng = np.random.default_rng(0)
    groups = {"LOF": rng.normal(-1, 1, 50), "other": rng.normal(0, 1, 200)}
    assert "svg" in figures.score_distributions(groups, x_label="llr (nats)")
    line = np.linspace(0, 1, 5)
    assert "svg" in figures.roc_curves({"a (AUROC 0.50)": (line, line)})
    assert "svg" in figures.score_distributions({"constant": np.zeros(3)}, x_label="llr")
    many = list(map(float, range(100)))
    assert "svg" in figures.training_curve(many, many, x_label="step", y_label="bits", smooth=10)
