"""Tables of sequences as Lightning data modules: classification, regression, multi-label."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from genomix_data.datamodules.ordered import OrderedData, OrderedDataset
from genomix_data.errors import ConfigError, preview
from genomix_data.table_dataset import LabelledSequences, TargetSequences, encode_sequences
from genomix_data.tables.table import SequenceTable
from genomix_data.tables.targets import TargetKind, TargetTable
from genomix_data.tokenizers.protocol import Tokenizer

PARTS = ("train", "valid", "test")
TooLong = Literal["error", "truncate"]
Ids = Sequence[NDArray[np.uint8]]


class _TableData(OrderedData):
    """What the kinds of tables have in common; `ClassificationData` says what the arguments are."""

    def __init__(
        self,
        parts: Mapping[str, Any],
        tokenizer: Tokenizer,
        l_max: int,
        *,
        batch_size: int,
        seed: int,
        too_long: TooLong = "error",
        rc_augment: bool = False,
        **options: Any,
    ) -> None:
        check_parts(parts)
        self._check(parts)
        self.n_truncated = 0
        sets: dict[str, OrderedDataset] = {}
        for part, table in parts.items():
            ids, n_cut = encode_sequences(
                table.sequences, tokenizer, l_max, too_long=too_long, source=table.source
            )
            self.n_truncated += n_cut
            own_seed, own_rc = (seed, rc_augment) if part == "train" else (None, False)
            sets[part] = self._dataset(table, ids, tokenizer, own_seed, own_rc)
        super().__init__(
            sets["train"], batch_size=batch_size, valid=sets.get("valid"), test=sets.get("test"), **options
        )

    def _check(self, parts: Mapping[str, Any]) -> None:
        raise NotImplementedError

    def _dataset(
        self, table: Any, ids: Ids, tokenizer: Tokenizer, seed: int | None, rc_augment: bool
    ) -> OrderedDataset:
        raise NotImplementedError


class ClassificationData(_TableData):
    """Sequences and their classes (`LabelledBatch`).

    Args:
        parts: `SequenceTable` by part, ``train`` and perhaps ``valid`` and ``test``, as `load_benchmark` gives them.
        tokenizer: That of the model.
        l_max: Longest input of the model, in tokens.
        batch_size: Sequences in a batch, of all ranks together.
        seed: Of the order and the strand of the training sequences.
        too_long: ``truncate`` keeps the first ``l_max`` bases of a longer sequence; ``error`` refuses it.
        rc_augment: Give half of the training sequences as their reverse complement.
        options: ``start``, ``stop``, ``num_workers``, ``pin_memory``, ``rank``, ``world_size`` of `OrderedData`.

    Attributes:
        class_names: Names of the classes.
        n_truncated: Sequences that were cut.

    Raises:
        ConfigError: if a part is missing, unknown or of another kind, or the parts differ in their classes.
        SequenceTooLongError: naming the first sequence that is too long.
    """

    class_names: tuple[str, ...]

    def _check(self, parts: Mapping[str, Any]) -> None:
        for table in parts.values():
            if not isinstance(table, SequenceTable):
                raise ConfigError(f"{table.source} is not a classification of sequences.")
        self.class_names = same_in_all({part: table.class_names for part, table in parts.items()}, "classes")

    def _dataset(
        self, table: SequenceTable, ids: Ids, tokenizer: Tokenizer, seed: int | None, rc_augment: bool
    ) -> OrderedDataset:
        return LabelledSequences(ids, table.labels, tokenizer, seed=seed, rc_augment=rc_augment)


class _TargetData(_TableData):
    kind: TargetKind
    target_names: tuple[str, ...]

    def _check(self, parts: Mapping[str, Any]) -> None:
        for table in parts.values():
            found = table.kind if isinstance(table, TargetTable) else "classification"
            if found != self.kind:
                raise ConfigError(f"{table.source} is a {found} task, not {self.kind}.")
        names = {part: table.target_names for part, table in parts.items()}
        self.target_names = same_in_all(names, "targets")

    def _dataset(
        self, table: TargetTable, ids: Ids, tokenizer: Tokenizer, seed: int | None, rc_augment: bool
    ) -> OrderedDataset:
        return TargetSequences(ids, table.targets, tokenizer, seed=seed, rc_augment=rc_augment)


class RegressionData(_TargetData):
    """Sequences and numbers to predict (`TargetBatch`); arguments and errors as `ClassificationData`.

    Attributes:
        target_names: Names of the targets.
        n_truncated: Sequences that were cut.
    """

    kind = "regression"


class MultiLabelData(_TargetData):
    """Sequences and several labels of 0 or 1 each (`TargetBatch`); arguments and errors as `ClassificationData`.

    Attributes:
        target_names: Names of the labels.
        n_truncated: Sequences that were cut.
    """

    kind = "multi-label"


def check_parts(parts: Mapping[str, Any]) -> None:
    """Check that there is a training part, and no part that nothing would look at.

    Raises:
        ConfigError: otherwise.
    """
    unknown = sorted(set(parts) - set(PARTS))
    if "train" not in parts or unknown:
        raise ConfigError(
            f"the parts are {preview(parts)}; there must be train, and there may be valid and test. Split a data set "
            "of one part first."
        )


def same_in_all(names: Mapping[str, tuple[str, ...]], what: str) -> tuple[str, ...]:
    """Return the names that every part has.

    Raises:
        ConfigError: if they differ.
    """
    first = names["train"]
    for part, found in names.items():
        if found != first:
            raise ConfigError(
                f"{part} has the {what} {preview(found)}, train has {preview(first)}. Read {part} with those of train."
            )
    return first
