"""The part of a batch that a rank works on."""

import torch
from jaxtyping import Shaped
from torch import Tensor
from torch.nn import functional as F

from genomix.parallel.processes import Ranks
from genomix_data.lm_batch import NO_TARGET, HeldOutBatch, LMBatch


def part_of_tokens(batch: LMBatch, ranks: Ranks) -> LMBatch:
    """Return this rank's part of the tokens of its windows.

    Inputs and targets are split alike, so that the last input of a part still predicts the first of the next.
    """
    weights = None if batch.weights is None else ranks.part_of(batch.weights)
    return LMBatch(ranks.part_of(batch.inputs), ranks.part_of(batch.targets), weights)


def part_of_held_out(batch: HeldOutBatch, ranks: Ranks) -> HeldOutBatch:
    """Return this rank's part of windows that all ranks have: some of the rows, and of those some of the tokens.

    Where a batch cannot be dealt out evenly, windows and tokens without a target are added at its end.
    """
    rows, columns = batch.inputs.shape
    missing = -rows % ranks.shape.n_batch_parts, -columns % ranks.context.size

    def part(x: Shaped[Tensor, "B L"], filler: int) -> Shaped[Tensor, "b l"]:
        padded = F.pad(x.to(torch.int16), (0, missing[1], 0, missing[0]), value=filler).to(x.dtype)
        return ranks.part_of(padded.chunk(ranks.shape.n_batch_parts)[ranks.batch_part])

    return HeldOutBatch(part(batch.inputs, 0), part(batch.targets, NO_TARGET), part(batch.is_masked, 0))
