"""The tables of a fine-tuning run: read, split as the config says, and compared with each other."""

from difflib import get_close_matches
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genomix.training.finetune_config import TableDataConfig
from genomix.training.finetune_method import LossConfig
from genomix.training.metrics import ClassificationMetrics, classification_metrics
from genomix_data.benchmarks import load_folder
from genomix_data.errors import InputFileError, preview
from genomix_data.genome import Genome
from genomix_data.leakage import LeakageReport, chromosome_split, cluster_split, leakage_report, pooled
from genomix_data.tables import SequenceTable, stratified_split, without_overlap
from genomix_data.tables.located import read_located_table


def read_tables(data: TableDataConfig, *, seed: int) -> dict[str, SequenceTable]:
    """Return the train, valid and test tables.

    With ``split=official`` they are as published, and validation is split off train where it is not given. With
    ``cluster`` or ``chromosome`` all sequences are put together and split anew, in the published proportions.

    Raises:
        InputFileError: if a table cannot be used, training has one class only, or no such split is possible.
    """
    given = _given(data)
    if data.split != "official":
        tables = _split_anew(data, given, seed)
    elif "test" not in given:
        raise InputFileError(
            f"{str(data.folder)!r} has no test set (it has {', '.join(given)}). Use data.split=cluster to split one "
            "off that shares no near copy with training."
        )
    else:
        tables = given
    if data.drop_shared:
        for name in ("train", "valid"):
            if name in tables:
                tables[name] = without_overlap(tables[name], tables["test"])
    if "valid" not in tables:
        tables["train"], tables["valid"] = stratified_split(tables["train"], data.valid_fraction, seed)
    return tables


def leakage_of(tables: dict[str, SequenceTable]) -> LeakageReport:
    """Return what the test set shares with training and validation together: both shape the model."""
    return leakage_report(pooled([tables["train"], tables["valid"]]), tables["test"])


def clean_metrics(
    probabilities: NDArray[np.float64], test: SequenceTable, leakage: LeakageReport
) -> ClassificationMetrics | None:
    """Return the metrics over the test sequences that have no near copy in training; None if all have one."""
    rows = np.flatnonzero(~leakage.has_near_copy)
    if not len(rows):
        return None
    return classification_metrics(probabilities[rows], test.labels[rows], test.class_names)


RARE = 0.1
"""A class with less than this part of the largest one's sequences is called rare."""


def class_warnings(tables: dict[str, SequenceTable], loss: LossConfig) -> list[str]:
    """Return what is odd about the classes, a line each: misspelt, rare, or absent from a part.

    Args:
        tables: All parts.
        loss: Whether something is done about rare classes.
    """
    lines: list[str] = []
    counts = tables["train"].n_per_class
    largest = max(counts, key=lambda name: counts[name])
    rare = [name for name, count in counts.items() if count < RARE * counts[largest]]
    for name in rare:
        # a misspelt label makes a class of its own, and a small one
        others = {other.casefold(): other for other in counts if other not in rare}
        close = get_close_matches(name.casefold(), list(others), n=1, cutoff=0.8)
        if close and not name.isdecimal():
            lines.append(
                f"class {name!r} has {counts[name]:,} training sequences and is spelt almost as "
                f"{others[close[0]]!r}; if this is a typing error, correct the labels"
            )
    if rare and loss.class_weights is None:
        lines.append(
            f"the classes are unbalanced: {rare[0]!r} has {counts[rare[0]]:,} training sequences, {largest!r} "
            f"{counts[largest]:,}; accuracy says little (look at MCC and AUROC), and loss.class_weights=balanced makes "
            "them count alike"
        )
    for part in ("valid", "test"):
        absent = [name for name, count in tables[part].n_per_class.items() if not count]
        if absent:
            lines.append(
                f"the {part} set has no sequence of class {preview(absent)}; its metrics say nothing of it"
            )
    return lines


def _given(data: TableDataConfig) -> dict[str, SequenceTable]:
    if data.folder is not None:
        genome = None if data.genome is None else Genome(data.genome)
        benchmark = load_folder(
            data.folder,
            genomes=genome,
            sequence_column=data.sequence_column,
            label_column=data.label_column,
        )
        tables = benchmark.classification_parts()
        if "all" in tables:
            tables["train"] = tables.pop("all")
        if "train" not in tables:
            raise InputFileError(f"{str(data.folder)!r} has no training set; it has {', '.join(tables)}.")
    else:
        assert data.train is not None, "checked by the config"
        tables = {"train": _read(data, data.train, None)}
        if data.test is not None:
            tables["test"] = _read(data, data.test, tables["train"].class_names)
    if data.valid is not None:
        tables["valid"] = _read(data, data.valid, tables["train"].class_names)
    return tables


def _split_anew(
    data: TableDataConfig, given: dict[str, SequenceTable], seed: int
) -> dict[str, SequenceTable]:
    whole = pooled(list(given.values()))
    test = len(given["test"]) / len(whole) if "test" in given else data.test_fraction
    valid = len(given["valid"]) / len(whole) if "valid" in given else data.valid_fraction * (1 - test)
    fractions = {"train": 1 - valid - test, "valid": valid, "test": test}
    if data.split == "chromosome":
        return chromosome_split(whole, fractions, seed)
    return cluster_split(whole, fractions, seed)


def _read(data: TableDataConfig, path: Path, class_names: tuple[str, ...] | None) -> SequenceTable:
    return read_located_table(
        path,
        sequence_column=data.sequence_column,
        label_column=data.label_column,
        class_names=class_names,
        require_two_classes=class_names is None,
    )
