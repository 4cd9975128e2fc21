"""How many bits a language model needs for a held-out base, and how many a Markov model needs for the same bases."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from genomix.training.markov import OTHER, Codes, MarkovModel
from genomix_data.corpus import Corpus
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


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkovBaseline:
    """Markov models of order 0, 1, ... on the bases that the language model was trained and scored on.

    Args:
        valid: Bits per base of every order on the validation bases.
        test: Bits per base of every order on the test bases.
        best_order: The order that is best on validation.
        alpha: Strength of the prior, see `genomix.training.markov`.
        both_strands: Whether both strands of the training bases were counted.
    """

    valid: tuple[float, ...]
    test: tuple[float, ...]
    best_order: int
    alpha: float
    both_strands: bool

    @property
    def bits_per_base(self) -> float:
        """Bits per base on the test bases of the order that validation chose."""
        return self.test[self.best_order]


@torch.inference_mode()
def bits_per_base(
    model: nn.Module, windows: HeldOutWindows, *, batch_size: int, device: torch.device | str = "cpu"
) -> BitsPerBase:
    """Return the bits per base of a model on held-out windows; log-softmax in fp32, sums in fp64.

    Args:
        model: Gives logits ``(B, L, V)`` of ids ``(B, L)``; left in the mode (train or eval) that it was in.
        windows: Which bases, in which context.
        batch_size: Windows at once.
        device: Where the model is.

    Raises:
        ValueError: if the windows hold no A, C, G or T to score.
    """
    was_training = model.training
    model.eval()
    acgt = torch.tensor(windows.corpus.tokenizer.acgt_ids, device=device)
    nats = nats_acgt = nats_masked = 0.0
    n_bases = n_masked = 0
    for first in range(0, len(windows), batch_size):
        batch = windows.collate([windows[i] for i in range(first, min(first + batch_size, len(windows)))])
        targets = batch.targets.to(device)
        counted = targets != NO_TARGET
        logits = model(batch.inputs.to(device))[counted].float()
        chosen = logits.gather(1, targets[counted][:, None].long())[:, 0]
        each = (logits.logsumexp(dim=1) - chosen).double()
        nats += float(each.sum())
        nats_acgt += float((logits[:, acgt].logsumexp(dim=1) - chosen).double().sum())
        n_bases += int(counted.sum())
        is_masked = batch.is_masked.to(device)[counted]
        nats_masked += float(each[is_masked].sum())
        n_masked += int(is_masked.sum())
    model.train(was_training)
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


def markov_baseline(corpus: Corpus, order: int, *, both_strands: bool) -> MarkovBaseline:
    """Return the Markov baseline of every order up to ``order``, fitted on the training bases of the corpus.

    It scores exactly the bases that `HeldOutWindows` scores: A, C, G and T, but for the first base of each region.
    """
    model = MarkovModel(order, both_strands=both_strands).fit(_codes(corpus, "train"))
    bits: dict[str, tuple[float, ...]] = {}
    for split in ("valid", "test"):
        sequences = list(_codes(corpus, split))
        scored = [np.arange(len(codes)) > 0 for codes in sequences]
        bits[split] = tuple(float(value) for value in model.bits_per_base(sequences, scored))
    return MarkovBaseline(
        valid=bits["valid"],
        test=bits["test"],
        best_order=int(np.argmin(bits["valid"])),
        alpha=model.alpha,
        both_strands=both_strands,
    )


def _codes(corpus: Corpus, split: str) -> Iterator[Codes]:
    """Yield one region after the other: only one of them has to fit in memory."""
    table = np.full(256, OTHER, dtype=np.uint8)
    table[list(corpus.tokenizer.acgt_ids)] = np.arange(4, dtype=np.uint8)
    for region in corpus.regions[split]:
        yield table[corpus.fetch(region)]
