"""A report is one file, with everything inside and everything escaped."""

import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure as Canvas

from genomix.report import Card, Fact, Figure, Page, Section, Table, figures, write_page
from genomix.report import evaluation_figures as drawings
from genomix.report.canvas import COLOURS, name_places, picture, shown_name
from genomix.report.logo import draw_logo, one_letter_heights
from genomix_data.errors import ConfigError


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


def test_a_logo_stacks_letters_and_turns_negative_ones_over() -> None:
    heights = np.array([[1.0, 2.0, 0.0, -1.0], [np.nan, 0.0, 0.0, -3.0], [0.0, 0.0, 0.0, 0.0]])
    axes = Canvas(figsize=(2, 2)).add_subplot()
    draw_logo(axes, heights, first=10.0)
    boxes = {
        base: [path.get_extents() for path in collection.get_paths()]
        for base, collection in zip("ACT", axes.collections, strict=True)
    }
    assert (boxes["A"][0].y0, boxes["A"][0].y1) == (0, 1), "the smaller one stands at the line"
    assert (boxes["C"][0].y0, boxes["C"][0].y1) == (1, 3)
    assert [(box.y0, box.y1) for box in boxes["T"]] == [(-1, 0), (-3, 0)]
    assert all(9.5 < box.x0 < box.x1 < 12.5 for those in boxes.values() for box in those)
    assert axes.get_ylim()[0] < -3
    assert one_letter_heights("AN", np.array([2.0, 5.0])).tolist() == [[2, 0, 0, 0], [0, 0, 0, 0]]


def test_pictures_are_whole_or_absent(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="pictures are written as"), picture(tmp_path / "a.gif", 2, 2):
        pass
    with pytest.raises(RuntimeError), picture(tmp_path / "a.png", 2, 2):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    for name in ("a.png", "a.svg", "a.pdf"):
        with picture(tmp_path / name, 2, 2) as figure:
            figure.add_subplot().plot([0, 1])
        assert (tmp_path / name).stat().st_size > 500


def test_evaluation_figures_draw_the_awkward_cases() -> None:
    one = np.array([1.0])
    assert "svg" in drawings.scores_by_class({"constant": np.zeros(3), "one": one}, y_label="llr")
    positions = np.array([5, 5, 900, 901])
    drawn = drawings.scores_by_position(
        positions,
        np.arange(4, dtype=np.float64),
        ["a", "b", "a", "b"],
        ["a", "b"],
        x_label="position",
        y_label="llr",
    )
    assert "svg" in drawn
    alone = drawings.scores_by_position(np.array([7]), one, ["a"], ["a"], x_label="position", y_label="llr")
    assert "svg" in alone


SEEN_BY = {
    "most people": np.eye(3),
    "deuteranopes": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "protanopes": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "tritanopes": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
"""Linear RGB as they see it: Machado et al. 2009, IEEE TVCG 15:1291, severity 1."""


@pytest.mark.parametrize("who", SEEN_BY)
def test_colours_are_told_apart(who: str) -> None:
    """Any two differ by more than 15 in CIELAB; 2.3 is what an eye can just tell apart."""
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    places = []
    for colour in COLOURS:
        linear = ((np.array(to_rgb(colour)) + 0.055) / 1.055) ** 2.4
        xyz = to_xyz @ np.clip(SEEN_BY[who] @ linear, 0, 1) / [0.9505, 1.0, 1.089]
        x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
        places.append(np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)]))
    nearest = min(np.linalg.norm(one - other) for one, other in combinations(places, 2))
    assert nearest > 15


def test_columns_of_numbers_are_flush_right_and_texts_are_not() -> None:
    rows = [
        ["0.81 (0.79 to 0.83)", "3 to 5", "1,234", "4 x 256, one seed", "-"],
        ["0.7", "", "25 %", "x", "2"],
    ]
    assert Table(columns=list("abcde"), rows=rows).numeric == [True, True, True, False, True]


def test_a_name_is_drawn_as_it_is_spelt() -> None:
    axes = Canvas(figsize=(3, 3)).add_subplot()
    for name in ("_under", "$x$ and $y$", "plain"):
        axes.plot([0, 1], [0, 1], label=shown_name(name))
    handles, labels = axes.get_legend_handles_labels()
    assert len(handles) == 3, "none is left out of a legend"
    assert [label.strip("\N{WORD JOINER}").replace(r"\$", "$") for label in labels] == [
        "_under", "$x$ and $y$", "plain"
    ]  # fmt: skip
    long = shown_name("Conflicting_interpretations_of_pathogenicity", 24)
    assert len(long) == 24
    assert (long[:11], long[-12:]) == ("Conflicting", "athogenicity")


def test_long_names_stand_aslant_and_apart() -> None:
    axes = Canvas(figsize=(6, 3)).add_subplot()
    name_places(axes, ["Pathogenic", "Benign"], room=15)
    assert {label.get_rotation() for label in axes.get_xticklabels()} == {0.0}
    name_places(axes, ["Conflicting_interpretations", "Benign"], room=15)
    assert {label.get_rotation() for label in axes.get_xticklabels()} == {30.0}
