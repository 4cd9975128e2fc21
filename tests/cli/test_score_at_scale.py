"""``genomix score`` killed at random moments goes on; shards, tables and merge as commands."""

import json
import random
import subprocess
import time
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from genomix_cli.main import app
from tests.cli.test_score import COMMAND, ENVIRONMENT, arguments, inputs, vcf_of

__all__ = ["inputs"]

N_RECORDS = 4 * 1024 + 100


@pytest.fixture(scope="module")
def many(inputs: Path) -> Path:
    """Five blocks of records."""
    path = inputs / "many.vcf"
    path.write_text(vcf_of([100 + number % 2800 for number in range(N_RECORDS)]))
    return path


def body(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if not line.startswith("##genomixCommand")]


def test_killed_at_random_moments(inputs: Path, many: Path, tmp_path: Path) -> None:
    """Nothing is lost and nothing comes twice: the output is that of a run in peace, which had no cache either."""
    rng = random.Random(4)
    out, report, peaceful = tmp_path / "out.vcf", tmp_path / "run.json", tmp_path / "peaceful.vcf"
    # small batches, so that a block takes long enough to be killed amid it
    more = ["--window", "32", "--threads", "1", "--horizon", "8", "--batch-size", "8", "-q"]
    command = [*COMMAND, str(many), *arguments(inputs)[1:], *more]
    cache = tmp_path.with_name("cache")
    resumed = [*command, "-o", str(out), "--resume", "--report", str(report), "--cache", str(cache)]
    journal = tmp_path / "out.vcf.resume" / "journal.jsonl"
    n_kills = 0
    for n_lines in (2, 3):
        with subprocess.Popen(resumed, env=ENVIRONMENT, stderr=subprocess.PIPE) as process:
            deadline = time.monotonic() + 120
            while process.poll() is None and time.monotonic() < deadline:
                if journal.exists() and journal.read_bytes().count(b"\n") >= n_lines:
                    break
                time.sleep(0.002)
            time.sleep(rng.random() * 0.1)
            process.kill()
            n_kills += process.wait() == -9
        assert n_kills == (1 if n_lines == 2 else 2), "the run ended before it was killed"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["out.vcf.resume"]
    n_threads = torch.get_num_threads()
    for arguments_of_run in (resumed, [*command, "-o", str(peaceful)]):
        assert CliRunner().invoke(app, arguments_of_run[len(COMMAND) - 1 :]).exit_code == 0
    torch.set_num_threads(n_threads)
    assert body(out) == body(peaceful)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.vcf", "peaceful.vcf", "run.json"]
    told = json.loads(report.read_text())["summary"]
    assert told["records"] == told["alleles_scored"] == N_RECORDS
    assert 2 * 1024 <= told["records_resumed"] < N_RECORDS
    assert told["against_exact"]["alleles"] == 64
    # each allele came from the cache or was run, and no kill made one count twice
    assert told["alleles_from_cache"] + told["alleles_not_in_cache"] == N_RECORDS


def test_resume_says_what_it_cannot(inputs: Path, many: Path, tmp_path: Path) -> None:
    base = ["score", str(many), *arguments(inputs)[1:], "--resume"]
    for more, message in (
        (["-o", "-"], "from a file to a file"),
        (["-o", str(tmp_path / "o.parquet")], "a Parquet file cannot be resumed"),
        (["-o", str(tmp_path / "o.bcf")], "cannot be resumed; write VCF.gz"),
    ):
        ran = CliRunner().invoke(app, [*base, *more])
        assert ran.exit_code == 3, ran.output
        assert message in ran.stderr


def test_shards_merge_and_table(inputs: Path, tmp_path: Path) -> None:
    base = ["score", *arguments(inputs), "--window", "32"]
    parts = [str(tmp_path / f"{n}.vcf") for n in (1, 2)]
    for number, part in enumerate(parts, 1):
        assert CliRunner().invoke(app, [*base, "--shard", f"{number}/2", "-o", part]).exit_code == 0
    ran = CliRunner().invoke(app, ["merge", *parts, "-o", str(tmp_path / "merged.vcf")])
    assert ran.exit_code == 0, ran.output
    assert "2 shards, 14 records" in ran.stderr
    assert CliRunner().invoke(app, [*base, "-o", str(tmp_path / "whole.vcf")]).exit_code == 0
    assert body(tmp_path / "merged.vcf") == body(tmp_path / "whole.vcf")
    ran = CliRunner().invoke(app, ["merge", parts[0], "-o", str(tmp_path / "x.vcf")])
    assert ran.exit_code == 3
    assert "of 2 shards these are missing: 2" in " ".join(ran.stderr.split())
    twice = CliRunner().invoke(app, ["merge", *parts, parts[0], "-o", str(tmp_path / "x.vcf")])
    assert twice.exit_code == 3
    assert "expected each of 1 to 2 once" in " ".join(twice.stderr.split())
    last_line_gone = Path(parts[1]).read_bytes().rstrip(b"\n").rpartition(b"\n")[0] + b"\n"
    (tmp_path / "cut.vcf").write_bytes(last_line_gone)
    cut = CliRunner().invoke(
        app, ["merge", parts[0], str(tmp_path / "cut.vcf"), "-o", str(tmp_path / "x.vcf")]
    )
    assert cut.exit_code == 3
    assert "has 13 records and its header says 14: it was cut" in " ".join(cut.stderr.split())
    (tmp_path / "other.vcf").write_text((inputs / "in.vcf").read_text().replace("AF=0.5", "AF=0.4", 1))
    other = [str(tmp_path / "other.vcf"), *base[2:], "--shard", "2/2", "-o", str(tmp_path / "2.other.vcf")]
    assert CliRunner().invoke(app, ["score", *other]).exit_code == 0
    foreign = CliRunner().invoke(app, ["merge", parts[0], other[-1], "-o", str(tmp_path / "x.vcf")])
    assert foreign.exit_code == 3
    assert "is a shard of another input" in " ".join(foreign.stderr.split())
    assert not (tmp_path / "x.vcf").exists()

    table = str(tmp_path / "t.tsv.gz")
    reference = [*arguments(inputs)[1:5], "--device", "cpu"]
    ran = CliRunner().invoke(app, ["tile", *reference, "-r", "chr1:150-450", "--window", "32", "-o", table])
    assert ran.exit_code == 0, ran.output
    assert "301 bases, 903 substitutions" in " ".join(ran.stderr.split())
    ran = CliRunner().invoke(app, [*base, "--table", table, "-o", str(tmp_path / "looked_up.vcf")])
    assert "looked up in the table: 3 alleles" in ran.stderr


def test_cache(inputs: Path, tmp_path: Path) -> None:
    base = ["score", *arguments(inputs), "--window", "32", "--cache", str(tmp_path / "cache")]
    first, second, report = (str(tmp_path / name) for name in ("first.vcf", "second.vcf", "run.json"))
    ran = CliRunner().invoke(app, [*base, "-o", first])
    assert ran.exit_code == 0, ran.output
    assert "from the cache: 0 alleles; scored and added to it: 13" in ran.stderr
    ran = CliRunner().invoke(app, [*base, "-o", second, "--report", report, "--shard", "1/1", "--resume"])
    assert "from the cache: 13 alleles; scored and added to it: 0" in ran.stderr
    told = json.loads(Path(report).read_text())["summary"]
    assert (told["alleles_from_cache"], told["alleles_not_in_cache"], told["windows"]) == (13, 0, 0)
    records = [[line for line in body(Path(path)) if not line.startswith("##")] for path in (first, second)]
    assert records[0] == records[1]
    [file] = (tmp_path / "cache").glob("*.sqlite")
    file.write_bytes(b"no cache" * 1000)
    ran = CliRunner().invoke(app, [*base, "-o", str(tmp_path / "x.vcf")])
    assert ran.exit_code == 3
    assert f"{file.name}' is damaged" in " ".join(ran.stderr.split())
    assert not (tmp_path / "x.vcf").exists()


def test_scores_and_protocol(inputs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.tsv"
    ran = CliRunner().invoke(
        app, ["score", *arguments(inputs), "--scores", "llr, abs,ref_ll,entropy,cos,l2", "-o", str(out)]
    )
    assert ran.exit_code == 0, ran.output
    names = next(line for line in out.read_text().splitlines() if line.startswith("#CHROM")).split("\t")
    assert names[5:] == ["GMX_LLR", "GMX_STATUS", "GMX_REF_LL", "GMX_ABS", "GMX_ENTROPY", "GMX_COS", "GMX_L2"]
    for more, message in (
        (["--scores", "llr,lrr"], "expected some of llr"),
        (["--protocol", "evo2", "--strand", "both"], "protocol evo2 has strand=forward, but strand=both"),
        (["--protocol", "evo2"], "--window 64"),
        (["--shard", "3/2"], "shard 3/2"),
        (["--sample", "me"], "add --haplotypes"),
    ):
        ran = CliRunner().invoke(app, ["score", *arguments(inputs), *more, "-o", str(tmp_path / "x.vcf")])
        assert ran.exit_code == 3, (more, ran.output)
        assert message in " ".join(ran.stderr.split())
