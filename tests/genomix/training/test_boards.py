"""Weights & Biases and TensorBoard beside metrics.csv."""

import csv
import importlib
import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import torch

from genomix.training.boards import Board, open_boards, require_boards
from genomix.training.metrics_log import MetricsLog, Row, on_its_way
from genomix.training.pretrain import pretrain
from genomix.training.run_folder import METRICS_COLUMNS, RunFolder
from genomix_data.errors import ConfigError
from tests.genomix.training.test_pretrain_options import interrupted
from tests.genomix.training_helpers import letters, pretrain_config, write_fasta

HAS_WANDB = importlib.util.find_spec("wandb") is not None
needs_wandb = pytest.mark.skipif(not HAS_WANDB, reason="wandb is not installed")


@pytest.fixture(scope="module")
def fasta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fasta(tmp_path_factory.mktemp("genome") / "g.fa", chr1=letters(900, 1))


@pytest.fixture
def fresh_wandb(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[pytest.MonkeyPatch]:
    """No login, no mode; wandb reads its variables once in a process, unless it is torn down."""
    wandb = importlib.import_module("wandb")
    wandb.teardown()
    monkeypatch.setenv("HOME", str(tmp_path))  # no .netrc
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    yield monkeypatch
    wandb.teardown()


class Kept(Board):
    """A board that remembers."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, float]]] = []
        self.is_closed = False

    def show(self, step: int, values: Mapping[str, float]) -> None:
        self.rows.append((step, dict(values)))

    def close(self) -> None:
        self.is_closed = True


def test_every_board_gets_what_the_table_gets(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.prepare("a: 1")
    folder.start_metrics(keep_up_to=0)
    boards = Kept(), Kept()
    log = MetricsLog(folder, boards)
    for step in (5, 10):
        sums, arrived = on_its_way(torch.tensor([7.0, 0.25], dtype=torch.float64))
        row = Row(step=step, epoch=0.5, lr=1e-3, tokens_per_second=90.0, n=5, sums=sums, arrived=arrived)
        log.add(row, now=False)
    log.add_validation(10, 0.5, 1.75)
    log.close()
    with folder.metrics.open() as handle:
        table = list(csv.DictReader(handle))
    assert list(table[0]) == list(METRICS_COLUMNS)
    for board in boards:
        assert board.is_closed
        assert [step for step, _ in board.rows] == [int(row["step"]) for row in table] == [5, 10, 10]
        assert board.rows[0][1]["loss"] == float(table[0]["loss"]) == 7.0 / 5
        assert board.rows[2][1] == {"valid_bits_per_base": 1.75}


def test_no_board_unless_asked_for(fasta: Path, tmp_path: Path) -> None:
    config = pretrain_config(fasta)
    require_boards(config.trainer)
    assert open_boards(config, RunFolder(tmp_path), start_step=0) == []


@pytest.mark.skipif(HAS_WANDB, reason="wandb is installed")
def test_wandb_that_is_not_installed_is_named_before_anything_is_written(fasta: Path, tmp_path: Path) -> None:
    config = pretrain_config(fasta, trainer={"wandb": True})
    with pytest.raises(ConfigError, match=r"pip install 'genomix-fm\[wandb\]'"):
        pretrain(config, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


@needs_wandb
@pytest.mark.usefixtures("fresh_wandb")
def test_wandb_without_a_login_says_what_to_do(fasta: Path, tmp_path: Path) -> None:
    config = pretrain_config(fasta, trainer={"wandb": True})
    with pytest.raises(ConfigError, match=r"no login is known.*WANDB_MODE=offline"):
        pretrain(config, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


@needs_wandb
def test_wandb_offline_has_the_numbers_of_the_table_and_one_id(
    fasta: Path, tmp_path: Path, fresh_wandb: pytest.MonkeyPatch
) -> None:
    fresh_wandb.setenv("WANDB_MODE", "offline")
    config = pretrain_config(fasta, trainer={"wandb": True})
    result = interrupted(config, tmp_path / "run", 4)
    runs = sorted((tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb"))
    number = (tmp_path / "run" / "wandb" / "run-id").read_text()
    assert {run.name for run in runs} == {f"run-{number}.wandb"}
    logged = b"".join(run.read_bytes() for run in runs)
    assert len(result.history) == 3
    assert all(repr(point.loss).encode() in logged for point in result.history)
    assert all(repr(point.bits_per_base).encode() in logged for point in result.validation)
