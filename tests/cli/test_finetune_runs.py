"""Several runs and tasks from the command line, sweeps, and predictions of FASTA, BED and Parquet."""

import csv
import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from genomix.training import protocol
from genomix_cli.main import app
from genomix_data.alphabet import reverse_complement
from genomix_data.errors import ConfigError
from tests.cli.tiny import TINY_MODEL
from tests.genomix.training_helpers import gc_rows, letters, write_fasta, write_table

TINY = [
    *TINY_MODEL,
    "trainer.max_epochs=2",
    "data.batch_size=8",
    "optimizer.lr=1e-2",
]


def genomix(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two named data sets, and a classifier of strands averaged."""
    root = tmp_path_factory.mktemp("runs")
    for layer in ("layer1", "layer2"):
        (root / "sets" / "ienhancer_2l").mkdir(parents=True, exist_ok=True)
        for part, n, seed in (("train", 40, 1), ("test", 20, 2)):
            rows = [(text, str(int(label == "gc"))) for text, label in gc_rows(n, seed)]
            write_table(root / "sets" / "ienhancer_2l" / f"{layer}.{part}.csv", rows)
    write_table(root / "train.csv", gc_rows(40, 1))
    write_table(root / "test.csv", gc_rows(20, 2))
    done = genomix(
        "finetune",
        f"data.train={root}/train.csv",
        f"data.test={root}/test.csv",
        *TINY,
        "head.both_strands=true",
        "-o",
        str(root / "cls"),
        "--quiet",
    )
    assert done.exit_code == 0, done.stderr
    return root


def test_tasks_and_seeds_make_one_table_and_go_on(folder: Path, tmp_path: Path) -> None:
    words = ["task=ienhancer/*", f"data.root={folder}/sets", *TINY]
    done = genomix("finetune", *words, "seeds=2", "-o", str(tmp_path / "suite"), "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert [task["task"] for task in found["tasks"]] == ["ienhancer/layer1", "ienhancer/layer2"]
    first = found["tasks"][0]
    assert (len(first["runs"]), first["n_test"]) == (2, 20)
    assert {row["protocol"] for row in first["published"]} == {"official code"}
    assert "ienhancer/layer1" in (tmp_path / "suite" / "suite.md").read_text()
    again = genomix("finetune", *words, "seeds=2", "-o", str(tmp_path / "suite"))
    assert "4 of 4 runs are finished and taken as they are" in again.stderr
    one = genomix("finetune", "task=ienhancer/layer1", *words[1:], "seeds=2", "-o", str(tmp_path / "one"))
    assert one.exit_code == 0, one.stderr
    assert "95 % of the test" in one.stderr
    assert "published: AUROC 0.828" in one.stderr


def test_what_fails_is_named_and_the_rest_is_made(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sets = tmp_path / "sets"
    shutil.copytree(folder / "sets", sets)
    write_table(sets / "ienhancer_2l" / "layer1.test.csv", [("ACGT", "0"), ("AC-T", "1")])
    words = ["task=ienhancer/*", f"data.root={sets}", *TINY]
    done = genomix("finetune", *words, "-o", str(tmp_path / "suite"), "--json")
    assert done.exit_code == 3, done.stderr
    found = json.loads(done.stdout)
    assert [task["task"] for task in found["tasks"]] == ["ienhancer/layer2"]
    assert found["failed"][0].startswith("ienhancer/layer1 seed-2222: ")
    assert "not made: ienhancer/layer1 seed-2222: " in done.stderr

    make = protocol._make

    def fails_once(run: protocol.Run) -> None:
        if run.config.trainer.seed == 2222:
            raise ConfigError("the loss is nan at step 520.")
        make(run)

    monkeypatch.setattr(protocol, "_make", fails_once)
    words[0] = "task=ienhancer/layer2"
    done = genomix("finetune", *words, "seeds=2", "-o", str(tmp_path / "two"))
    assert done.exit_code == 3, done.stderr
    assert "1 of 2 runs" in done.stderr
    assert "not made: ienhancer/layer2 seed-2222: the loss is nan at step 520." in done.stderr


def test_one_run_says_what_others_have_reported(folder: Path, tmp_path: Path) -> None:
    words = ["task=ienhancer/layer1", f"data.root={folder}/sets", *TINY]
    done = genomix("finetune", *words, "-o", str(tmp_path / "run"), "--json", "--quiet")
    assert done.exit_code == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["task"] == "ienhancer/layer1"
    assert record["published"][0]["metric"] == "auroc"
    low, high = record["test_ci95"]["accuracy"]
    assert low <= record["test"]["accuracy"] <= high


def test_a_sweep_from_the_command_line(folder: Path, tmp_path: Path) -> None:
    tables = [f"data.train={folder}/train.csv", f"data.test={folder}/test.csv"]
    done = genomix(
        "sweep", *tables, *TINY[:-1], "optimizer.lr=1e-4,1e-2", "method=probe", "-o", str(tmp_path / "s")
    )
    assert done.exit_code == 0, done.stderr
    assert "the best on validation: optimizer.lr=" in done.stderr
    assert (tmp_path / "s" / "sweep.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["finetune", "task=ienhancer/layr1", "-o", "x"], "did you mean 'ienhancer/layer1'?"),
        (["finetune", "task=ienhancer/q*", "-o", "x"], "no task is named 'ienhancer/q*'"),
        (["finetune", "task=ienhancer/layer1", "-o", "x"], "where are the files of ienhancer_2l/layer1?"),
        (["finetune", "task=gue/tf/0", "data.root=sets", "-o", "x"], "'gue/tf/0' is not under 'sets'"),
        (["finetune", "data.train=train.csv", "data.test=test.csv", "seeds=0", "-o", "x"], "seeds is 0"),
        (["predict", "cls/model"], "give either a FASTA of sequences, or --bed"),
        (["predict", "cls/model", "--bed", "r.bed"], "--bed needs the genome of its regions"),
        (["predict", "cls/model", "empty.csv"], "is empty"),
    ],
)
def test_bad_input_gets_one_line_and_code_three(
    folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(folder)
    Path("empty.csv").write_text("")
    done = genomix(*arguments)
    assert done.exit_code == 3, done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert message in lines[0]
    assert not Path("x").exists()


def test_a_fasta_and_regions_of_a_genome_are_predicted_alike(folder: Path, tmp_path: Path) -> None:
    contig = letters(200, 5)
    genome = write_fasta(tmp_path / "genome.fa", chr1=contig)
    pieces = {"a": contig[10:50], "b": reverse_complement(contig[60:90])}
    fasta = write_fasta(tmp_path / "pieces.fa", **pieces)
    bed = tmp_path / "regions.bed"
    bed.write_text("chr1\t10\t50\tx\t0\t+\nchr1\t60\t90\ty\t0\t-\n")
    model = str(folder / "cls" / "model")
    by_name = genomix("predict", model, str(fasta), "--quiet")
    assert by_name.exit_code == 0, by_name.stderr
    named = list(csv.DictReader(by_name.stdout.splitlines(), delimiter="\t"))
    assert [row["name"] for row in named] == ["a", "b"]
    by_place = genomix("predict", model, "--bed", str(bed), "-f", str(genome), "--quiet")
    assert by_place.exit_code == 0, by_place.stderr
    placed = list(csv.DictReader(by_place.stdout.splitlines(), delimiter="\t"))
    assert [(row["chrom"], row["start"], row["end"], row["strand"]) for row in placed] == [
        ("chr1", "10", "50", "+"),
        ("chr1", "60", "90", "-"),
    ]
    assert [row["p_gc"] for row in placed] == [row["p_gc"] for row in named]
    one = genomix("predict", model, str(fasta), "--quiet", "--one-strand")
    assert one.stdout != by_name.stdout, "trained to average both"


def test_predictions_as_parquet(folder: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    out = tmp_path / "out.parquet"
    done = genomix("predict", str(folder / "cls" / "model"), str(folder / "test.csv"), "-o", str(out))
    assert done.exit_code == 0, done.stderr
    table = parquet.read_table(out).to_pydict()
    assert list(table) == ["row", "predicted", "p_at", "p_gc"]
    assert [a + b for a, b in zip(table["p_at"], table["p_gc"], strict=True)] == pytest.approx([1.0] * 20)


def test_the_recipes_are_listed() -> None:
    done = genomix("finetune", "--list")
    assert done.exit_code == 0
    for name in ("gb/human_nontata_promoters", "gb-published/human_nontata_promoters", "nt/H3", "gue/tf/0"):
        assert name in done.stdout
