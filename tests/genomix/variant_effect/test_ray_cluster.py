"""What fits on a cluster, and the sum of shards: needs no Ray."""

import socket
import sys
from dataclasses import asdict
from pathlib import Path
from random import Random

import pytest

from genomix.variant_effect.comparison import ExactComparison, Pair
from genomix.variant_effect.contract import ScoreSummary, Status
from genomix.variant_effect.on_ray import refuse_other_machines
from genomix.variant_effect.ray_cluster import RayOptions, Workers, connected, require_one_gpu, was_refused
from genomix.variant_effect.shard_summaries import read_summary, sum_of, write_summary
from genomix_data.errors import ConfigError, GenomixError

SMALL = [{"CPU": 8.0}, {"CPU": 6.0}]
GPUS = [{"CPU": 8.0, "GPU": 4.0}, {"CPU": 2.0, "GPU": 4.0}, {"CPU": 8.0}]


@pytest.mark.parametrize(
    ("nodes", "device", "workers", "threads", "expected"),
    [
        (SMALL, "auto", None, None, Workers(14, 1, 0)),
        (SMALL, "cpu", None, 4, Workers(3, 4, 0)),
        (SMALL, "auto", 3, None, Workers(3, 4, 0)),
        (SMALL, "auto", 1, None, Workers(1, 8, 0)),
        (GPUS, "auto", None, None, Workers(6, 1, 1)),
        (GPUS, "cuda", None, 2, Workers(5, 2, 1)),
        (GPUS, "auto", 2, None, Workers(2, 1, 1)),
        (GPUS, "cpu", 18, None, Workers(18, 1, 0)),
    ],
)
def test_workers_fill_a_cluster(
    nodes: list[dict[str, float]], device: str, workers: int | None, threads: int | None, expected: Workers
) -> None:
    options = RayOptions(workers=workers, threads=threads)
    assert Workers.of(options, device, nodes, is_local=True) == expected


def test_more_workers_than_there_is_room_for(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(
        ConfigError, match="15 workers need 1 CPU each, and the cluster has room for 14: 2 nodes"
    ):
        Workers.of(RayOptions(workers=15), "auto", SMALL, is_local=True)
    with pytest.raises(ConfigError, match=r"a worker needs 1 CPU and a GPU, .* room for 0: .* --device cpu"):
        Workers.of(RayOptions(), "cuda", SMALL, is_local=False)
    with pytest.raises(ConfigError, match="Ray gives each worker a GPU of its own"):
        Workers.of(RayOptions(), "cuda:1", GPUS, is_local=False)
    # a cluster that is not of this machine alone may grow
    assert Workers.of(RayOptions(workers=15), "auto", SMALL, is_local=False).n == 15
    assert caplog.messages == [
        "the cluster has room for 14 of 15 workers (1 CPU each); others start when there is more"
    ]


@pytest.mark.parametrize(
    ("gpus", "device", "expected"),
    [
        (1, "auto", Workers(6, 1, 1)),
        (0.5, "cuda", Workers(10, 1, 0.5)),
        (0.4, "auto", Workers(10, 1, 0.4)),  # two on a GPU: the fifth part of it stays free
        (0.1, "auto", Workers(10, 1, 0.1)),
        (1 / 3, "auto", Workers(10, 1, 1 / 3)),
    ],
)
def test_workers_share_gpus(gpus: float, device: str, expected: Workers) -> None:
    assert Workers.of(RayOptions(gpus=gpus), device, GPUS, is_local=True) == expected


def test_three_workers_on_a_gpu() -> None:
    one = [{"CPU": 8.0, "GPU": 1.0}]
    assert Workers.of(RayOptions(gpus=1 / 3), "auto", one, is_local=True).n == 3
    with pytest.raises(ConfigError, match=r"3 workers need 1 CPU and 0\.5 of a GPU each, .* room for 2"):
        Workers.of(RayOptions(gpus=0.5, workers=3), "auto", one, is_local=True)
    with pytest.raises(ConfigError, match="gpus=1 of a worker, but device='cpu'"):
        Workers.of(RayOptions(gpus=1), "cpu", one, is_local=True)
    with pytest.raises(
        ConfigError, match=r"a worker needs 1 CPU and 0\.5 of a GPU, and the cluster has room for 0"
    ):
        Workers.of(RayOptions(gpus=0.5), "auto", SMALL, is_local=True)


def test_a_worker_that_does_not_see_just_its_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    require_one_gpu(1)
    with pytest.raises(ConfigError, match=r"CUDA_VISIBLE_DEVICES=3\) a GPU, and PyTorch sees no CUDA device"):
        require_one_gpu(0)
    with pytest.raises(ConfigError, match="sees 8 GPUs, expected the one that Ray gave it"):
        require_one_gpu(8)


def test_a_cache_is_of_one_machine() -> None:
    refuse_other_machines([socket.gethostname()] * 2)
    with pytest.raises(ConfigError, match="the cluster has workers on node-1, node-2: the locks of SQLite"):
        refuse_other_machines([socket.gethostname(), "node-2", "node-1"])
    with pytest.raises(ConfigError, match="workers on node-1"):
        refuse_other_machines(["node-1"], "node-0")


def test_numbers_that_are_none() -> None:
    for gpus in (0, -1, 2, 1.5):
        with pytest.raises(ConfigError, match="a worker's model is on one GPU"):
            RayOptions(gpus=gpus)
    with pytest.raises(ConfigError, match="workers=0; expected at least 1"):
        RayOptions(workers=0)
    with pytest.raises(ConfigError, match="threads=-1; expected at least 1"):
        RayOptions(threads=-1)


def test_ray_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(GenomixError, match=r"pip install 'genomix-fm\[ray\]'"), connected(RayOptions()):
        pass


@pytest.mark.parametrize("address", ["nonsense", "10.0.0.1:http", "127.0.0.1:1", "ray://127.0.0.1:1"])
def test_a_cluster_that_does_not_answer(address: str) -> None:
    pytest.importorskip("ray", reason="the extra ray is not installed")
    with (
        pytest.raises(ConfigError, match="no Ray cluster can be reached at"),
        connected(RayOptions(address=address)),
    ):
        pass


def test_a_token_that_is_refused_is_told_from_a_cluster_that_is_not_there() -> None:
    """Ray raises its own error, or another that has it as its cause or names it."""
    exceptions = pytest.importorskip("ray.exceptions", reason="the extra ray is not installed")
    refusal = exceptions.AuthenticationError("InvalidAuthToken")
    assert was_refused(refusal)
    named = ConnectionError("Failed to connect to Ray cluster")
    named.__cause__ = RuntimeError(
        f"Failed to connect to GCS. Last error: {type(refusal).__name__}: {refusal}"
    )
    assert was_refused(named)
    elsewhere = ConnectionError("Failed to connect to Ray cluster")
    elsewhere.__cause__ = RuntimeError("Failed to connect to GCS: deadline exceeded")
    assert not was_refused(elsewhere)


def test_comparisons_together_are_that_of_the_whole() -> None:
    """Also where an allele comes twice, or has no exact score."""
    rng = Random(3)
    pairs: list[Pair] = [(rng.getrandbits(64), rng.gauss(0, 1), rng.gauss(0, 1)) for _ in range(300)]
    pairs[::20] = [(key, given, None) for key, given, _ in pairs[::20]]
    whole = ExactComparison.of(sorted(pairs)[:40])
    pairs[7] = min(pairs)  # twice, in two parts
    parts = [ExactComparison.of(sorted(pairs[start::5])[:40]) for start in range(5)]
    assert ExactComparison.together(parts, 40) == whole
    assert whole.alleles < 40
    assert ExactComparison.together([], 40) == ExactComparison(0, None, None, None)


def test_the_sum_of_shards_survives_the_disk(tmp_path: Path) -> None:
    first = ScoreSummary(
        records=5,
        by_status={Status.OK: 4, Status.STAR: 1},
        windows=9,
        window=64,
        faults={"x": 2},
        seconds=1.0,
    )
    first.against_exact = ExactComparison.of([(1, 0.5, 0.25), (2, 1.0, None)])
    second = ScoreSummary(
        records=3,
        by_status={Status.OK: 3},
        windows=6,
        window=64,
        faults={"x": 2},
        haplotype_skipped={"unphased": 1},
    )
    part = str(tmp_path / "part.1.vcf.gz")
    write_summary(part, first)
    assert read_summary(part) is None, "the shard itself is not there"
    Path(part).touch()
    assert read_summary(part) == first
    whole = sum_of([first, second], 2)
    assert (whole.records, whole.windows, whole.window) == (8, 15, 64)
    assert whole.by_status == {Status.OK: 7, Status.STAR: 1}
    assert whole.haplotype_skipped == {"unphased": 1}
    assert whole.faults == {"x": 2}
    assert whole.against_exact == first.against_exact
    assert asdict(first)["records"] == 5, "shards stay as they are"
