"""What is odd about labelled sequences, said before any training starts; and what was counted."""

from difflib import get_close_matches
from typing import Any

import numpy as np

from genomix.training.finetune_data import Parts
from genomix.training.finetune_method import LossConfig
from genomix_data.errors import preview
from genomix_data.tables.identity import either_strand
from genomix_data.tables.joined import ExampleTable
from genomix_data.tables.table import SequenceTable
from genomix_data.tables.targets import TargetTable

RARE = 0.1
"""A class with less than this part of the largest one's sequences is called rare."""

SHIFTED = 0.15
"""By this much the share of a class may differ between training and test before it is pointed out."""


def class_warnings(tables: Parts, loss: LossConfig) -> list[str]:
    """Return what is odd about the labels, a line each.

    Classes that are misspelt, rare, absent from a part, or much rarer in one part than in another; sequences that stand
    in training under two classes; labels without a positive.

    Args:
        tables: All parts.
        loss: Whether something is done about rare classes.
    """
    train = tables["train"]
    if isinstance(train, TargetTable):
        return _target_warnings(tables)
    lines: list[str] = []
    things = "sequences" if isinstance(train, SequenceTable) else "bases"
    counts = train.n_per_class
    largest = max(counts, key=lambda name: counts[name])
    rare = [name for name, count in counts.items() if count < RARE * counts[largest]]
    for name in rare:
        # a misspelt label makes a class of its own, and a small one
        others = {other.casefold(): other for other in counts if other not in rare}
        close = get_close_matches(name.casefold(), list(others), n=1, cutoff=0.8)
        if close and not name.isdecimal():
            lines.append(
                f"class {name!r} has {counts[name]:,} training {things} and is spelt almost as "
                f"{others[close[0]]!r}; if this is a typing error, correct the labels"
            )
    if rare and loss.class_weights is None:
        lines.append(
            f"the classes are unbalanced: {rare[0]!r} has {counts[rare[0]]:,} training {things}, {largest!r} "
            f"{counts[largest]:,}; accuracy says little (look at MCC and AUROC), and loss.class_weights=balanced makes "
            "them count alike"
        )
    for part in ("valid", "test"):
        here = _classes(tables[part])
        absent = [name for name, count in here.items() if not count]
        if absent:
            lines.append(
                f"the {part} set has no {things[:-1]} of class {preview(absent)}; its metrics say nothing of it"
            )
    lines += _shift(train, tables["test"])
    if isinstance(train, SequenceTable) and (torn := _two_classes(train)):
        lines.append(
            f"{torn:,} training sequences stand under more than one class (on either strand); all are kept"
        )
    return lines


def _shift(train: ExampleTable, test: ExampleTable) -> list[str]:
    here, there = _classes(train), _classes(test)
    n_train, n_test = max(sum(here.values()), 1), max(sum(there.values()), 1)
    gaps = {name: abs(here[name] / n_train - there[name] / n_test) for name in here}
    name = max(gaps, key=lambda key: gaps[key])
    share = (here[name] + there[name]) / (n_train + n_test)
    by_chance = 3 * (share * (1 - share) * (1 / n_train + 1 / n_test)) ** 0.5
    if gaps[name] < max(SHIFTED, by_chance):
        return []
    return [
        f"class {name!r} is {100 * here[name] / n_train:.0f} % of training and {100 * there[name] / n_test:.0f} % of "
        "the test: probabilities and accuracy carry the share of training over; AUROC does not feel it, and "
        "loss.class_weights=balanced takes it out of training"
    ]


def _classes(table: ExampleTable) -> dict[str, int]:
    assert not isinstance(table, TargetTable)
    return table.n_per_class


def _two_classes(table: SequenceTable) -> int:
    """Return how many sequences stand in the table under more than one class, on either strand."""
    seen: dict[str, set[int]] = {}
    for sequence, label in zip(table.sequences, table.labels.tolist(), strict=True):
        seen.setdefault(either_strand(sequence), set()).add(label)
    return sum(len(labels) > 1 for labels in seen.values())


def _target_warnings(tables: Parts) -> list[str]:
    lines: list[str] = []
    for part, table in tables.items():
        assert isinstance(table, TargetTable)
        known = np.isfinite(table.targets)
        constant = [
            name
            for column, name in enumerate(table.target_names)
            if len(set(table.targets[known[:, column], column].tolist())) < 2
        ]
        if constant:
            lines.append(
                f"in the {part} set {len(constant):,} of {len(table.target_names):,} targets have one value only "
                f"({preview(constant, 3)}); metrics of them are not defined and no part of the means"
            )
    return lines


def counts_of(tables: Parts) -> dict[str, Any]:
    """Return what is in each part: sequences, duplicates, and how many of each class or label."""
    found: dict[str, Any] = {}
    for name, table in tables.items():
        distinct = len({text.upper() for text in table.sequences})
        found[name] = {
            "sequences": len(table),
            "duplicates": len(table) - distinct,
            "with_other_letters": sum(bool(set(text) - set("ACGTacgt")) for text in table.sequences),
            "shortest": min(map(len, table.sequences)),
            "longest": max(map(len, table.sequences)),
        }
        if isinstance(table, TargetTable):
            found[name]["missing_targets"] = int(np.isnan(table.targets).sum())
            if table.kind == "multi-label":
                found[name]["positive"] = table.n_positive
        else:
            found[name]["classes"] = table.n_per_class
    return found
