"""Shards in processes side by side: file, summary and errors are those of one process."""

import gzip
import importlib
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from genomix.checkpoint.native import LoadedModel
from genomix.variant_effect import OutputOptions, ScoreOptions, ScoreSummary, score_vcf
from genomix.variant_effect.background import Background
from genomix.variant_effect.on_processes import score_on_processes
from genomix.variant_effect.processes import ScoringProcesses, _how_it_ended, _that_can_be_sent, devices_for
from genomix.variant_effect.score import BLOCK_RECORDS
from genomix_data.errors import ConfigError, GenomixError, InputFileError, ReferenceMismatchError
from genomix_data.genome import Genome
from genomix_data.vcf import open_vcf
from tests.genomix.variant_effect.conftest import write_fasta
from tests.genomix.variant_effect.test_shards_and_tables import CONTIG, snv_rows

OPTIONS = ScoreOptions(window=32, horizon=8, exact_sample=20, device="cpu")
HEAD = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
N_RECORDS = 3 * BLOCK_RECORDS + 100
Both = Callable[..., tuple[Path, Path, ScoreSummary, ScoreSummary]]


@pytest.fixture(scope="module")
def processes(model_folder: Path) -> Iterator[ScoringProcesses]:
    """Two that all tests use which do not end them."""
    with ScoringProcesses(model_folder, 2, device="cpu", threads=1) as started:
        yield started


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``g.fa`` and ``in.vcf``, of which every block is dirty in all ways that a run goes on with."""
    folder = tmp_path_factory.mktemp("inputs")
    write_fasta(folder / "g.fa", {"chr1": CONTIG})
    rows = snv_rows(N_RECORDS)
    for at in range(50, N_RECORDS, 400):
        chrom, pos, name, ref, _, *rest = rows[at].split("\t")
        other = "ACGT"["ACGT".index(ref) - 2]
        for number, (of_chrom, of_ref, alt) in enumerate(
            [
                (chrom, other, ref),
                (chrom, ref, "."),
                (chrom, ref, "*"),
                (chrom, ref, "<DEL>"),
                ("decoy", ref, other),
                (chrom, ref.lower(), other.lower()),
                (chrom, ref, f"{ref}{'AC' * 20}"),
                (chrom, "N", other),
            ]
        ):
            rows[at + number] = "\t".join([of_chrom, pos, name, of_ref, alt, *rest])
    rows[70] = rows[70].removesuffix(".") + "AF=1;AF=x y"
    (folder / "in.vcf").write_text(HEAD + "\n".join(rows))  # the last line has no line end
    return folder


@pytest.fixture
def both(inputs: Path, model: LoadedModel, processes: ScoringProcesses, tmp_path: Path) -> Both:
    """Score with two processes and with one."""

    def run(
        suffix: str, options: ScoreOptions = OPTIONS, vcf: str | Path = "in.vcf", **more: Any
    ) -> tuple[Path, Path, ScoreSummary, ScoreSummary]:
        two, one = tmp_path / f"two{suffix}", tmp_path / f"one{suffix}"
        of_two = score_on_processes(inputs / vcf, inputs / "g.fa", processes, two, options, **more)
        of_one = score_vcf(inputs / vcf, inputs / "g.fa", model, one, options, **more)
        assert all(path.name.startswith(("one", "two")) for path in tmp_path.iterdir())
        return two, one, of_two, of_one

    return run


def told(summary: ScoreSummary) -> dict[str, Any]:
    counts = summary.to_dict()
    for name in ("seconds", "alleles_per_second", "output"):
        del counts[name]
    return counts


def lines_of(path: Path) -> list[bytes]:
    """Return all lines but that on the command, which has a date; a BCF as text."""
    if path.suffix == ".bcf":
        with open_vcf(path) as reader:
            header = [line.encode() for line in reader.header.meta]
            lines = [*header, *(record.annotated({}) for record in reader)]
    else:
        data = path.read_bytes()
        lines = (gzip.decompress(data) if path.suffix == ".gz" else data).splitlines(keepends=True)
    return [line for line in lines if not line.startswith(b"##genomixCommand")]


@pytest.mark.parametrize("suffix", [".vcf", ".tsv.gz", ".bcf"])
def test_the_file_and_the_summary_of_one_process(both: Both, suffix: str) -> None:
    moved: list[float] = []
    two, one, of_two, of_one = both(suffix, progress=moved.append)
    assert lines_of(two) == lines_of(one)
    assert len(lines_of(two)) > N_RECORDS
    assert told(of_two) == told(of_one)
    assert sum(moved) == pytest.approx(of_one.alleles * 2), "each of the two runs tells of every allele"
    assert of_two.output == str(two)
    counts = of_two.by_status
    assert {"OK", "REF_MISMATCH", "STAR", "SYMBOLIC", "NO_CONTIG", "TOO_LONG", "NON_ACGT"} == {*counts}
    assert of_two.no_alt
    assert of_two.against_exact
    assert "INFO AF comes twice" in of_two.faults
    assert "the last line has no line end: the file may be cut" in of_two.faults
    if suffix == ".bcf":  # which came from text; and one that comes from a BCF
        two, one, of_two, of_one = both(".again.bcf", replace(OPTIONS, exact_sample=0), two)
        assert lines_of(two) == lines_of(one)
        assert told(of_two) == told(of_one)


def test_parquet(both: Both) -> None:
    parquet: Any = importlib.import_module("pyarrow.parquet")  # without types
    two, one, of_two, of_one = both(".parquet", replace(OPTIONS, mode="tiled", horizon=None, stride=8))
    found, wanted = parquet.read_table(two), parquet.read_table(one)
    assert found.equals(wanted)
    assert found.schema.metadata.keys() == wanted.schema.metadata.keys()
    assert told(of_two) == told(of_one)


def test_dropped_records_and_an_index(both: Both, inputs: Path, tmp_path: Path) -> None:
    """Records that are dropped need no order."""
    rows = (inputs / "in.vcf").read_text().removeprefix(HEAD).splitlines()
    kept = [row for row in rows if not row.startswith("decoy")]
    mismatch = next(row for row in kept if "\tAF" not in row and row.split("\t")[3] != "N")
    columns = mismatch.split("\t")
    ref = "ACGT"["ACGT".index(columns[3].upper()) - 1]
    kept.append("\t".join([columns[0], "100", columns[2], ref, "<DEL>,TT", *columns[5:]]))
    (tmp_path / "one.in.vcf").write_text(HEAD + "\n".join(kept) + "\n")
    output = OutputOptions(write_index=True)
    two, one, of_two, of_one = both(
        ".vcf.gz", replace(OPTIONS, check_ref="x"), tmp_path / "one.in.vcf", output=output
    )
    assert lines_of(two) == lines_of(one)
    assert told(of_two) == told(of_one)
    assert of_two.dropped > 1
    assert Path(f"{two}.csi").exists()


def test_standard_output(inputs: Path, processes: ScoringProcesses, capfdbinary: Any, both: Both) -> None:
    _, one, _, _ = both(".vcf")
    capfdbinary.readouterr()
    summary = score_on_processes(inputs / "in.vcf", inputs / "g.fa", processes, "-", OPTIONS)
    printed = capfdbinary.readouterr().out.splitlines(keepends=True)
    assert [line for line in printed if not line.startswith(b"##genomixCommand")] == lines_of(one)
    assert summary.output is None


def rows_of_wrong_letters(n: int) -> list[str]:
    rows = [row.split("\t") for row in snv_rows(n)]
    return ["\t".join([*row[:3], "ACGT"["ACGT".index(row[3]) - 2], row[3], *row[5:]]) for row in rows]


UNKNOWN = [row.replace("chr1", "decoy") for row in snv_rows(BLOCK_RECORDS)]


@pytest.mark.parametrize(
    ("rows", "changes", "output", "error"),
    [
        # the first shard alone has no REF that can be judged
        ([*UNKNOWN, *rows_of_wrong_letters(1500)], {}, {}, ReferenceMismatchError),
        (UNKNOWN, {}, {}, ReferenceMismatchError),
        (snv_rows(2000) + rows_of_wrong_letters(2), {"check_ref": "e"}, {}, ReferenceMismatchError),
        ([*snv_rows(2000), "chr1\tx", *rows_of_wrong_letters(900)], {}, {}, InputFileError),
        (snv_rows(2000) + snv_rows(1), {}, {"write_index": True}, InputFileError),
        (snv_rows(1), {"haplotypes": True}, {}, ConfigError),
        (snv_rows(1), {}, {"output_type": "p", "write_index": True}, ConfigError),
    ],
    ids=["assembly", "no contig", "check_ref e", "damaged", "unsorted", "no sample", "no index"],
)
def test_what_ends_one_process_ends_several_with_the_same_words(
    rows: list[str],
    changes: dict[str, Any],
    output: dict[str, Any],
    error: type[GenomixError],
    inputs: Path,
    model: LoadedModel,
    model_folder: Path,
    processes: ScoringProcesses,
    tmp_path: Path,
) -> None:
    vcf, out = inputs / "bad.vcf", tmp_path / "out.vcf.gz"
    vcf.write_text(HEAD + "\n".join(rows) + "\n")
    more = (replace(OPTIONS, **changes),)
    what = OutputOptions(**output)
    with pytest.raises(error) as of_one:
        score_vcf(vcf, inputs / "g.fa", model, out, *more, output=what)
    # what a process finds ends all of them
    own = (
        ScoringProcesses(model_folder, 1, device="cpu") if "haplotypes" in changes else nullcontext(processes)
    )
    with own as those, pytest.raises(error) as of_two:
        score_on_processes(vcf, inputs / "g.fa", those, out, *more, output=what)
    assert str(of_two.value) == str(of_one.value)
    assert not list(tmp_path.iterdir())


def test_a_pipe_is_refused(inputs: Path, processes: ScoringProcesses, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for vcf, name in (("-", "standard input"), (tmp_path / "pipe", "pipe'")):
        with pytest.raises(ConfigError, match=f"{name} cannot be read by several processes"):
            score_on_processes(vcf, inputs / "g.fa", processes, tmp_path / "o.vcf", OPTIONS)
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


@pytest.mark.slow
def test_killed_and_resumed(inputs: Path, model_folder: Path, model: LoadedModel, tmp_path: Path) -> None:
    """One that dies ends all, as an interrupt does; with ``resume`` other processes go on amid a shard."""
    options = replace(OPTIONS, batch_size=16)
    out = tmp_path / "out.vcf.gz"
    vcf, fasta = inputs / "in.vcf", inputs / "g.fa"
    before = set(multiprocessing.active_children())
    with ScoringProcesses(model_folder, 2, device="cpu", threads=1) as started:
        children = [*set(multiprocessing.active_children()) - before]

        def kill_when_some_is_done(_: float) -> None:
            journals = list(tmp_path.glob("out.vcf.gz.resume/part.*.resume/journal.jsonl"))
            if any(len(each.read_bytes().splitlines()) > 1 for each in journals):
                os.kill(int(children[0].pid or 0), signal.SIGKILL)

        with pytest.raises(ChildProcessError, match=r"one of 2 .* by signal 9 \(SIGKILL\)"):
            score_on_processes(
                vcf, fasta, started, out, options, resume=True, progress=kill_when_some_is_done
            )
        assert len(children) == 2
        assert not any(child.is_alive() for child in children)
    assert [path.name for path in tmp_path.iterdir()] == ["out.vcf.gz.resume"]

    def stop_when_a_shard_is_done(_: float) -> None:
        if (tmp_path / "out.vcf.gz.resume" / "part.1.vcf.gz.json").exists():
            raise KeyboardInterrupt

    with ScoringProcesses(model_folder, 1, device="cpu", threads=1) as one:
        with pytest.raises(ConfigError, match="is of another run"):
            score_on_processes(vcf, fasta, one, out, replace(options, reduce="mean"), resume=True)
        with pytest.raises(KeyboardInterrupt):
            score_on_processes(vcf, fasta, one, out, options, resume=True, progress=stop_when_a_shard_is_done)
    with ScoringProcesses(model_folder, 1, device="cpu", threads=1) as one:
        found = score_on_processes(vcf, fasta, one, out, options, resume=True)
    assert 2 * BLOCK_RECORDS <= found.resumed < N_RECORDS
    whole = score_vcf(vcf, fasta, model, tmp_path / "whole.vcf.gz", options)
    assert lines_of(out) == lines_of(tmp_path / "whole.vcf.gz")
    assert told(found) == {**told(whole), "records_resumed": found.resumed}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.vcf.gz", "whole.vcf.gz"]


def test_a_background_is_scored_once(
    genome: Genome, model: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the one that comes first; the other waits for it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    options = replace(OPTIONS, scores=("z",), horizon=None, background=20)
    began, goes_on = threading.Event(), threading.Event()
    calls: list[int] = []
    found: list[Background] = []

    def score(_: ScoreOptions, sites: Any) -> Iterator[Any]:
        calls.append(len(sites))
        began.set()
        assert goes_on.wait(60)
        return iter([[_scored()] for _ in sites])

    def run() -> None:
        found.append(Background.of(genome, model, options, 32, score))

    threads = [threading.Thread(target=run) for _ in range(2)]
    threads[0].start()
    assert began.wait(60)
    threads[1].start()
    threads[1].join(0.3)
    assert threads[1].is_alive(), "it waits"
    goes_on.set()
    for thread in threads:
        thread.join(60)
    assert len(calls) == 1
    assert found[0].classes == found[1].classes
    assert len(list((tmp_path / "genomix" / "backgrounds").iterdir())) == 1


def _scored() -> Any:
    from genomix.variant_effect import Status, VariantScore

    return VariantScore(Status.OK, -1.0)


def test_gpus_are_dealt_out_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    assert devices_for(3, "cpu") == ["cpu"] * 3
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert devices_for(3, "auto") == devices_for(3, "cuda") == ["cuda:0", "cuda:1", "cuda:0"]
    assert devices_for(2, "cuda:1") == ["cuda:1", "cuda:1"]


def test_what_cannot_be_started(model_folder: Path) -> None:
    with pytest.raises(ConfigError, match="processes=0; expected at least 1"):
        ScoringProcesses(model_folder, 0)
    with pytest.raises(GenomixError, match="nowhere"):
        ScoringProcesses("nowhere", 2)
    with pytest.raises(ConfigError, match="expected auto, cpu, cuda"):
        ScoringProcesses(model_folder, 2, device="tpu")
    with pytest.raises(AssertionError, match="have not begun"):
        ScoringProcesses(model_folder, 2, device="cpu").score(None, [1])  # type: ignore[arg-type]


def test_what_is_said_of_processes_that_end(model_folder: Path) -> None:
    several = ScoringProcesses(model_folder, 3, device="cpu")
    assert several._too_many(torch.OutOfMemoryError("CUDA out of memory.\nTried 2 GiB")).startswith(
        "3 processes need more memory than there is on cpu, of which each takes as much as one alone: use fewer"
    )
    assert "use fewer --processes" in _how_it_ended(-signal.SIGKILL, 3)
    assert (
        _how_it_ended(-signal.SIGSEGV, 3)
        == "one of 3 processes that scored was ended by signal 11 (SIGSEGV)."
    )
    assert _how_it_ended(1, 3).startswith("one of 3 processes that scored ended by itself with code 1")


def test_warnings_of_all_are_said_once(
    processes: ScoringProcesses, inputs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A mitochondrion of another length is warned of by the one that looks through the file."""
    write_fasta(tmp_path / "m.fa", {"chr1": CONTIG, "chrM": b"ACGT" * 20})
    contigs = f"##contig=<ID=chr1,length={len(CONTIG)}>\n##contig=<ID=chrM,length=16571>\n"
    rows = snv_rows(BLOCK_RECORDS + 10)
    (tmp_path / "m.vcf").write_text(
        HEAD.replace("#CHROM", f"{contigs}#CHROM") + "\n".join(rows) + "\nchrM\t5\t.\tA\tC\t.\t.\t.\n"
    )
    with caplog.at_level(logging.WARNING):
        summary = score_on_processes(
            tmp_path / "m.vcf", tmp_path / "m.fa", processes, tmp_path / "o.vcf", OPTIONS
        )
    assert summary.by_status["NO_CONTIG"] == 1  # type: ignore[index]
    assert [message.partition(" ")[0] for message in caplog.messages] == ["chrM"]


class _UnsendableError(GenomixError):
    def __init__(self, a: int, b: int) -> None:
        super().__init__(f"{a} and {b}")


def test_errors_that_cannot_be_sent_say_the_same() -> None:
    sent = ConfigError("as it is")
    assert _that_can_be_sent(sent) is sent
    assert str(_that_can_be_sent(_UnsendableError(1, 2))) == "_UnsendableError: 1 and 2"
    full = OSError(28, "No space left", "x")
    assert _that_can_be_sent(full) is full
