"""``genomix index`` and ``genomix bench data`` as processes: streams, exit codes, files."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from genomix_data.token_store import TokenStore
from tests.conftest import PACKAGES, ROOT, RunGenomix

BASES = "ACGTacgtNN" * 300


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    path = tmp_path / "x.fa"
    path.write_text(f">chr1\n{BASES}\n")
    return path


def test_build_keep_and_check(run_genomix: RunGenomix, fasta: Path) -> None:
    ran = run_genomix("index", "x.fa", "--threads", "1")
    assert ran.returncode == 0, ran.stderr
    store = fasta.with_name("x.fa.gmx")
    assert ran.stdout == f"{store}\n"
    assert "x.fa.gmx: 1 contig, 3,000 bp; built in" in ran.stderr
    assert TokenStore(store).window("1", 0, 10).tobytes() == b"ACGTacgtNN"
    assert "up to date" in run_genomix("index", "x.fa").stderr
    checked = run_genomix("index", "x.fa", "--check", "--json")
    assert checked.returncode == 0, checked.stderr
    assert "whole and fresh" in checked.stderr
    (row,) = json.loads(checked.stdout)
    assert (row["n_bases"], row["n_n"], row["n_soft_masked"], row["sources"]) == (3000, 600, 1200, ["x.fa"])
    again = run_genomix("index", "x.fa", "--force", "-q")
    assert (again.returncode, again.stderr) == (0, "")


def test_several_files(run_genomix: RunGenomix, fasta: Path) -> None:
    fasta.with_name("y.fa").write_text(">chr2\nGGCC\n")
    each = run_genomix("index", "x.fa", "y.fa")
    assert [Path(line).name for line in each.stdout.splitlines()] == ["x.fa.gmx", "y.fa.gmx"]
    together = run_genomix("index", "x.fa", "y.fa", "-o", "both.gmx")
    assert together.returncode == 0, together.stderr
    assert list(TokenStore(fasta.with_name("both.gmx")).contigs) == ["chr1", "chr2"]
    twice = run_genomix("index", "x.fa", "x.fa", "-o", "twice.gmx")
    assert twice.returncode == 3
    assert "contig 'chr1' is in both" in twice.stderr
    assert not fasta.with_name("twice.gmx").exists()


def test_what_is_wrong_is_one_line_and_code_3(run_genomix: RunGenomix, fasta: Path) -> None:
    for arguments, message in (
        (["none.fa"], "does not exist"),
        (["x.fa", "--check"], "has no token store. Make one with `genomix index`"),
    ):
        ran = run_genomix("index", *arguments)
        assert (ran.returncode, ran.stdout) == (3, "")
        assert message in ran.stderr
        assert len(ran.stderr.strip().splitlines()) == 1
    assert run_genomix("index", "x.fa", "--check", "--force").returncode == 2
    run_genomix("index", "x.fa")
    bases = fasta.with_name("x.fa.gmx") / "bases.bin"
    bases.write_bytes(b"T" + bases.read_bytes()[1:])
    ran = run_genomix("index", "x.fa", "--check")
    assert ran.returncode == 3
    assert "do not match their checksum" in ran.stderr
    assert [entry.name for entry in fasta.parent.iterdir() if entry.name.startswith(".")] == []


def test_index_needs_no_torch(run_genomix: RunGenomix, fasta: Path) -> None:
    code = (
        "import sys; from genomix_data.token_store import open_store; open_store('x.fa');"
        "assert not {'torch', 'lightning', 'Bio'} & set(sys.modules)"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(str(ROOT / package) for package in PACKAGES)}
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=fasta.parent, env=env, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr


def test_bench(run_genomix: RunGenomix, fasta: Path) -> None:
    ran = run_genomix("bench", "data", "-f", "x.fa", "--seconds", "0.05", "--workers", "1", "--json")
    assert ran.returncode == 0, ran.stderr
    result = json.loads(ran.stdout)
    assert result["genome"] == {"n_bases": 3000, "file": "x.fa"}
    assert {row["what"] for row in result["rows"]} >= {"build the store", "store.gather (Evo 2 ids)"}
    assert all(row["million_tokens_per_second"] > 0 for row in result["rows"])
    assert "M tokens/s" not in ran.stdout
    assert sorted(entry.name for entry in fasta.parent.iterdir()) == ["x.fa", "x.fa.fai"]
    assert run_genomix("bench", "nothing").returncode == 2


def test_bench_vcf(run_genomix: RunGenomix) -> None:
    ran = run_genomix("bench", "vcf", "--seconds", "0.05", "--json")
    assert ran.returncode == 0, ran.stderr
    result = json.loads(ran.stdout)
    assert {row["records"] for row in result["rows"]} == {3893}
    assert len({row["what"] for row in result["rows"]}) == 5
