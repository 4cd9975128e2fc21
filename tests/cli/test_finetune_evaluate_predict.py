import csv
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from genomix_cli.main import app
from tests.cli.tiny import TINY_MODEL
from tests.genomix.training_helpers import gc_rows, letters, write_table

TINY = [
    *TINY_MODEL,
    "trainer.max_epochs=3",
    "data.batch_size=8",
    "optimizer.lr=1e-2",
]
TABLES = ["data.train=train.csv", "data.test=test.csv"]


def genomix(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], str]:
    """A folder with two tables and a classifier that was fine-tuned from the command line."""
    folder = tmp_path_factory.mktemp("task")
    write_table(folder / "train.csv", gc_rows(60, 1))
    write_table(folder / "test.csv", gc_rows(30, 2))
    tables = [f"data.train={folder}/train.csv", f"data.test={folder}/test.csv"]
    done = genomix("finetune", *tables, *TINY, "-o", str(folder / "cls"), "--json")
    assert done.exit_code == 0, done.stderr
    return folder, json.loads(done.stdout), done.stderr


@pytest.fixture
def folder(trained: tuple[Path, dict[str, Any], str], monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(trained[0])
    return trained[0]


def test_fine_tuning_reports_the_test_metrics(trained: tuple[Path, dict[str, Any], str]) -> None:
    _, result, stderr = trained
    assert result["test"]["n"] == 30
    assert f"{result['test']['accuracy']:.4f}" in stderr
    assert "true \\ predicted" in stderr
    assert "chosen by mcc on 6 validation sequences" in stderr


def test_evaluate_gives_the_test_metrics_again(
    folder: Path, trained: tuple[Path, dict[str, Any], str]
) -> None:
    done = genomix("evaluate", "cls/model", "test.csv", "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert {key: found[key] for key in trained[1]["test"]} == trained[1]["test"]
    shown = genomix("evaluate", "cls/model", "test.csv")
    assert shown.exit_code == 0
    for name in ("accuracy", "MCC", "F1", "AUROC", "true \\ predicted"):
        assert name in shown.stdout


def test_predict_writes_a_row_a_sequence_in_order(folder: Path) -> None:
    done = genomix("predict", "cls/model", "test.csv", "-o", "out.tsv")
    assert (done.exit_code, done.stdout) == (0, "")
    assert "30 sequences -> out.tsv" in done.stderr
    piped = genomix("predict", "cls/model", "test.csv", "--quiet")
    assert piped.stdout == Path("out.tsv").read_text()
    assert piped.stderr == ""
    rows = list(csv.DictReader(piped.stdout.splitlines(), delimiter="\t"))
    assert [int(row["row"]) for row in rows] == list(range(1, 31))
    recorded = list(csv.DictReader(Path("cls/test_predictions.tsv").read_text().splitlines(), delimiter="\t"))
    assert [row["p_gc"] for row in rows] == [row["p_gc"] for row in recorded]


def test_predict_needs_no_labels_and_leaves_nothing_half_written(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "plain.tsv").write_text("name\tsequence\na\tACGTAC\nb\tgggg\n")
    done = genomix("predict", "cls/model", str(tmp_path / "plain.tsv"), "-o", str(tmp_path / "out.tsv"))
    assert done.exit_code == 0, done.stderr
    assert len((tmp_path / "out.tsv").read_text().splitlines()) == 3
    (tmp_path / "bad.tsv").write_text("sequence\nACGT\nAC?T\n")
    failed = genomix("predict", "cls/model", str(tmp_path / "bad.tsv"), "-o", str(tmp_path / "none.tsv"))
    assert failed.exit_code == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.tsv", "out.tsv", "plain.tsv"]


def test_sequences_too_long_can_be_cut_on_demand(folder: Path, tmp_path: Path) -> None:
    write_table(tmp_path / "long.csv", [(letters(80, 1), "at"), ("ACGT", "gc")])
    table = str(tmp_path / "long.csv")
    for verb in ("evaluate", "predict"):
        refused = genomix(verb, "cls/model", table)
        assert refused.exit_code == 3
        assert "sequence 1 has 80 bases" in refused.stderr
        assert genomix(verb, "cls/model", table, "--too-long", "truncate").exit_code == 0
        wrong = genomix(verb, "cls/model", table, "--too-long", "cut")
        assert (wrong.exit_code, "must be error or truncate" in wrong.stderr) == (3, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["finetune", *TABLES, "trainer.max_epoch=3", "-o", "new"], "did you mean 'trainer.max_epochs'?"),
        (["finetune", "data.train=train.csv", "-o", "new"], "data.test is not set"),
        (["finetune", *TABLES, "data.label_column=klass", "-o", "new"], "klass"),
        (["finetune", *TABLES, "model.init=cls/model", "-o", "new"], "a language model is needed"),
        (["finetune", *TABLES, "model.init=nowhere", "-o", "new"], "nowhere"),
        (["finetune", *TABLES, "model.l_max=30", "-o", "new"], "l_max=30"),
        (["finetune", "data.train=one.csv", "data.test=test.csv", "-o", "new"], "one class only"),
        (["finetune", *TABLES, "-o", "cls"], "is not empty: replace it with --overwrite"),
        (["finetune", *TABLES], "give one with -o"),
        (["evaluate", ".", "test.csv"], "is not a checkpoint"),
        (["evaluate", "cls/model", "none.csv"], "none.csv"),
        (["evaluate", "cls/model", "test.csv", "--label-column", "y"], "'y'"),
        (["evaluate", "cls/model", "test.csv", "--device", "tpu"], "must be cpu or cuda"),
        (["predict", "hyenadna/tiny-1k", "test.csv"], "hyenadna/tiny-1k"),
        (["predict", "cls/model", "test.csv", "--sequence-column", "dna"], "dna"),
    ],
)
def test_bad_input_gets_one_line_and_code_three(folder: Path, arguments: list[str], message: str) -> None:
    write_table(folder / "one.csv", [("ACGT", "a"), ("ACGG", "a")])
    done = genomix(*arguments)
    assert done.exit_code == 3, done.stderr
    assert done.stdout == ""
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    assert message in lines[0]
    assert not Path("new").exists()


def test_the_settings_can_be_printed() -> None:
    done = genomix("finetune", "--cfg", "model=hyenadna/tiny-1k")
    values = yaml.safe_load(done.stdout)
    assert values["model"]["init"] is None
    assert values["model"]["shift"] == 0.05
    assert values["data"]["too_long"] == "error"


@pytest.mark.parametrize("verb", ["pretrain", "finetune", "evaluate", "predict"])
def test_help_shows_an_example(verb: str) -> None:
    done = genomix(verb, "--help")
    assert done.exit_code == 0
    assert f"genomix {verb}" in done.stdout


@pytest.mark.parametrize("method", ["probe", "lora"])
def test_parts_of_a_model_are_trained_from_the_command_line(
    folder: Path, tmp_path: Path, method: str
) -> None:
    done = genomix("finetune", *TABLES, *TINY, f"method={method}", "-o", str(tmp_path / "out"), "--json")
    assert done.exit_code == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["method"] == method
    assert f"{result['chosen']}, chosen by mcc on 6 validation sequences" in done.stderr
    assert "frozen at random weights" in done.stderr
    again = genomix("evaluate", str(tmp_path / "out" / "model"), "test.csv", "--json")
    found = json.loads(again.stdout)
    assert {key: found[key] for key in result["test"]} == result["test"]
    predicted = genomix("predict", str(tmp_path / "out" / "model"), "test.csv", "--quiet")
    assert len(predicted.stdout.splitlines()) == 31
    assert (tmp_path / "out" / "adapters.safetensors").exists() == (method == "lora")
