"""Shards on a real Ray cluster of this machine: the file of a whole run, also when workers are killed amid a shard."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from genomix.checkpoint.native import LoadedModel
from genomix.variant_effect import OutputOptions, ScoreOptions, ray_cluster, score_vcf
from genomix.variant_effect.on_ray import score_on_ray
from genomix.variant_effect.ray_cluster import RayOptions, Workers, connected, nodes_of, results_of
from genomix_cli.main import app
from genomix_data.errors import ConfigError, GenomixError, ReferenceMismatchError
from tests.conftest import PACKAGES, ROOT
from tests.genomix.variant_effect.conftest import write_fasta
from tests.genomix.variant_effect.test_shards_and_tables import CONTIG, body, snv_rows

pytest.importorskip("ray", reason="the extra ray is not installed")
pytestmark = pytest.mark.slow

OPTIONS = ScoreOptions(window=32, horizon=8, exact_sample=20, device="cpu")
ONE = RayOptions(workers=1)
N_RECORDS = 3 * 1024 + 100
HEAD = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
ScoreOnRay = Callable[..., Any]


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """A cluster of this machine for all tests of this file; its workers find the package in a bare clone too.

    It counts two GPUs, whether there are any or not: enough to see how workers are laid out.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_OVERRIDE_RESOURCES", '{"GPU": 2}')
        patch.setenv("PYTHONPATH", os.pathsep.join(str(ROOT / package) for package in PACKAGES))
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.delenv("RAY_ADDRESS", raising=False)
        handler = signal.getsignal(signal.SIGTERM)
        with connected(RayOptions(forward_logs=False)) as (module, is_local):
            assert is_local
            assert signal.getsignal(signal.SIGTERM) is handler
            yield module


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``g.fa`` and ``in.vcf``: four blocks, the last of contigs that the genome does not have."""
    folder = tmp_path_factory.mktemp("inputs")
    write_fasta(folder / "g.fa", {"chr1": CONTIG})
    rows = snv_rows(N_RECORDS - 1024)
    rows += [row.replace("chr1", "decoy", 1) for row in rows[:1024]]
    (folder / "in.vcf").write_text(HEAD + "\n".join(rows) + "\n")
    return folder


@pytest.fixture
def score(ray: Any, inputs: Path, model_folder: Path) -> ScoreOnRay:
    def run(out: Path, options: ScoreOptions = OPTIONS, vcf: str = "in.vcf", **more: Any) -> Any:
        return score_on_ray(inputs / vcf, inputs / "g.fa", model_folder, out, options, cluster=ONE, **more)

    return run


def kill_one_amid_a_shard(folder: Path, killed: list[int]) -> None:
    """Kill a worker that has begun to write a shard; only those that descend from this process are looked at."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if any(folder.glob(".*.shards.*/.part.*/part.*")):
            for process in Path("/proc").iterdir():
                if process.name.isdecimal() and _is_at_work(process):
                    os.kill(int(process.name), signal.SIGKILL)
                    killed.append(int(process.name))
                    return
        time.sleep(0.005)


def _is_at_work(process: Path) -> bool:
    try:
        if not (process / "cmdline").read_bytes().startswith(b"ray::ShardWorker.work"):
            return False
        ancestor = process
        while ancestor.name not in ("1", "0"):
            parent = (ancestor / "stat").read_text().rpartition(")")[2].split()[1]
            if int(parent) == os.getpid():
                return True
            ancestor = Path("/proc") / parent
    except (FileNotFoundError, ProcessLookupError):
        return False  # it has ended since
    return False


def told(summary: Any) -> dict[str, Any]:
    return {
        key: value
        for key, value in summary.to_dict().items()
        if key not in ("seconds", "alleles_per_second", "output", "records_resumed")
    }


def test_a_worker_killed_amid_a_shard(
    ray: Any,
    inputs: Path,
    model_folder: Path,
    model: LoadedModel,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The command: nothing is lost, nothing comes twice, and file and summary are those of one process."""
    out, report = tmp_path / "out.vcf.gz", tmp_path / "run.json"
    killed: list[int] = []
    killer = threading.Thread(target=kill_one_amid_a_shard, args=(tmp_path, killed))
    killer.start()
    arguments = ["score", str(inputs / "in.vcf"), "-f", str(inputs / "g.fa"), "-m", str(model_folder)]
    options = [
        "--window",
        "32",
        "--horizon",
        "8",
        "--exact-sample",
        "20",
        "--batch-size",
        "16",
        "--threads",
        "1",
        "--device",
        "cpu",
    ]
    ray_too = ["--engine", "ray", "--ray-workers", "2", "--report", str(report), "-W", "-o", str(out)]
    ran = CliRunner().invoke(app, [*arguments, *options, *ray_too])
    killer.join()
    assert ran.exit_code == 0, ran.output
    assert len(killed) == 1
    assert [line for line in caplog.messages if line.startswith("a worker died over shard")]
    whole = score_vcf(inputs / "in.vcf", inputs / "g.fa", model, tmp_path / "whole.vcf.gz", OPTIONS)
    assert f"3,172 records, {whole.scored:,} of {whole.alleles:,} alleles scored" in ran.stderr
    assert body(out) == body(tmp_path / "whole.vcf.gz")
    found = json.loads(report.read_text())["summary"]
    assert {key: found[key] for key in told(whole)} == told(whole)
    assert found["against_exact"]["alleles"] == 20
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["out.vcf.gz", "out.vcf.gz.csi", "run.json", "whole.vcf.gz"]


def test_broken_off_and_resumed(score: ScoreOnRay, inputs: Path, model: LoadedModel, tmp_path: Path) -> None:
    """A table with its index; what is done stays done, and the rest is that of one process."""
    out = tmp_path / "out.tsv.gz"
    indexed = OutputOptions(write_index=True)

    def stop(_: object, n_done: int, __: int) -> None:
        if n_done == 2:
            raise KeyboardInterrupt

    steps: list[tuple[int, int, int]] = []
    cache = tmp_path / "cache"
    with pytest.raises(KeyboardInterrupt):
        score(out, resume=True, on_shard=stop, output=indexed, cache=cache)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "out.tsv.gz.resume"]
    with pytest.raises(ConfigError, match="is of another run"):
        score(out, replace(OPTIONS, check_ref="x"), resume=True, output=indexed)
    summary = score(
        out,
        resume=True,
        output=indexed,
        cache=cache,
        on_shard=lambda part, done, of: steps.append((part.records, done, of)),
    )
    assert steps == [(1024, 3, 4), (100, 4, 4)]
    assert summary.resumed == 2 * 1024
    assert summary.records == N_RECORDS
    whole = score_vcf(inputs / "in.vcf", inputs / "g.fa", model, tmp_path / "whole.tsv.gz", OPTIONS)
    assert body(out) == body(tmp_path / "whole.tsv.gz")
    # the last of all are of a contig that is not in the genome
    assert (summary.from_cache, summary.not_in_cache) == (0, whole.scored)
    again = score_vcf(
        inputs / "in.vcf", inputs / "g.fa", model, tmp_path / "again.tsv.gz", OPTIONS, cache=cache
    )
    assert (again.from_cache, again.not_in_cache) == (whole.scored, 0)
    assert body(tmp_path / "again.tsv.gz") == body(tmp_path / "whole.tsv.gz")
    assert told(summary) == {**told(whole), "alleles_not_in_cache": whole.scored}
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "again.tsv.gz",
        "cache",
        "out.tsv.gz",
        "out.tsv.gz.csi",
        "whole.tsv.gz",
    ]


def test_what_is_refused_before_a_worker_starts(score: ScoreOnRay, inputs: Path, tmp_path: Path) -> None:
    foreign = snv_rows(1)[0].replace("chr1", "other")
    (inputs / "foreign.vcf").write_text(HEAD + foreign + "\n")
    with pytest.raises(ReferenceMismatchError, match=r"no contig of the VCF is in g\.fa"):
        score(tmp_path / "out.vcf", vcf="foreign.vcf")
    with pytest.raises(ConfigError, match="text that becomes BCF"):
        score(tmp_path / "out.bcf")
    with pytest.raises(ConfigError, match="a GPU of its own"):
        score(tmp_path / "out.vcf", replace(OPTIONS, device="cuda:1"))
    with pytest.raises(ConfigError, match="is the input itself"):
        score(inputs / "in.vcf")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("gpus", [1, 0.5])
def test_a_worker_sees_one_gpu(ray: Any, gpus: float, tmp_path: Path) -> None:
    """A whole one each, or one that two share."""

    class Worker:
        def ready(self) -> None:
            pass

        def work(self, job: int) -> str:
            # until both workers have a job: one may start late, and the other would do them all
            (tmp_path / str(os.getpid())).touch()
            deadline = time.monotonic() + 60
            while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < deadline:
                time.sleep(0.01)
            return os.environ["CUDA_VISIBLE_DEVICES"]

    workers = Workers.of(RayOptions(workers=2, gpus=gpus), "cuda", nodes_of(ray), is_local=True)
    assert workers == Workers(2, 1, gpus)
    actor = workers.actor(ray, Worker)
    seen = [device for _, device in results_of(ray, actor.remote, range(6), workers.n)]
    assert set(seen) <= {"0", "1"}
    assert gpus < 1 or len(set(seen)) == 2


@pytest.mark.skipif(
    torch.cuda.is_available(), reason="needs a machine whose GPUs Ray counts and PyTorch does not see"
)
def test_gpus_that_ray_counts_and_torch_does_not_see(score: ScoreOnRay, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"Ray gave a worker on .* a GPU, and PyTorch sees no CUDA device there"
    ):
        score(tmp_path / "out.vcf", replace(OPTIONS, device="auto"))
    assert not list(tmp_path.iterdir())


def test_jobs_on_workers_that_die(ray: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job goes to another worker, so many times; what a job raises comes as it would without Ray."""

    class Worker:
        def __init__(self, always: bool) -> None:
            self._always, self._flag = always, tmp_path / "died"

        def ready(self) -> None:
            pass

        def work(self, job: int) -> int:
            if job == 2 and (self._always or not self._flag.exists()):
                self._flag.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            if job == 5:
                raise OSError(28, "No space left on device", "part.5")
            if job == 6:
                raise ReferenceMismatchError("chr1:7: REF is 'A', the FASTA has 'C'.")
            return 10 * job

    actor = Workers(2, 1, 0).actor(ray, Worker)
    found = results_of(ray, lambda: actor.remote(False), [1, 2, 3, 4], 2)
    assert sorted(found) == [(1, 10), (2, 20), (3, 30), (4, 40)]
    monkeypatch.setattr(ray_cluster, "ATTEMPTS", 2)
    with pytest.raises(GenomixError, match="died over shard 2, 2 times"):
        list(results_of(ray, lambda: actor.remote(True), [1, 2], 1))
    with pytest.raises(OSError, match="No space left") as full:
        list(results_of(ray, lambda: actor.remote(True), [5], 1))
    assert full.value.filename == "part.5"
    with pytest.raises(ReferenceMismatchError) as mismatch:
        list(results_of(ray, lambda: actor.remote(True), [6], 1))
    assert str(mismatch.value) == "chr1:7: REF is 'A', the FASTA has 'C'."
