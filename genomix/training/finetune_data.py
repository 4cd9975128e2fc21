"""The tables of a fine-tuning run: read, split as the config says, and compared with each other."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genomix.heads.sequence_model import HeadKind
from genomix.training.finetune_config import Protocol, TableDataConfig
from genomix.training.metrics import Metrics
from genomix.training.objectives import Objective
from genomix_data.benchmarks import Benchmark, find_benchmark, get_benchmark, load_benchmark, load_folder
from genomix_data.benchmarks.layout import find_layout
from genomix_data.errors import ConfigError, InputFileError, preview
from genomix_data.genome import Genome
from genomix_data.leakage import (
    LeakageReport,
    chromosome_split,
    cluster_split,
    leakage_report,
    pooled,
    random_split,
)
from genomix_data.tables import SequenceTable, stratified_split, without_overlap
from genomix_data.tables.bases import read_base_table
from genomix_data.tables.identity import either_strand
from genomix_data.tables.joined import ExampleTable, RowTable, as_sequences, joined, row_table
from genomix_data.tables.located import read_located_table
from genomix_data.tables.pairs import PairTable, read_pair_table
from genomix_data.tables.targets import TargetTable, read_target_table

Parts = dict[str, ExampleTable]
COMPARED = 5_000
"""Training sequences up to which validation is compared with them: seconds, where a large set takes a minute."""
_FOLDS: dict[Protocol, int] = {"cv5": 5, "cv10": 10}


def read_tables(
    data: TableDataConfig,
    *,
    seed: int,
    kind: HeadKind = "classifier",
    protocol: Protocol = "holdout",
    fold: int = 0,
) -> Parts:
    """Return the train, valid and test tables.

    With ``split=official`` they are as published, and validation is split off train where it is not given. The other
    splits put all sequences together and split them anew, in the published proportions. With ``paper`` the test is the
    validation set too, and all of train is trained on. With ``cv5`` and ``cv10`` validation is split off train anew
    for every fold; where there is no test set, the folds are the test sets.

    Args:
        data: What to read.
        seed: Of the splits.
        kind: Of the head, which says what a table must hold.
        protocol: How the parts are used.
        fold: Which run of a cross-validation, from 0.

    Raises:
        InputFileError: if a table cannot be used, training has one class only, or no such split is possible.
    """
    tables = _given(data, kind)
    folds = _FOLDS.get(protocol)
    if folds is not None and "test" not in tables:
        tables = _fold(data, tables, seed, folds, fold)
    elif data.split != "official":
        tables = _split_anew(data, tables, seed)
    elif "test" not in tables:
        raise InputFileError(
            f"{str(data.folder or data.benchmark)!r} has no test set (it has {', '.join(tables)}). Use "
            "data.split=cluster to split one off that shares no near copy with training, data.split=random, or "
            "protocol=cv5."
        )
    if data.drop_shared:
        for name in ("train", "valid"):
            if name in tables:
                tables[name] = _without_overlap(tables[name], tables["test"])
    if protocol == "paper":
        return {"train": tables["train"], "valid": tables["test"], "test": tables["test"]}
    if folds is not None and "valid" in tables and data.split == "official":
        tables["train"] = _together([tables["train"], tables.pop("valid")])
    if "valid" not in tables:
        split_seed = seed + fold if folds is not None else seed
        tables["train"], tables["valid"] = _split_off(tables["train"], data, split_seed)
    for name in ("train", "valid", "test"):
        if not len(tables[name]):
            raise InputFileError(f"the {name} set is empty; the splits leave it no sequence.")
    return tables


def leakage_of(tables: Parts, protocol: Protocol = "holdout") -> LeakageReport:
    """Return what the test set shares with training and validation together: both shape the model.

    With ``paper`` the validation set is the test set, which is said elsewhere; only training is compared.
    """
    seen = [as_sequences(tables["train"])]
    if protocol != "paper":
        seen.append(as_sequences(tables["valid"]))
    return leakage_report(pooled(seen), as_sequences(tables["test"]))


def near_copies_in_validation(tables: Parts) -> int | None:
    """Return how many validation sequences have a near copy in training; None for more than `COMPARED` of these."""
    if len(tables["train"]) > COMPARED:
        return None
    return leakage_report(as_sequences(tables["train"]), as_sequences(tables["valid"])).total.has_near_copy


def clean_metrics(
    objective: Objective, scores: NDArray[np.float64], test: ExampleTable, leakage: LeakageReport
) -> Metrics | None:
    """Return the metrics over the test sequences that have no near copy in training; None if all have one."""
    clean = np.flatnonzero(~leakage.has_near_copy)
    if not len(clean):
        return None
    rows = objective.rows(test, clean)
    return objective.metrics(scores[rows], objective.truth(test)[rows])


def _given(data: TableDataConfig, kind: HeadKind) -> Parts:
    tables: Parts
    if data.train is None:
        tables = dict(_benchmark_tables(data, kind))
        if "all" in tables:
            tables["train"] = tables.pop("all")
        if "train" not in tables:
            raise InputFileError(
                f"{str(data.folder or data.benchmark)!r} has no training set; it has {', '.join(tables)}."
            )
    else:
        tables = {"train": _read(data, kind, data.train, None)}
        if data.test is not None:
            tables["test"] = _read(data, kind, data.test, tables["train"])
    if data.valid is not None:
        tables["valid"] = _read(data, kind, data.valid, tables["train"])
    _check_classes(tables["train"])
    return tables


def _benchmark_tables(data: TableDataConfig, kind: HeadKind) -> Parts:
    genome = None if data.genome is None else Genome(data.genome)
    if data.benchmark is not None:
        folder = data.folder
        if folder is None:
            assert data.root is not None, "checked by the config"
            folder = find_benchmark(data.root, data.benchmark)
        _check_kind(get_benchmark(data.benchmark).kind, kind, data.benchmark)
        return _parts_of(load_benchmark(data.benchmark, folder, genomes=genome))
    assert data.folder is not None, "checked by the config"
    if kind == "classifier":
        columns = {"sequence_column": data.sequence_column, "label_column": data.label_column}
        return dict(load_folder(data.folder, genomes=genome, **columns).classification_parts())
    files = find_layout(data.folder).files
    if not files:
        raise InputFileError(f"{str(data.folder)!r} holds class folders, which only head=pooled can use.")
    tables: Parts = {}
    for part in ("train", "all", "valid", "test"):
        if part in files:
            like = tables.get("train") or tables.get("all")
            tables[part] = _read(data, kind, files[part], like)
    return tables


def _parts_of(benchmark: Benchmark) -> Parts:
    tables: Parts = {
        part: table for part, table in benchmark.parts.items() if isinstance(table, ExampleTable)
    }
    if len(tables) < len(benchmark.parts):
        raise InputFileError(
            f"{str(benchmark.path)!r} is a set of variants without sequences. Score them with genomix score, or write "
            "their sequences into a table with the columns ref_sequence, alt_sequence and label (head=variant)."
        )
    return tables


def _check_kind(published: str, kind: HeadKind, name: str) -> None:
    """Raise unless a head can be trained on a published kind of task."""
    heads = {"multi-label": "multilabel", "regression": "regressor", "variants": "variant_classifier"}
    wanted = heads.get(published, "classifier")
    if wanted != kind:
        options = {"classifier": "pooled", "multilabel": "multilabel", "regressor": "regression"}
        raise ConfigError(
            f"{name} is a {published} task, which needs head={options.get(wanted, 'variant')}; this is a {kind}."
        )


def _check_classes(train: ExampleTable) -> None:
    """Raise if there is nothing to tell apart."""
    if isinstance(train, SequenceTable):
        present = [name for name, n in train.n_per_class.items() if n]
        if len(present) < 2:
            raise InputFileError(
                f"{train.source} has one class only ({preview(present)}); a classifier needs at least two."
            )
    elif isinstance(train, TargetTable):
        known = np.isfinite(train.targets)
        if not known.any():
            raise InputFileError(f"{train.source} has no target that is known; every cell is empty.")
        constant = [
            name
            for column, name in enumerate(train.target_names)
            if len(set(train.targets[known[:, column], column].tolist())) < 2
        ]
        if len(constant) == len(train.target_names):
            raise InputFileError(
                f"{train.source}: no target varies ({preview(constant)} have one value each); nothing can be learnt."
            )


def _fold(data: TableDataConfig, tables: Parts, seed: int, folds: int, fold: int) -> Parts:
    """Return a cross-validation's run: the fold is the test set, and validation is left to be split off."""
    whole = _together(list(tables.values()))
    names = [f"fold {i}" for i in range(folds)]
    parts = _split(whole, dict.fromkeys(names, 1 / folds), seed, data.split)
    test = parts.pop(names[fold])
    return {"train": _together(list(parts.values())), "test": test}


def _split_anew(data: TableDataConfig, given: Parts, seed: int) -> Parts:
    whole = _together(list(given.values()))
    test = len(given["test"]) / len(whole) if "test" in given else data.test_fraction
    valid = len(given["valid"]) / len(whole) if "valid" in given else data.valid_fraction * (1 - test)
    fractions = {"train": 1 - valid - test, "valid": valid, "test": test}
    return _split(whole, fractions, seed, data.split)


def _split(whole: ExampleTable, fractions: dict[str, float], seed: int, how: str) -> Parts:
    if how == "chromosome":
        return dict(chromosome_split(as_sequences(whole), fractions, seed))
    split = cluster_split if how == "cluster" else random_split
    if isinstance(whole, SequenceTable) and not isinstance(whole, PairTable):
        return dict(split(whole, fractions, seed))
    parts = split(row_table(whole), fractions, seed)
    return {name: whole.select(_rows(part)) for name, part in parts.items()}


def _rows(part: SequenceTable) -> NDArray[np.int64]:
    assert isinstance(part, RowTable)
    return part.rows


def _together(tables: Sequence[ExampleTable]) -> ExampleTable:
    plain = [t for t in tables if isinstance(t, SequenceTable) and not isinstance(t, PairTable)]
    return pooled(plain) if len(plain) == len(tables) else joined(list(tables))


def _split_off(table: ExampleTable, data: TableDataConfig, seed: int) -> tuple[ExampleTable, ExampleTable]:
    """Return what is left for training, and validation."""
    fraction = data.valid_fraction
    if data.valid_split == "cluster":
        parts = _split(table, {"train": 1 - fraction, "valid": fraction}, seed, "cluster")
        return parts["train"], parts["valid"]
    if isinstance(table, SequenceTable):
        return stratified_split(table, fraction, seed)
    if len(table) < 2:
        raise InputFileError(
            f"{table.source} has one sequence only, so none can be held out for validation. Add more, or give a "
            "validation table."
        )
    rest, part = stratified_split(row_table(table), fraction, seed)
    return table.select(_rows(rest)), table.select(_rows(part))


def _without_overlap(table: ExampleTable, test: ExampleTable) -> ExampleTable:
    if isinstance(table, SequenceTable) and isinstance(test, SequenceTable):
        return without_overlap(table, test)
    held_out = {either_strand(text) for text in test.sequences}
    kept = [row for row, text in enumerate(table.sequences) if either_strand(text) not in held_out]
    return table.select(np.array(kept, dtype=np.int64))


def _read(data: TableDataConfig, kind: HeadKind, path: Path, like: ExampleTable | None) -> ExampleTable:
    """Return a table; with the classes or targets of another one, if there is one."""
    names = None if like is None or isinstance(like, TargetTable) else like.class_names
    if kind in ("multilabel", "regressor"):
        return _read_targets(data, kind, path, like)
    if kind == "token_classifier":
        return read_base_table(
            path,
            sequence_column=data.sequence_column,
            label_column=data.label_column,
            class_names=names,
        )
    if kind == "variant_classifier":
        return read_pair_table(
            path,
            ref_column=data.ref_column,
            alt_column=data.alt_column,
            label_column=data.label_column,
            class_names=names,
        )
    return read_located_table(
        path,
        sequence_column=data.sequence_column,
        label_column=data.label_column,
        class_names=names,
        require_two_classes=names is None,
    )


def _read_targets(
    data: TableDataConfig, kind: HeadKind, path: Path, like: ExampleTable | None
) -> TargetTable:
    columns = like.target_names if isinstance(like, TargetTable) else data.target_columns
    return read_target_table(
        path,
        "multi-label" if kind == "multilabel" else "regression",
        sequence_column=data.sequence_column,
        target_columns=columns,
        genome=None if data.genome is None else Genome(data.genome),
    )
