"""``genomix report``: made at the end of fine-tuning, and again whenever it is asked for."""

import json
from html import escape
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from genomix_cli.main import app
from tests.cli.tiny import TINY_MODEL
from tests.genomix.training_helpers import gc_rows, write_table

TINY = [
    *TINY_MODEL,
    "trainer.max_epochs=2",
    "data.batch_size=8",
    "optimizer.lr=1e-2",
]


def genomix(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def test_a_run_brings_its_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_table(tmp_path / "train.csv", [(text.lower(), label) for text, label in gc_rows(60, 1)])
    write_table(
        tmp_path / "test.csv", [*gc_rows(15, 2), *((text.lower(), "at") for text, _ in gc_rows(15, 3))]
    )
    ran = genomix("finetune", "data.train=train.csv", "data.test=test.csv", *TINY, "-o", "run", "--json")
    assert ran.exit_code == 0, ran.stderr
    assert "report  run/report.html" in ran.stderr
    found = json.loads(Path("run/report.json").read_text())
    result = json.loads(ran.stdout)
    assert found["run"] == result
    overall = found["evaluation"]["overall"]
    assert overall["accuracy"]["value"] == pytest.approx(result["test"]["accuracy"])
    assert found["evaluation"]["areas"]["gc"]["auroc"]["value"] == pytest.approx(
        result["test"]["auroc"], abs=2e-3
    )
    masked = found["evaluation"]["errors"]["soft_masked"]
    assert [(each["start"], each["end"], each["n"]) for each in masked] == [(0, 0, 15), (1, 1, 15)]
    lengths = Path("run/test_composition.tsv").read_text().splitlines()
    assert [line.split("\t")[1] for line in lengths[1:4]] == [str(len(text)) for text, _ in gc_rows(3, 2)]

    page = Path("run/report.html").read_text()
    assert escape(result["provenance"]["command"]) in page
    again = genomix("report", "run", "-o", "elsewhere/page.html")
    assert again.exit_code == 0, again.stderr
    assert sorted(path.name for path in Path("elsewhere").iterdir()) == ["page.html", "page.json"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "has no result.json"),
        (["nowhere", "-o", "a.pdf"], "ends in .html"),
    ],
)
def test_bad_input_is_one_line_and_code_three(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = genomix("report", *arguments)
    assert ran.exit_code == 3, ran.stderr
    assert message in ran.stderr
    assert ran.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
