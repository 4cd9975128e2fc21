"""Windows of genomes for a causal language model, as pure functions of a running number.

A window is ``seqlen + 1`` tokens: all but the last are the input, all but the first the targets. A target that is N,
padding or unknown is `IGNORED`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int64
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from genomix_data.alphabet import reverse_complement
from genomix_data.corpus import Corpus
from genomix_data.interval import Interval
from genomix_data.sampler import EpochOrder, mix64
from genomix_data.tokenizers import CharTokenizer

IGNORED = -100
"""Target that takes no part in the loss, as `torch.nn.functional.cross_entropy` has it."""

_JITTER, _STRAND = 1, 2  # what a random number is for, so that the two do not depend on each other


class LMBatch(NamedTuple):
    """Inputs and what follows each of them, ``(B, L)`` both; `IGNORED` where nothing is to be predicted."""

    inputs: Int64[Tensor, "B L"]
    targets: Int64[Tensor, "B L"]


class TrainingWindows(Dataset[NDArray[np.uint8]]):
    """Training windows in a shuffled order; window ``number`` depends on ``(seed, epoch, index)`` only.

    Each region is tiled, the windows side by side; with ``jitter`` each is moved by up to half its length, differently
    in every epoch, so that in time every base is seen at every place of a window.

    Args:
        corpus: The genomes.
        seqlen: Input tokens of a window.
        seed: Of the order, the jitter and the strand.
        jitter: Move the windows.
        rc_augment: Give half of the windows as their reverse complement.
        add_eos: End each window with the end-of-sequence token.
    """

    def __init__(
        self,
        corpus: Corpus,
        seqlen: int,
        *,
        seed: int,
        jitter: bool = True,
        rc_augment: bool = False,
        add_eos: bool = False,
    ) -> None:
        self.corpus = corpus
        self.regions = corpus.regions["train"]
        self.seqlen = seqlen
        self.seed = seed
        self.jitter = jitter
        self.rc_augment = rc_augment
        self.add_eos = add_eos
        self.n_bases = seqlen if add_eos else seqlen + 1
        tiles = [max(1, -(-(len(region) - 1) // seqlen)) for region in self.regions]
        self._ends = np.cumsum(tiles)
        self.order = EpochOrder(int(self._ends[-1]), seed)
        self._complement = complement_table(corpus.tokenizer)

    def __len__(self) -> int:
        return self.order.n

    def locate(self, number: int) -> tuple[Interval, bool]:
        """Return the interval of window ``number`` of an endless run, and whether it is reverse-complemented."""
        epoch, index = self.order.locate(number)
        place = int(np.searchsorted(self._ends, index, side="right"))
        region = self.regions[place]
        tile = index - (int(self._ends[place - 1]) if place else 0)
        start = region.start + tile * self.seqlen
        if self.jitter:
            start += mix64(self.seed, epoch, index, _JITTER) % self.seqlen - self.seqlen // 2
        start = max(region.start, min(start, region.end - self.n_bases))
        flipped = self.rc_augment and bool(mix64(self.seed, epoch, index, _STRAND) & 1)
        return Interval(region.chrom, start, min(start + self.n_bases, region.end)), flipped

    def __getitem__(self, number: int) -> NDArray[np.uint8]:
        """Return the ids of window ``number``, ``(seqlen + 1,)``, padded on the right where its region ends."""
        interval, flipped = self.locate(number)
        bases = self.corpus.fetch(interval)
        if flipped:
            bases = self._complement[bases[::-1]]
        window = np.full(self.seqlen + 1, self.corpus.tokenizer.pad_id, dtype=np.uint8)
        window[: len(bases)] = bases
        if self.add_eos:
            window[len(bases)] = self.corpus.tokenizer.eos_id
        return window

    def collate(self, windows: Sequence[NDArray[np.uint8]]) -> LMBatch:
        """Return windows as one batch; N, padding and unknown letters are no targets."""
        tokenizer = self.corpus.tokenizer
        ids = torch.from_numpy(np.stack(windows)).long()
        targets = ids[:, 1:].clone()
        for token in (tokenizer.n_id, tokenizer.pad_id, tokenizer.unk_id):
            targets[targets == token] = IGNORED
        return LMBatch(ids[:, :-1], targets)


@dataclass(frozen=True, slots=True)
class _HeldOutWindow:
    region: int
    start: int
    first_scored: int
    """Position (0-based, in the contig) of the first base that this window is to predict."""


class HeldOutWindows(Dataset[tuple[NDArray[np.uint8], int]]):
    """Windows in which every held-out base but the first of its region is predicted exactly once.

    Windows follow each other with ``overlap`` shared targets, which only the earlier one scores: the later one has at
    least ``overlap`` bases of left context. Context never reaches beyond the region.

    Args:
        corpus: The genomes.
        split: ``valid`` or ``test``.
        seqlen: Input tokens of a window.
        overlap: Bases of left context that neighbours share; 0 is non-overlapping.
        limit: Take only this many windows, evenly spread.
    """

    def __init__(
        self, corpus: Corpus, split: str, seqlen: int, *, overlap: int = 0, limit: int | None = None
    ) -> None:
        self.corpus = corpus
        self.regions = corpus.regions[split]
        self.seqlen = seqlen
        windows: list[_HeldOutWindow] = []
        for number, region in enumerate(self.regions):
            start, first_scored = region.start, region.start + 1
            while first_scored < region.end:
                windows.append(_HeldOutWindow(number, start, first_scored))
                first_scored = start + seqlen + 1
                start += seqlen - overlap
        if limit is not None and limit < len(windows):
            windows = [windows[int(i)] for i in np.linspace(0, len(windows) - 1, limit).round()]
        self.windows = windows

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], int]:
        """Return the ids ``(<= seqlen + 1,)`` of a window, and how many of its first targets do not count."""
        window = self.windows[index]
        region = self.regions[window.region]
        end = min(window.start + self.seqlen + 1, region.end)
        ids = self.corpus.fetch(Interval(region.chrom, window.start, end))
        return ids, window.first_scored - window.start - 1

    def collate(self, windows: Sequence[tuple[NDArray[np.uint8], int]]) -> LMBatch:
        """Return windows as one batch; only A, C, G and T that are this window's to score are targets."""
        tokenizer = self.corpus.tokenizer
        width = max(len(ids) for ids, _ in windows)
        batch = np.full((len(windows), width), tokenizer.pad_id, dtype=np.uint8)
        scored = np.zeros((len(windows), width - 1), dtype=np.bool_)
        for row, (ids, skipped) in enumerate(windows):
            batch[row, : len(ids)] = ids
            scored[row, skipped : len(ids) - 1] = True
        scored &= np.isin(batch[:, 1:], tokenizer.acgt_ids)
        tokens = torch.from_numpy(batch).long()
        targets = tokens[:, 1:].masked_fill(~torch.from_numpy(scored), IGNORED)
        return LMBatch(tokens[:, :-1], targets)


def complement_table(tokenizer: CharTokenizer) -> NDArray[np.uint8]:
    """Return the id of the complementary base for each id; ids of no base stay what they are."""
    table = np.arange(256, dtype=np.uint8)
    letters = b"ACGTN"
    table[tokenizer.encode(letters)] = tokenizer.encode(reverse_complement(letters)[::-1])
    return table
