"""Tokenized sequences laid out once, on the device if they fit: a batch is then a look-up, without copy or wait."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from numpy.typing import NDArray
from torch import Tensor

from genomix_data.table_dataset import complement_table
from genomix_data.tokenizers import Tokenizer

RESIDENT = 0.25
"""Part of a GPU's memory that tokens may take; more than that stay on the host, and each batch is copied."""

Slots = Sequence[Sequence[NDArray[np.uint8]]]
"""Ids of each sequence; one list of them, or two of the same length for pairs (REF and ALT)."""


class Batch(NamedTuple):
    """Ids ``(B, L)``, or ``(B, 2, L)`` of pairs, padded on the right, and their lengths; None where none is padded."""

    ids: Tensor
    lengths: Tensor | None


class Examples:
    """Sequences or pairs of sequences by row.

    Args:
        slots: Their ids.
        tokenizer: What made them.
        device: Where batches are wanted.
        both_strands: Keep the reverse complements as well; row ``n + i`` is that of row ``i``.

    Attributes:
        n: Sequences or pairs, each counted once.
        widths: Longest sequence of each, ``(n,)``.
        complement: Id of the complementary base of each id.
    """

    def __init__(
        self, slots: Slots, tokenizer: Tokenizer, *, device: torch.device | str, both_strands: bool = False
    ) -> None:
        self.device = torch.device(device)
        self.n = len(slots[0])
        self.complement: UInt8[np.ndarray, " 256"] = complement_table(tokenizer)
        lengths = np.array([[len(row) for row in slot] for slot in slots], dtype=np.int64).T  # (n, slots)
        width = int(lengths.max(initial=1))
        tokens = np.full((len(slots), self.n, width), tokenizer.pad_id, dtype=np.uint8)
        for place, slot in enumerate(slots):
            for row, ids in enumerate(slot):
                tokens[place, row, : len(ids)] = ids
        laid = np.moveaxis(tokens, 0, 1)  # (n, slots, width)
        if both_strands:
            laid = np.concatenate([laid, self._other_strand(laid, lengths)])
            lengths = np.concatenate([lengths, lengths])
        self.widths: NDArray[np.int64] = lengths[: self.n].max(axis=1)
        self._shortest: NDArray[np.int64] = lengths[: self.n].min(axis=1)
        if len(slots) == 1:
            laid, lengths = laid[:, 0], lengths[:, 0]
        self._is_resident = self._fits(laid.nbytes)
        home = self.device if self._is_resident else torch.device("cpu")
        self._tokens = torch.from_numpy(np.ascontiguousarray(laid)).to(home)
        self._lengths = torch.from_numpy(np.ascontiguousarray(lengths)).to(home)

    def _other_strand(
        self, tokens: NDArray[np.uint8], lengths: NDArray[np.int64]
    ) -> UInt8[np.ndarray, "n slots width"]:
        place = np.arange(tokens.shape[2])
        places = np.where(place < lengths[..., None], lengths[..., None] - 1 - place, place)
        flipped: NDArray[np.uint8] = self.complement[np.take_along_axis(tokens, places, axis=2)]
        return flipped

    def _fits(self, n_bytes: int) -> bool:
        if self.device.type != "cuda":
            return True
        return n_bytes <= RESIDENT * torch.cuda.get_device_properties(self.device).total_memory

    def locate(self, rows: Int64[np.ndarray, " B"]) -> Int64[Tensor, " B"]:
        """Return rows as `batch` wants them: where the tokens are."""
        return torch.from_numpy(rows).to(self._tokens.device)

    def extent(self, rows: Int64[np.ndarray, " B"]) -> tuple[int, bool]:
        """Return the longest of some rows (of either strand), and whether none of them is shorter."""
        own = rows % self.n
        width = int(self.widths[own].max())
        return width, int(self._shortest[own].min()) == width

    def batch(self, places: Int64[Tensor, " B"], width: int, *, is_even: bool) -> Batch:
        """Return rows as one batch, on the device.

        Args:
            places: Of `locate`.
            width: Of `extent`.
            is_even: Likewise.
        """
        ids = self._tokens.index_select(0, places)[..., :width]
        lengths = None if is_even else self._lengths.index_select(0, places)
        if self._is_resident:
            return Batch(ids, lengths)
        return Batch(
            ids.pin_memory().to(self.device, non_blocking=True),
            None if lengths is None else lengths.to(self.device),
        )
