"""Runs that are killed, checkpoints that are damaged, disks that are full: with real processes, bytes and disks."""

import csv
import multiprocessing
import os
import resource
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from genomix.training import run_checkpoints
from genomix.training.config import PretrainConfig
from genomix.training.pretrain import pretrain
from genomix.training.ranks import RunRanks
from genomix.training.results import PretrainResult
from genomix.training.run_checkpoints import RunCheckpoints, tensor_bytes
from genomix.training.run_folder import RunFolder, load_checkpoint, save_checkpoint
from genomix_data.errors import CheckpointError, DiskFullError
from tests.genomix.training_helpers import letters, pretrain_config, tiny_model, write_fasta

STEPS = 24


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> PretrainConfig:
    fasta = write_fasta(tmp_path_factory.mktemp("genome") / "g.fa", chr1=letters(2000, 1))
    return pretrain_config(
        fasta,
        model=tiny_model(embed_dropout=0.2),
        data={"rc_augment": True, "seqlen_warmup": [[7, 16]]},
        trainer={
            "max_steps": STEPS,
            "checkpoint_every": 1,
            "validate_every": 5,
            "log_every": 3,
            "ema_decay": 0.9,
            "keep_checkpoints": 3,
        },
    )


@pytest.fixture(scope="module")
def whole(config: PretrainConfig, tmp_path_factory: pytest.TempPathFactory) -> PretrainResult:
    return pretrain(config, tmp_path_factory.mktemp("whole") / "run", progress=False)


def assert_same_run(result: PretrainResult, whole: PretrainResult) -> None:
    assert [(p.step, p.loss) for p in result.history] == [(p.step, p.loss) for p in whole.history]
    assert result.validation == whole.validation
    assert result.held_out == whole.held_out
    weights = [(each.model_folder / "model.safetensors").read_bytes() for each in (result, whole)]
    assert weights[0] == weights[1]
    leftovers = [path for path in result.folder.rglob("*") if path.name.startswith(".")]
    assert leftovers == [], "nothing half-written stays"


class Listening(Console):
    """A console that remembers what was said."""

    def __init__(self) -> None:
        super().__init__(stderr=True, quiet=True)
        self.lines: list[str] = []

    def print(self, *objects: object, **options: Any) -> None:
        self.lines.extend(map(str, objects))


class Dying(Console):
    """A console whose process is killed, as by kill -9, when the run says that a step was validated."""

    def __init__(self, at_step: int) -> None:
        super().__init__(stderr=True, quiet=True)
        self.at_step = at_step

    def print(self, *objects: object, **options: Any) -> None:
        if objects and str(objects[0]).split()[:2] == ["step", str(self.at_step)]:
            os.kill(os.getpid(), signal.SIGKILL)


def in_a_process(config: PretrainConfig, folder: Path, **options: Any) -> Any:
    """Start a run in a forked process; Lightning is loaded already."""
    process = multiprocessing.get_context("fork").Process(
        target=pretrain, args=(config, folder), kwargs={"progress": False, **options}
    )
    process.start()
    return process


def newest_step(folder: Path) -> int:
    """The step of the last row that a run has logged."""
    metrics = folder / "metrics.csv"
    if not metrics.exists():
        return 0
    with metrics.open(newline="") as handle:
        return max((int(row["step"]) for row in csv.DictReader(handle)), default=0)


def test_a_run_that_is_killed_again_and_again_ends_as_if_it_never_was(
    config: PretrainConfig, whole: PretrainResult, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    for number, at_step in enumerate((5, 10, 20)):
        process = in_a_process(config, folder, resume=number > 0, progress=Dying(at_step))
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
        found = load_checkpoint(folder / "checkpoints" / "last.ckpt")
        # Killed after the validation of a step and before it was saved.
        assert found["step"] == at_step - 1
    assert_same_run(pretrain(config, folder, resume=True, progress=False), whole)


def test_a_kill_at_any_moment_costs_at_most_an_interval(
    config: PretrainConfig, whole: PretrainResult, tmp_path: Path
) -> None:
    """Moments that nobody chose: also in the middle of a checkpoint that is written."""
    folder = tmp_path / "run"
    process = in_a_process(config, folder)
    killed = 0
    for wanted in (3, 9, 15, 18):
        deadline = time.monotonic() + 60
        while newest_step(folder) < wanted and process.is_alive() and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.0013 * wanted)
        process.kill()
        process.join(60)
        if process.exitcode == 0:
            break
        killed += 1
        reached = newest_step(folder)
        # Read before the next process starts, which moves these files.
        saved = max(load_checkpoint(path)["step"] for path in (folder / "checkpoints").glob("last*.ckpt"))
        assert saved >= reached - 1
        process = in_a_process(config, folder, resume=True)
    process.kill()
    process.join(60)
    assert killed > 0
    if not (folder / "result.json").exists():
        assert_same_run(pretrain(config, folder, resume=True, progress=False), whole)


def damaged_copy(whole: PretrainResult, target: Path, damage: str, *names: str) -> Path:
    """A copy of a run as it was before its end, with damage to some of its checkpoints."""
    subprocess.run(["cp", "-r", str(whole.folder), str(target)], check=True)
    (target / "result.json").unlink()
    for name in names:
        path = target / "checkpoints" / name
        content = bytearray(path.read_bytes())
        if damage == "truncated":
            path.write_bytes(content[: len(content) // 2])
        elif damage == "empty":
            path.write_bytes(b"")
        elif damage == "one byte":
            content[len(content) // 2] ^= 0xFF
            path.write_bytes(content)
        elif damage == "garbage":
            path.write_bytes(os.urandom(len(content)))
        else:
            path.unlink()
    return target


@pytest.mark.parametrize("damage", ["truncated", "empty", "one byte", "garbage", "gone"])
def test_a_damaged_newest_checkpoint_gives_way_to_the_one_before(
    config: PretrainConfig, whole: PretrainResult, tmp_path: Path, damage: str
) -> None:
    folder = damaged_copy(whole, tmp_path / "run", damage, "last.ckpt")
    console = Listening()
    resumed = pretrain(config, folder, resume=True, progress=console)
    assert_same_run(resumed, whole)
    warnings = [line for line in console.lines if "warning" in line]
    if damage == "gone":
        assert warnings == [], "a run that was killed in between two renames looks like this"
    else:
        assert "last.ckpt' is damaged" in warnings[0]
        assert f"going on from the checkpoint before it, of step {STEPS - 1}" in warnings[1]
        assert (folder / "checkpoints" / "damaged.ckpt").exists()


def test_two_damaged_checkpoints_give_way_to_the_third(
    config: PretrainConfig, whole: PretrainResult, tmp_path: Path
) -> None:
    folder = damaged_copy(whole, tmp_path / "run", "garbage", "last.ckpt", "last-1.ckpt")
    console = Listening()
    assert_same_run(pretrain(config, folder, resume=True, progress=console), whole)
    assert any(f"of step {STEPS - 2}" in line for line in console.lines)


def test_nothing_but_damage_is_an_error_that_names_the_newest(
    config: PretrainConfig, whole: PretrainResult, tmp_path: Path
) -> None:
    names = ("last.ckpt", "last-1.ckpt", "last-2.ckpt")
    folder = damaged_copy(whole, tmp_path / "run", "truncated", *names)
    with pytest.raises(CheckpointError, match=r"last\.ckpt' is damaged"):
        pretrain(config, folder, resume=True, progress=False)
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == sorted(["best.ckpt", *names])


def test_a_damaged_best_checkpoint_gives_way_to_the_last_weights(
    config: PretrainConfig, whole: PretrainResult, tmp_path: Path
) -> None:
    folder = damaged_copy(whole, tmp_path / "run", "truncated", "best.ckpt")
    console = Listening()
    resumed = pretrain(config, folder, resume=True, progress=console)
    assert any("best.ckpt' is damaged" in line and "last step are taken" in line for line in console.lines)
    assert resumed.best_step == STEPS
    average = load_checkpoint(folder / "checkpoints" / "last.ckpt")["average"]
    from genomix.checkpoint.native import load_model

    model = load_model(resumed.model_folder, expect="language_model").language_model
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, average[name])


def test_as_many_checkpoints_are_kept_as_asked_for(
    config: PretrainConfig, whole: PretrainResult, tmp_path: Path
) -> None:
    checkpoints = whole.folder / "checkpoints"
    assert sorted(path.name for path in checkpoints.iterdir()) == [
        "best.ckpt",
        "last-1.ckpt",
        "last-2.ckpt",
        "last.ckpt",
    ]
    steps = [load_checkpoint(RunFolder(whole.folder).checkpoint(number))["step"] for number in range(3)]
    assert steps == [STEPS, STEPS - 1, STEPS - 2]
    one = replace(config, trainer=replace(config.trainer, keep_checkpoints=1, max_steps=3))
    pretrain(one, tmp_path / "one", progress=False)
    names = sorted(path.name for path in (tmp_path / "one" / "checkpoints").iterdir())
    assert names == ["best.ckpt", "last.ckpt"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 400 kB of its own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if made.returncode != 0:
        pytest.skip("a disk of its own cannot be mounted here")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_disk_that_is_too_small_is_told_before_anything_is_written(
    config: PretrainConfig, small_disk: Path
) -> None:
    with pytest.raises(
        DiskFullError, match=r"the run needs up to .* MB for checkpoints in .* the disk has 4\d\d.\d kB"
    ):
        pretrain(config, small_disk / "run", progress=False)
    assert list(small_disk.iterdir()) == []


def test_a_disk_that_fills_up_while_a_file_is_written_leaves_the_file_before(small_disk: Path) -> None:
    path = small_disk / "last.ckpt"
    save_checkpoint(path, {"step": 1, "model": torch.zeros(20_000)})
    before = path.read_bytes()
    with pytest.raises((OSError, RuntimeError)):
        save_checkpoint(path, {"step": 2, "model": torch.zeros(100_000)})
    assert path.read_bytes() == before
    assert [item.name for item in small_disk.iterdir()] == ["last.ckpt"]


def test_a_disk_that_fills_up_during_a_run_ends_it_with_the_last_checkpoint_whole(
    config: PretrainConfig, whole: PretrainResult, small_disk: Path, tmp_path: Path
) -> None:
    folder = damaged_copy(whole, tmp_path / "run", "garbage", "last.ckpt")
    (folder / "checkpoints" / "last-2.ckpt").unlink()
    subprocess.run(["mv", str(folder / "checkpoints"), str(small_disk)], check=True)
    (folder / "checkpoints").symlink_to(small_disk / "checkpoints")
    with pytest.raises(DiskFullError, match=rf"a checkpoint of step {STEPS} needs .* continue with --resume"):
        pretrain(config, folder, resume=True, progress=False)
    assert load_checkpoint(folder / "checkpoints" / "last.ckpt")["step"] == STEPS - 1
    (folder / "checkpoints").unlink()
    subprocess.run(["cp", "-r", str(small_disk / "checkpoints"), str(folder / "checkpoints")], check=True)
    assert_same_run(pretrain(config, folder, resume=True, progress=False), whole)


def _write_under_a_limit(config: PretrainConfig, folder: Path) -> None:
    """A run whose files may not grow beyond some size: the system refuses in the middle of a checkpoint."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    try:
        pretrain(config, folder, progress=False)
    except DiskFullError as error:
        os._exit(7 if "free some space, then continue with --resume" in str(error) else 8)
    os._exit(0)


def test_a_write_that_the_system_refuses_is_told_as_a_full_disk(
    config: PretrainConfig, tmp_path: Path
) -> None:
    process = multiprocessing.get_context("fork").Process(
        target=_write_under_a_limit, args=(config, tmp_path / "run")
    )
    process.start()
    process.join(60)
    assert process.exitcode == 7
    assert list((tmp_path / "run" / "checkpoints").iterdir()) == []


def test_the_bytes_of_a_state_are_those_of_its_tensors() -> None:
    state = {"step": 3, "model": {"a": torch.zeros(5)}, "list": [torch.zeros(2, dtype=torch.float64), "x"]}
    assert tensor_bytes(state) == 5 * 4 + 2 * 8


def test_older_checkpoints_make_way_where_there_is_little_room(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_checkpoints, "MARGIN", 4096)
    folder = RunFolder(small_disk)
    folder.checkpoints.mkdir()
    checkpoints = RunCheckpoints(folder, RunRanks(), keep=5)
    for step in range(1, 6):  # 100 kB each
        checkpoints.save({"step": step, "model": torch.full((25_000,), float(step))})
    found = [load_checkpoint(path)["step"] for path in sorted(folder.checkpoints.iterdir(), reverse=True)]
    assert found[0] == 5
    assert load_checkpoint(folder.checkpoint(1))["step"] == 4
    assert len(found) < 5
    with pytest.raises(DiskFullError, match=r"a checkpoint of step 6 needs 404\.1 kB"):
        checkpoints.save({"step": 6, "model": torch.zeros(100_000)})
    assert load_checkpoint(folder.last)["step"] == 5
