"""How many bits a language model needs for a held-out base."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Float64, Int64, UInt8
from torch import Tensor

from genomix.models.families import logit_rows
from genomix.models.hyenadna.model import HyenaDNA
from genomix.models.stripedhyena2.model import StripedHyena2
from genomix.training.lm_loss import LOGITS_AT_ONCE
from genomix.training.ranks import RunRanks
from genomix_data.lm_batch import NO_TARGET
from genomix_data.lm_dataset import HeldOutWindows


@dataclass(frozen=True, slots=True, kw_only=True)
class BitsPerBase:
    """Mean code length over held-out bases.

    Args:
        bits_per_base: Mean ``-log2 p(base)`` where p is over all rows of the model's vocabulary, as it gives them.
        bits_per_base_acgt: The same with p renormalised over A, C, G, T.
        n_bases: Number of bases scored; each counts once.
        bits_per_base_masked: ``bits_per_base`` of the soft-masked bases (repeats) alone; None unless some are and
            some are not.
        bits_per_base_unmasked: Likewise of the others.
        n_masked: Number of soft-masked bases among those scored.
    """

    bits_per_base: float
    bits_per_base_acgt: float
    n_bases: int
    bits_per_base_masked: float | None = None
    bits_per_base_unmasked: float | None = None
    n_masked: int = 0


TOKENS_AT_ONCE = 1 << 27
"""Tokens times width of the model that are scored together on a GPU: 524,288 tokens for a width of 256."""


@torch.inference_mode()
def bits_per_base(
    model: HyenaDNA | StripedHyena2,
    windows: HeldOutWindows,
    *,
    batch_size: int,
    device: torch.device | str = "cpu",
    precision: Literal["32-true", "bf16-mixed"] = "32-true",
    ranks: RunRanks | None = None,
) -> BitsPerBase:
    """Return the bits per base of a model on held-out windows; logits and log-softmax in fp32, sums in fp64.

    Args:
        model: Left in the mode (train or eval) that it was in.
        windows: Which bases, in which context.
        batch_size: Windows at once; see `score_batch_size`.
        device: Where the model is.
        precision: Of the model up to its last norm.
        ranks: The processes that share the windows; all of them return the same.

    Raises:
        ValueError: if the windows hold no A, C, G or T to score.
    """
    device, ranks = torch.device(device), ranks or RunRanks()
    was_training = model.training
    model.eval()
    acgt = torch.tensor(windows.corpus.tokenizer.acgt_ids, device=device)
    # Sums stay on the device, so that the next batch is made ready while this one is worked on.
    totals = torch.zeros(5, dtype=torch.float64, device=device)
    with ranks.scoring(model):
        for first in range(0, len(windows), batch_size):
            batch = ranks.share(windows.batch(first, min(first + batch_size, len(windows))))
            inputs, targets, is_masked = (_sent(tensor, device) for tensor in batch)
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16-mixed"):
                hidden = model.hidden_states(inputs)
            totals += _sums(model, hidden.float(), targets, is_masked, acgt)
    model.train(was_training)
    nats, nats_acgt, nats_masked, n_all, n_of_masked = ranks.total(totals).tolist()
    n_bases, n_masked = int(n_all), int(n_of_masked)
    if n_bases == 0:
        raise ValueError("the held-out windows hold no A, C, G or T to score")
    scale = n_bases * math.log(2)
    n_plain = n_bases - n_masked
    is_mixed = n_masked > 0 and n_plain > 0
    return BitsPerBase(
        bits_per_base=nats / scale,
        bits_per_base_acgt=nats_acgt / scale,
        n_bases=n_bases,
        bits_per_base_masked=nats_masked / (n_masked * math.log(2)) if is_mixed else None,
        bits_per_base_unmasked=(nats - nats_masked) / (n_plain * math.log(2)) if is_mixed else None,
        n_masked=n_masked,
    )


def score_batch_size(batch_size: int, seqlen: int, d_model: int, device: torch.device) -> int:
    """Return how many windows to score at once: on a GPU as many as keep it busy, elsewhere those of training."""
    if device.type != "cuda":
        return batch_size
    return max(1, TOKENS_AT_ONCE // (d_model * seqlen))


def _sent(tensor: Tensor, device: torch.device) -> Tensor:
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def _sums(
    model: HyenaDNA | StripedHyena2,
    hidden: Float[Tensor, "B L D"],
    targets: UInt8[Tensor, "B L"],
    is_masked: Bool[Tensor, "B L"],
    acgt: Int64[Tensor, " 4"],
) -> Float64[Tensor, " 5"]:
    """Return nats over all rows, over A, C, G, T, of masked bases; and the numbers of all and of masked bases."""
    counted = targets != NO_TARGET
    masked = counted & is_masked
    sums = [torch.zeros(3, dtype=torch.float64, device=hidden.device)]
    size = max(1, LOGITS_AT_ONCE // logit_rows(model.config))
    pieces = (torch.split(tensor.flatten(0, 1), size) for tensor in (hidden, targets, counted, masked))
    for states, ids, is_counted, is_counted_masked in zip(*pieces, strict=True):
        logits = model.logits(states).float()
        chosen = logits.gather(1, ids.where(is_counted, 0)[:, None].long())[:, 0]
        each = (logits.logsumexp(dim=1) - chosen).double().where(is_counted, 0.0)
        each_acgt = (logits[:, acgt].logsumexp(dim=1) - chosen).double().where(is_counted, 0.0)
        sums.append(torch.stack([each.sum(), each_acgt.sum(), each.where(is_counted_masked, 0.0).sum()]))
    return torch.cat([torch.stack(sums).sum(0), torch.stack([counted.sum(), masked.sum()])])
