"""Training windows over documents packed end to end, with the end-of-sequence token after each.

A window is a stretch of the stream and may hold the end of one document and the beginning of the next; nothing is reset
there. Documents come in another order in every epoch.

Source: the training data of Evo 2 (Brixi et al. 2025), packed in the manner of GPT-NeoX.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Int64, UInt8

from genomix_data.corpus import Corpus
from genomix_data.interval import Interval
from genomix_data.lm_batch import EOS, PAD
from genomix_data.sampler import mix64, ordered_indices
from genomix_data.tiling import JITTER

Numbers = Int64[np.ndarray, " B"]
_DOCUMENTS = 3


class PackedStream:
    """Windows of a stream of documents.

    Args:
        corpus: The genomes.
        documents: Regions to pack.
        stride: Distance between windows in the stream, in tokens.
        width: Tokens of a window.
        seed: Of the order of the documents, and of the jitter.
        jitter: Move each window by up to half of ``stride``, differently in every epoch.

    Attributes:
        n: Windows in an epoch.
        n_left_out: Always 0; as in `Tiles`.
    """

    def __init__(
        self,
        corpus: Corpus,
        documents: Sequence[Interval],
        stride: int,
        width: int,
        *,
        seed: int,
        jitter: bool,
    ) -> None:
        self.documents = tuple(documents)
        self.stride, self.width = stride, width
        self.seed, self.jitter = seed, jitter
        self._corpus = corpus
        self._sizes = np.array([len(document) + 1 for document in documents], dtype=np.int64)
        self.n_tokens = int(self._sizes.sum())
        self.n = max(1, -(-(self.n_tokens - 1) // stride))
        self.n_left_out = 0
        self._layout: tuple[int, Numbers, Numbers] | None = None

    def intervals(self, epoch: int, index: int) -> tuple[Interval, ...]:
        """Return the bases of a window, in its order; between two of them stands an end-of-sequence token."""
        return tuple(interval for interval, _ in self._pieces(epoch, index) if interval is not None)

    def read(
        self, epochs: Numbers, indices: Numbers, width: int
    ) -> tuple[UInt8[np.ndarray, "B width"], Numbers]:
        """Return windows of letters and `EOS`, `PAD` on the right where the stream is too short, and their lengths."""
        letters = np.full((len(indices), width), PAD, dtype=np.uint8)
        lengths = np.zeros(len(indices), dtype=np.int64)
        for row, (epoch, index) in enumerate(zip(epochs.tolist(), indices.tolist(), strict=True)):
            place = 0
            for interval, has_end in self._pieces(epoch, index):
                if interval is not None:
                    letters[row, place : place + len(interval)] = self._corpus.letters(interval)
                    place += len(interval)
                if has_end:
                    letters[row, place] = EOS
                    place += 1
            lengths[row] = place
        return letters, lengths

    def _pieces(self, epoch: int, index: int) -> Iterator[tuple[Interval | None, bool]]:
        """Yield the stretches of a window: the bases of a document, if any, and whether its end follows."""
        order, ends = self._lay_out(epoch)
        start = index * self.stride
        if self.jitter:
            start += mix64(self.seed, epoch, index, JITTER) % self.stride - self.stride // 2
        start = max(0, min(start, self.n_tokens - self.width))
        stop = min(start + self.width, self.n_tokens)
        turn = int(np.searchsorted(ends, start, side="right"))
        while start < stop:
            document = self.documents[int(order[turn])]
            end = int(ends[turn])
            first = document.end - (end - 1 - start)
            last = min(document.end, first + stop - start)
            piece = Interval(document.chrom, first, last) if first < last else None
            yield piece, stop >= end
            start, turn = end, turn + 1

    def _lay_out(self, epoch: int) -> tuple[Numbers, Numbers]:
        """Return the order of the documents in an epoch, and where each ends in the stream."""
        if self._layout is None or self._layout[0] != epoch:
            turns = np.arange(len(self.documents), dtype=np.int64)
            order = ordered_indices(mix64(self.seed, _DOCUMENTS), epoch, turns, len(turns))
            self._layout = (epoch, order, np.cumsum(self._sizes[order]))
        return self._layout[1], self._layout[2]
