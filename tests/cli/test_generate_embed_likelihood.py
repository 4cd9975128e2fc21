"""``genomix generate``, ``embed`` and ``likelihood``: files, streams and bad input."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from genomix.checkpoint.native import save_model
from genomix.models.registry import build_model, hyenadna_config
from genomix_cli.main import app
from genomix_data.tokenizers import CharTokenizer
from tests.conftest import RunGenomix

Run = Callable[..., Any]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run ``genomix ARGS`` in this process, in an empty folder: importing torch anew for each costs seconds."""
    monkeypatch.chdir(tmp_path)
    return lambda *args: CliRunner().invoke(app, list(args))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    torch.manual_seed(3)
    model = build_model(hyenadna_config("hyenadna/demo"), d_model=16, d_inner=32, l_max=200)
    save_model(model, folder / "model", tokenizer=CharTokenizer(), provenance={}, card="For tests.")
    (folder / "in.fa").write_text(">one first\nACGTAC\nGTNN\n>two\nGATTACA\n>single\nA\n")
    (folder / "p.fa").write_text(">p\nMKL\n")
    (folder / "in.bed").write_text("one\t2\t8\tx\t0\t-\ntwo\t0\t4\n")
    return folder


def test_generate_writes_fasta_and_the_seed_decides(run_genomix: RunGenomix, folder: Path) -> None:
    arguments = [
        "generate",
        "-m",
        str(folder / "model"),
        "--fasta",
        str(folder / "in.fa"),
        "-n",
        "90",
        "--top-k",
        "0",
    ]
    result = run_genomix(*arguments, "--seed", "1")
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines if line.startswith(">")] == [">one", ">two", ">single"]
    assert [len(line) for line in lines[1:3]] == [80, 10]
    assert set("".join(line for line in lines if not line.startswith(">"))) <= set("ACGT")
    assert "3 sequences" in result.stderr
    assert CliRunner().invoke(app, [*arguments, "--seed", "1"]).stdout == result.stdout


def test_generate_tables_and_streams(run: Run, folder: Path, tmp_path: Path) -> None:
    arguments = [
        "generate",
        "-m",
        str(folder / "model"),
        "--prompt",
        "ACGT",
        "-n",
        "12",
        "--temperature",
        "0",
    ]
    streamed = run(*arguments, "--stream")
    assert streamed.exit_code == 0, streamed.stderr
    assert run(*arguments, "-o", "x.tsv", "--log-probs", "--samples", "2").exit_code == 0
    header, *rows = [line.split("\t") for line in (tmp_path / "x.tsv").read_text().splitlines()]
    first = dict(zip(header, rows[0], strict=True))
    assert first["name"] == "prompt_1"
    assert first["sequence"] == rows[1][2] == streamed.stdout.strip()
    values = [float(value) for value in first["log_probs"].split(",")]
    assert len(values) == 12
    assert sum(values) / 12 == pytest.approx(float(first["mean_log_prob"]), abs=1e-5)
    assert run(*arguments, "-o", "x.jsonl", "--log-probs").exit_code == 0
    record = json.loads((tmp_path / "x.jsonl").read_text())
    assert record["sequence"] == first["sequence"]
    assert record["log_probs"] == pytest.approx(values)


def test_likelihood_of_each_sequence_and_of_each_letter(run: Run, folder: Path, tmp_path: Path) -> None:
    arguments = ["likelihood", str(folder / "in.fa"), "-m", str(folder / "model")]
    result = run(*arguments)
    assert result.exit_code == 0, result.stderr
    header, *rows = [line.split("\t") for line in result.stdout.splitlines()]
    table = {row[0]: dict(zip(header, row, strict=True)) for row in rows}
    assert [table[name]["n_scored"] for name in ("one", "two", "single")] == ["7", "6", "0"]
    assert table["single"]["perplexity"] == "nan"
    two = {key: float(value) for key, value in table["two"].items() if key != "name"}
    assert two["mean_log_likelihood"] == pytest.approx(two["log_likelihood"] / 6, abs=1e-5)
    assert two["bits_per_base"] == pytest.approx(-two["mean_log_likelihood"] / math.log(2), abs=1e-5)
    assert "3 sequences, 13 scored bases" in result.stderr
    per_token = run(*arguments, "--per-token", "--count-n", "-o", "t.tsv")
    assert per_token.exit_code == 0, per_token.stderr
    tokens = [line.split("\t") for line in (tmp_path / "t.tsv").read_text().splitlines()[1:]]
    assert ["two", "2", "A"] in [token[:3] for token in tokens]
    total = sum(float(token[3]) for token in tokens if token[0] == "two")
    assert total == pytest.approx(two["log_likelihood"], abs=1e-3)
    both = run(*arguments, "--strand", "both", "--bos", "--chunk", "3")
    assert both.exit_code == 0, both.stderr
    assert both.stdout.splitlines()[3].split("\t")[2] == "1"


def test_likelihood_by_position_adds_up_the_letters(run: Run, folder: Path, tmp_path: Path) -> None:
    arguments = ["likelihood", str(folder / "in.fa"), "-m", str(folder / "model")]
    result = run(*arguments, "--by-position", "4")
    assert result.exit_code == 0, result.stderr
    header, *rows = [line.split("\t") for line in result.stdout.splitlines()]
    assert header == ["start", "end", "n_scored", "mean_log_likelihood", "perplexity", "bits_per_base"]
    # ACGTACGTNN, GATTACA and A: neither the first letters nor N count
    assert [row[:3] for row in rows] == [["0", "4", "6"], ["4", "8", "7"], ["8", "12", "0"]]
    assert rows[2][3:] == ["nan"] * 3
    assert run(*arguments, "--per-token", "-o", "t.tsv").exit_code == 0
    tokens = [line.split("\t") for line in (tmp_path / "t.tsv").read_text().splitlines()[1:]]
    first = [float(token[3]) for token in tokens if int(token[1]) <= 4 and token[2] != "N"]
    assert float(rows[0][3]) == pytest.approx(sum(first) / 6, abs=1e-5)
    with_bos = run(*arguments, "--by-position", "4", "--bos")
    assert with_bos.stdout.splitlines()[1].split("\t")[2] == "9"


def test_embed_a_fasta_and_regions(run: Run, folder: Path, tmp_path: Path) -> None:
    arguments = ["embed", "-m", str(folder / "model"), "--strand", "both"]
    result = run(*arguments, str(folder / "in.fa"), "-o", "x.npz", "--layer", "backbone.layers.1")
    assert result.exit_code == 0, result.stderr
    with np.load(tmp_path / "x.npz") as stored:
        assert stored["embeddings"].shape == (3, 32)
        assert stored["name"].tolist() == ["one", "two", "single"]
        assert stored["end"].tolist() == [10, 7, 1]
        assert json.loads(str(stored["about"]))["layer"] == "backbone.layers.1"
    regions = ["--bed", str(folder / "in.bed"), "-f", str(folder / "in.fa"), "--pool", "window:4"]
    result = run(*arguments, *regions, "-o", "r.npz")
    assert result.exit_code == 0, result.stderr
    with np.load(tmp_path / "r.npz") as stored:
        # a region on the minus strand is read backwards: its first window is the last four bases
        places = list(zip(stored["name"], stored["start"], stored["end"], strict=True))
        assert places == [("one", 4, 8), ("one", 2, 4), ("two", 0, 4)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["generate", "-m", "MODEL"], "give either --prompt ACGT or --fasta"),
        (["generate", "-m", "MODEL", "--prompt", "ACGT", "-n", "500"], "does not fit the model"),
        (["generate", "-m", "MODEL", "--prompt", "ACGT", "-o", "x.txt"], "the suffix must be one of"),
        (["generate", "-m", "MODEL", "--prompt", "ACGT", "--log-probs"], "--log-probs needs -o"),
        (["generate", "-m", "MODEL", "--prompt", ""], "--prompt is empty"),
        (["generate", "-m", "MODEL", "--prompt", "ACGX"], "'X' at position 4 is not a nucleotide code"),
        (
            ["likelihood", "PROTEIN", "-m", "MODEL", "-o", "x.tsv"],
            "'>p': 'L' at position 3 is not a nucleotide code",
        ),
        (
            ["embed", "PROTEIN", "-m", "MODEL", "-o", "x.npz"],
            "'>p': 'L' at position 3 is not a nucleotide code",
        ),
        (["likelihood", "absent.fa", "-m", "MODEL"], "does not exist"),
        (["likelihood", "IN", "-m", "MODEL", "--by-position", "4", "--per-token"], "give one of them"),
        (["likelihood", "IN", "-m", "MODEL", "--by-position", "4", "--strand", "both"], "writes one strand"),
        (["likelihood", "IN", "-m", "MODEL", "--position-scale", "2"], "position_scale are of the rotary"),
        (["likelihood", "-", "-m", "absent"], "there is no checkpoint folder 'absent'"),
        (["embed", "-m", "MODEL", "-o", "x.npz"], "give either a FASTA of sequences"),
        (["embed", "IN", "-m", "MODEL", "-o", "x.npz", "--layer", "nope"], "has no layer 'nope'"),
        (["embed", "IN", "-m", "MODEL", "-o", "x.csv"], "written as .npz or .parquet"),
    ],
)
def test_bad_input(run: Run, folder: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    places = {"MODEL": str(folder / "model"), "IN": str(folder / "in.fa"), "PROTEIN": str(folder / "p.fa")}
    result = run(*[places.get(argument, argument) for argument in arguments])
    assert result.exit_code == 3, result.stderr
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.glob("x.*"))
