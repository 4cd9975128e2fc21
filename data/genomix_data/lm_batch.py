"""Batches for a causal language model: from windows of letters to ids, targets and weights.

A window is ``seqlen + 1`` letters: all but the last are the input, all but the first the targets. Beside letters it may
hold `EOS` and `PAD`. A target that is not A, C, G, T (U) or `EOS` is `NO_TARGET`: N, other ambiguity codes, padding,
and a letter that the tokenizer does not know. Ids stay bytes until they are on the device that needs them wider: a
million tokens are a megabyte to make and to send, not sixteen.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float32, UInt8
from torch import Tensor

from genomix_data.token_store import soft_mask, to_ids, token_table
from genomix_data.tokenizers.protocol import Tokenizer

IGNORED = -100
"""Label that takes no part in the loss, as `torch.nn.functional.cross_entropy` has it."""

NO_TARGET = 255
"""The same for a target of a language model, in a byte; no letter that is a target has this id."""

EOS, PAD = 0, 1
"""What stands in a window for the end of a document and for padding; no letters, and the ids of the byte tokenizer."""

_BASES = b"ACGTUacgtu"

Windows = UInt8[np.ndarray, "B width"]


class LMBatch(NamedTuple):
    """Inputs and what follows each of them, ``(B, L)``.

    Args:
        inputs: Token ids.
        targets: Ids of the next tokens; `NO_TARGET` where nothing is to be predicted.
        weights: Of each target in the loss; None where all are 1.
    """

    inputs: UInt8[Tensor, "B L"]
    targets: UInt8[Tensor, "B L"]
    weights: Float32[Tensor, "B L"] | None = None


class HeldOutBatch(NamedTuple):
    """Inputs and targets as in `LMBatch`, and which targets are soft-masked, ``(B, L)``."""

    inputs: UInt8[Tensor, "B L"]
    targets: UInt8[Tensor, "B L"]
    is_masked: Bool[Tensor, "B L"]


class LetterCoder:
    """Turns windows of letters into tensors.

    Args:
        tokenizer: One id a letter. For a genome with a soft mask it should fold the case; ids of lower-case letters
            are tokens of their own otherwise.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        table = bytearray(token_table(tokenizer))
        table[EOS], table[PAD] = tokenizer.eos_id, tokenizer.pad_id
        self._inputs = bytes(table)
        known = {letter for letter in (*_BASES, EOS) if table[letter] != tokenizer.unk_id}
        self._targets = bytes(table[i] if i in known else NO_TARGET for i in range(256))
        acgt = set(tokenizer.acgt_ids)
        self._acgt_targets = bytes(i if i in acgt else NO_TARGET for i in table)

    def training_batch(self, windows: Windows, soft_mask_weight: float = 1.0) -> LMBatch:
        """Return windows as a batch, soft-masked targets with their weight."""
        inputs, targets = _coded(windows[:, :-1], self._inputs), _coded(windows[:, 1:], self._targets)
        if soft_mask_weight == 1.0:
            return LMBatch(inputs, targets)
        is_masked = torch.from_numpy(soft_mask(windows[:, 1:]))
        return LMBatch(inputs, targets, torch.where(is_masked, soft_mask_weight, 1.0))

    def held_out_batch(self, windows: Windows, scored: Bool[np.ndarray, "B L"]) -> HeldOutBatch:
        """Return windows as a batch in which A, C, G and T are targets where ``scored`` allows."""
        inputs, targets = _coded(windows[:, :-1], self._inputs), _coded(windows[:, 1:], self._acgt_targets)
        targets.masked_fill_(~torch.from_numpy(scored), NO_TARGET)
        return HeldOutBatch(inputs, targets, torch.from_numpy(soft_mask(windows[:, 1:])))


def _coded(letters: Windows, table: bytes) -> UInt8[Tensor, "B L"]:
    """Return ids in memory of their own; looked up in place, because fresh pages cost more than the look-up."""
    return torch.from_numpy(to_ids(letters, table, out=np.empty(letters.shape, dtype=np.uint8)))
