"""Windows of genomes for a causal language model, as a Lightning data module."""

from collections.abc import Sequence
from typing import Any

from genomix_data.corpus import Corpus
from genomix_data.datamodules.ordered import OrderedData
from genomix_data.lm_dataset import HeldOutWindows, TrainingWindows
from genomix_data.n_policy import NPolicy


class PretrainingData(OrderedData):
    """Training windows in shuffled order (`LMBatch`), and every held-out base once (`HeldOutBatch`).

    Args:
        corpus: From `load_corpus`.
        seqlen: Input tokens of a window.
        batch_size: Windows in a batch, of all ranks together.
        seed: Of the order, the jitter and the strand.
        jitter: Move the windows, differently in every epoch.
        rc_augment: Give half of the windows as their reverse complement.
        add_eos: End each training window with the end-of-sequence token.
        n_policy: ``keep``, ``skip`` or ``max:0.1``: which windows with N are offered.
        weights: Expected share of the windows of each genome.
        packing: Read the training regions as documents one after the other.
        soft_mask_weight: Of soft-masked targets in the loss.
        eval_overlap: Bases of left context that neighbouring held-out windows share.
        valid_windows: Validation windows to look at, evenly spread; None is all.
        options: ``start``, ``stop``, ``num_workers``, ``pin_memory``, ``rank``, ``world_size`` of `OrderedData`.
    """

    def __init__(
        self,
        corpus: Corpus,
        seqlen: int,
        *,
        batch_size: int,
        seed: int,
        jitter: bool = True,
        rc_augment: bool = False,
        add_eos: bool = False,
        n_policy: str = "keep",
        weights: Sequence[float] | None = None,
        packing: bool = False,
        soft_mask_weight: float = 1.0,
        eval_overlap: int = 0,
        valid_windows: int | None = None,
        **options: Any,
    ) -> None:
        windows = TrainingWindows(
            corpus,
            seqlen,
            seed=seed,
            jitter=jitter,
            rc_augment=rc_augment,
            add_eos=add_eos,
            n_policy=NPolicy.parse(n_policy),
            weights=weights,
            packing=packing,
            soft_mask_weight=soft_mask_weight,
        )
        super().__init__(
            windows,
            batch_size=batch_size,
            valid=HeldOutWindows(corpus, "valid", seqlen, overlap=eval_overlap, limit=valid_windows),
            test=HeldOutWindows(corpus, "test", seqlen, overlap=eval_overlap),
            **options,
        )
