"""Fine-tuning gives two numbers: on the test as published, and without near copies; and splits that share nothing."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from genomix.training.finetune import finetune
from genomix.training.finetune_config import TableDataConfig
from genomix.training.finetune_data import read_tables
from genomix.training.metrics import classification_metrics
from genomix_data.alphabet import reverse_complement
from genomix_data.errors import ConfigError, InputFileError
from genomix_data.leakage import leakage_report, pooled
from genomix_data.tables import SequenceTable
from genomix_data.tables.joined import as_sequences
from genomix_data.tables.located import LocatedTable
from tests.data.leakage_helpers import families
from tests.genomix.training_helpers import finetune_config, gc_rows, tiny_model, write_table


def sequence_tables(data: TableDataConfig, *, seed: int) -> dict[str, SequenceTable]:
    found = {name: as_sequences(table) for name, table in read_tables(data, seed=seed).items()}
    assert all(table.class_names != ("all",) for table in found.values()), "classified sequences"
    return found


def with_copies(folder: Path) -> tuple[Path, Path]:
    """Return tables of which 6 of 30 test sequences are copies of training ones, 2 of them of the other strand."""
    train, test = gc_rows(60, 1, length=60), gc_rows(24, 2, length=60)
    copied = [*train[:4], *((reverse_complement(text), label) for text, label in train[4:6])]
    return write_table(folder / "train.csv", train), write_table(folder / "test.csv", test + copied)


def test_the_test_is_reported_with_and_without_near_copies(tmp_path: Path) -> None:
    screen = Console(width=200, record=True, file=(tmp_path / "screen.txt").open("w"))
    config = finetune_config(*with_copies(tmp_path), trainer={"max_epochs": 2})
    result = finetune(config, tmp_path / "run", progress=screen)
    assert result.leakage is not None
    assert result.test_clean is not None
    assert (result.test.n, result.test_clean.n, result.n_shared, result.split) == (30, 24, 6, "official")
    kept = ~result.leakage.has_near_copy
    assert kept.tolist() == [True] * 24 + [False] * 6
    assert result.test_clean == classification_metrics(
        result.test_probabilities[kept], result.test_labels[kept], result.class_names
    )
    record = json.loads((result.folder / "result.json").read_text())
    assert (record["test_clean"]["n"], record["n_near_copies"], record["split"]) == (24, 6, "official")
    leakage = json.loads((result.folder / "leakage.json").read_text())
    assert (leakage["total"]["identical"], leakage["total"]["identical_other_strand"]) == (4, 2)
    assert leakage["n_train"] == 60, "validation counts as seen"
    assert json.loads((result.folder / "labels.json").read_text()) == {"at": 0, "gc": 1}
    with (result.folder / "test_predictions.tsv").open() as handle:
        column = [row["near_copy_in_training"] for row in csv.DictReader(handle, delimiter="\t")]
    assert column == ["no"] * 24 + ["yes"] * 6
    assert "24:" in (result.model_folder / "README.md").read_text()
    assert "6 of the 30 test sequences are also in the training data" in screen.export_text()


def test_no_clean_test_sequence_is_none_and_no_copy_is_the_same(tmp_path: Path) -> None:
    rows = gc_rows(40, 3, length=60)
    table = write_table(tmp_path / "train.csv", rows)
    same = finetune(
        finetune_config(table, table, trainer={"max_epochs": 1}), tmp_path / "same", progress=False
    )
    assert same.test_clean is None
    assert json.loads((same.folder / "result.json").read_text())["test_clean"] is None
    other = write_table(tmp_path / "other.csv", gc_rows(10, 4, length=60))
    apart = finetune(
        finetune_config(table, other, trainer={"max_epochs": 1}), tmp_path / "apart", progress=False
    )
    assert apart.test_clean == apart.test


def read_table(path: Path) -> list[str]:
    with path.open(newline="") as handle:
        return [row["sequence"] for row in csv.DictReader(handle)]


@pytest.fixture
def family_tables(tmp_path: Path) -> tuple[Path, Path]:
    """Tables that leak: each family of near copies is in both."""
    sequences, owners = families(60, 4, seed=3)
    rows = [(text, f"c{owner % 2}") for text, owner in zip(sequences, owners, strict=True)]
    train = [row for i, row in enumerate(rows) if i % 4]
    return write_table(tmp_path / "train.csv", train), write_table(tmp_path / "test.csv", rows[::4])


def test_a_cluster_split_leaves_no_near_copy(family_tables: tuple[Path, Path]) -> None:
    data = TableDataConfig(train=family_tables[0], test=family_tables[1], valid_fraction=0.2)
    official = sequence_tables(data, seed=1)
    leaks = leakage_report(pooled([official["train"], official["valid"]]), official["test"])
    assert leaks.total.has_near_copy > 50
    for split_seed in (1, 2):
        parts = sequence_tables(replace(data, split="cluster"), seed=split_seed)
        assert {name: len(part) for name, part in parts.items()} == pytest.approx(
            {"train": 144, "valid": 36, "test": 60}, abs=8
        )
        report = leakage_report(pooled([parts["train"], parts["valid"]]), parts["test"])
        assert report.total.has_near_copy == 0
        assert leakage_report(parts["train"], parts["valid"]).total.has_near_copy == 0


def test_validation_can_be_split_off_without_near_copies(
    family_tables: tuple[Path, Path], tmp_path: Path
) -> None:
    base = finetune_config(*family_tables, model=tiny_model(l_max=128), trainer={"max_epochs": 1})
    told: dict[str, str] = {}
    for how in ("random", "cluster"):
        data = replace(base.data, valid_split=how, valid_fraction=0.2)
        parts = sequence_tables(data, seed=1)
        assert len(parts["valid"]) == pytest.approx(36, abs=4)
        assert sorted([*parts["train"].sequences, *parts["valid"].sequences]) == sorted(
            read_table(family_tables[0])
        )
        assert parts["test"].sequences == read_table(family_tables[1]), "the test stays as published"
        n_copies = leakage_report(parts["train"], parts["valid"]).total.has_near_copy
        assert (n_copies > 25) if how == "random" else (n_copies == 0)
        with (tmp_path / how).open("w") as file:
            screen = Console(width=300, record=True, file=file)
            finetune(replace(base, data=data), tmp_path / f"run-{how}", progress=screen)
        told[how] = screen.export_text()
    assert "validation sequences have a near copy in training" in told["random"]
    assert "data.valid_split=cluster makes one that does not" in told["random"]
    assert "validation sequences have a near copy" not in told["cluster"]


def test_one_table_without_a_test_can_be_split(family_tables: tuple[Path, Path], tmp_path: Path) -> None:
    base = finetune_config(family_tables[0], family_tables[1], trainer={"max_epochs": 1})
    data = TableDataConfig(train=family_tables[0], split="cluster", test_fraction=0.25, batch_size=8)
    result = finetune(replace(base, data=data, model=tiny_model(l_max=128)), tmp_path / "run", progress=False)
    assert (result.split, result.n_shared) == ("cluster", 0)
    assert result.test.n == pytest.approx(45, abs=4)
    assert result.test_clean == result.test


def test_a_chromosome_split_needs_coordinates(tmp_path: Path) -> None:
    rows = gc_rows(60, 5)
    plain = write_table(tmp_path / "plain.csv", rows)
    data = TableDataConfig(train=plain, split="chromosome")
    with pytest.raises(InputFileError, match="no coordinates, so it cannot be split by chromosome"):
        sequence_tables(data, seed=0)
    lines = [
        f"{text},{label},chr{i // 2 % 10},{100 * i},{100 * i + 50}" for i, (text, label) in enumerate(rows)
    ]
    placed = tmp_path / "placed.csv"
    placed.write_text("\n".join(["sequence,label,chrom,start,end", *lines]) + "\n")
    parts = sequence_tables(replace(data, train=placed, test_fraction=0.2, valid_fraction=0.125), seed=0)
    chroms = {}
    for name, part in parts.items():
        assert isinstance(part, LocatedTable)
        chroms[name] = {part.locations.chrom_names[i] for i in part.locations.chrom.tolist()}
    assert {name: len(found) for name, found in chroms.items()} == {"train": 7, "valid": 1, "test": 2}
    assert not chroms["train"] & chroms["test"]


def test_a_folder_of_tables_will_do(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    for name, seed in (("train.csv", 1), ("dev.csv", 2), ("test.csv", 3)):
        write_table(tmp_path / "set" / name, gc_rows(10 * seed, seed))
    parts = sequence_tables(TableDataConfig(folder=tmp_path / "set"), seed=0)
    assert {name: len(part) for name, part in parts.items()} == {"train": 10, "valid": 20, "test": 30}
    (tmp_path / "set" / "test.csv").unlink()
    with pytest.raises(InputFileError, match=r"has no test set .* Use data.split=cluster"):
        sequence_tables(TableDataConfig(folder=tmp_path / "set"), seed=0)
    again = sequence_tables(TableDataConfig(folder=tmp_path / "set", split="cluster"), seed=0)
    assert sum(len(part) for part in again.values()) == 30


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"valid_split": "half"}, "data.valid_split is 'half'; it must be random or cluster"),
        ({"split": "half"}, "data.split is 'half'; it must be official, random, cluster or chromosome"),
        ({"test_fraction": 1.0}, "data.test_fraction is 1.0"),
        ({"genome": Path("x.fa")}, "data.genome goes with the coordinates of a data.folder"),
        ({"test": None}, "or split it off with data.split=cluster"),
    ],
)
def test_settings_that_do_not_go_together(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TableDataConfig(**{"train": Path("a.csv"), "test": Path("b.csv")} | changes)  # type: ignore[arg-type]
