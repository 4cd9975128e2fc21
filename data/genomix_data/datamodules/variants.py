"""Variants as pairs of windows, as a Lightning data module."""

from collections.abc import Mapping
from typing import Any

from genomix_data.datamodules.ordered import OrderedData
from genomix_data.datamodules.tables import check_parts, same_in_all
from genomix_data.genome import Genome
from genomix_data.tables.variants import VariantTable
from genomix_data.tokenizers.protocol import Tokenizer
from genomix_data.variant_dataset import VariantWindows


class VariantData(OrderedData):
    """REF and ALT windows of equal length with their classes and scores (`VariantBatch`).

    Args:
        parts: Tables by part, ``train`` and perhaps ``valid`` and ``test``; see `genomix_data.tables.variants`.
        genome: Where the bases come from.
        tokenizer: That of the model.
        window: Length of the windows in bp.
        batch_size: Pairs in a batch, of all ranks together.
        seed: Of the order and the strand of the training pairs.
        rc_augment: Give half of the training pairs as their reverse complement.
        options: ``start``, ``stop``, ``num_workers``, ``pin_memory``, ``rank``, ``world_size`` of `OrderedData`.

    Attributes:
        class_names: Names of the classes.
        skipped: By part, how many variants have no windows, by reason.

    Raises:
        ConfigError: if a part is missing or unknown, or the parts differ in their classes.
        ReferenceMismatchError: if no variant of a part has windows on this genome.
    """

    def __init__(
        self,
        parts: Mapping[str, VariantTable],
        genome: Genome,
        tokenizer: Tokenizer,
        window: int,
        *,
        batch_size: int,
        seed: int,
        rc_augment: bool = False,
        **options: Any,
    ) -> None:
        check_parts(parts)
        self.class_names = same_in_all({part: table.class_names for part, table in parts.items()}, "classes")
        sets = {
            part: VariantWindows(
                table,
                genome,
                tokenizer,
                window,
                seed=seed if part == "train" else None,
                rc_augment=rc_augment and part == "train",
            )
            for part, table in parts.items()
        }
        self.skipped = {part: found.skipped for part, found in sets.items()}
        super().__init__(
            sets["train"], batch_size=batch_size, valid=sets.get("valid"), test=sets.get("test"), **options
        )
