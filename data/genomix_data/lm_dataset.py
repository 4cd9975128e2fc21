"""Windows of genomes for a causal language model, as pure functions of a running number."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray
from torch.utils.data import Dataset

from genomix_data.alphabet import COMPLEMENT
from genomix_data.corpus import Corpus
from genomix_data.errors import ConfigError, InputFileError, preview
from genomix_data.interval import Interval
from genomix_data.lm_batch import EOS, NO_TARGET, PAD, HeldOutBatch, LetterCoder, LMBatch
from genomix_data.n_policy import NPolicy
from genomix_data.packing import PackedStream
from genomix_data.sampler import Blend, EpochOrder, mix64, mix64_array
from genomix_data.tiling import Tiles, numbers_of

_STRAND, _GENOME = 2, 4  # what a random number is for, so that they do not depend on each other


@dataclass(frozen=True, slots=True)
class WindowPlace:
    """Where a training window comes from.

    Args:
        intervals: Its bases in the order of the stream; more than one only where documents are packed.
        is_reverse: Whether the window is the reverse complement of them.
    """

    intervals: tuple[Interval, ...]
    is_reverse: bool


class TrainingWindows(Dataset[UInt8[np.ndarray, " width"]]):
    """Training windows in a shuffled order; window ``number`` depends on the seed and its number only.

    Numbers run on from epoch to epoch; in an epoch every window comes once. With ``weights`` the numbers are dealt out
    to the genomes instead (`Blend`), each of which has an order and epochs of its own; ``len`` is still that of all
    windows.

    Args:
        corpus: The genomes.
        seqlen: Input tokens of a window.
        seed: Of the order, the jitter and the strand.
        jitter: Move the windows by up to half their length, differently in every epoch.
        rc_augment: Give half of the windows as their reverse complement.
        add_eos: End each window with the end-of-sequence token.
        n_policy: How much N a window may have.
        weights: Expected share of the windows of each genome; by default all windows come equally often.
        packing: Read the regions as documents one after the other, see `PackedStream`.
        soft_mask_weight: Of soft-masked targets in the loss.

    Raises:
        ConfigError: if these do not go together, or a genome has a weight and no training bases.
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
        n_policy: NPolicy = NPolicy(),  # noqa: B008  # frozen
        weights: Sequence[float] | None = None,
        packing: bool = False,
        soft_mask_weight: float = 1.0,
    ) -> None:
        if packing and (add_eos or not n_policy.keeps_all):
            raise ConfigError(
                "packed windows have the end-of-sequence token where a document ends, and N as it comes: leave out "
                "data.add_eos and data.n_policy, or data.packing."
            )
        self.corpus = corpus
        self.seqlen = seqlen
        self.seed = seed
        self.rc_augment = rc_augment
        self.add_eos = add_eos
        self.soft_mask_weight = soft_mask_weight
        self.width = seqlen + 1
        self._coder = LetterCoder(corpus.tokenizer)
        self._blend = Blend((1.0,) if weights is None else tuple(weights))
        self._sources: list[Tiles | PackedStream] = []
        for regions in _groups(corpus, weights):
            own_seed = seed if weights is None else mix64(seed, _GENOME, len(self._sources))
            self._sources.append(
                PackedStream(corpus, regions, seqlen, self.width, seed=own_seed, jitter=jitter)
                if packing
                else Tiles(
                    corpus,
                    regions,
                    seqlen,
                    seqlen if add_eos else self.width,
                    seed=own_seed,
                    jitter=jitter,
                    policy=n_policy,
                )
            )
        self._orders = [EpochOrder(source.n, source.seed) for source in self._sources]

    def __len__(self) -> int:
        return sum(source.n for source in self._sources)

    @property
    def n_left_out(self) -> int:
        """Windows that the policy for N leaves out."""
        return sum(source.n_left_out for source in self._sources)

    def locate(self, number: int) -> WindowPlace:
        """Return where window ``number`` of an endless run comes from."""
        sources, own = self._blend.locate_many(np.array([number]))
        source = int(sources[0])
        epoch, index = self._orders[source].locate(int(own[0]))
        flipped = self.rc_augment and bool(mix64(self._orders[source].seed, epoch, index, _STRAND) & 1)
        return WindowPlace(self._sources[source].intervals(epoch, index), flipped)

    def __getitem__(self, number: int) -> UInt8[np.ndarray, " width"]:
        """Return the letters of window ``number``, ``(seqlen + 1,)``, padded on the right where its region ends.

        A negative number, such as `genomix_data.sampler.FILLER`, is a window of padding.
        """
        row: UInt8[np.ndarray, " width"] = self.read([number])[0]
        return row

    def __getitems__(self, numbers: list[int]) -> UInt8[np.ndarray, "B width"]:
        """Return many windows at once, as `torch.utils.data.DataLoader` asks for them."""
        return self.read(numbers)

    def read(self, numbers: Sequence[int]) -> UInt8[np.ndarray, "B width"]:
        """Return windows of letters, with `EOS` and `PAD`, one a row."""
        wanted = np.asarray(numbers, dtype=np.int64)
        letters = np.full((wanted.size, self.width), PAD, dtype=np.uint8)
        rows = np.flatnonzero(wanted >= 0)
        sources, own = self._blend.locate_many(wanted[rows])
        for number, (source, order) in enumerate(zip(self._sources, self._orders, strict=True)):
            here = np.flatnonzero(sources == number)
            if not here.size:
                continue
            epochs, indices = order.locate_many(own[here])
            found, lengths = source.read(epochs, indices, self.width)
            if self.rc_augment:
                flipped = mix64_array(order.seed, epochs, indices, _STRAND) & np.uint64(1)
                for row in np.flatnonzero(flipped).tolist():
                    found[row, : lengths[row]] = _reverse_complement(found[row, : lengths[row]])
            if self.add_eos:
                found[np.arange(here.size), lengths] = EOS
            if here.size == wanted.size:
                return found
            letters[rows[here]] = found
        return letters

    def collate(self, windows: "UInt8[np.ndarray, 'B width'] | Sequence[NDArray[np.uint8]]") -> LMBatch:
        """Return windows as one batch; N, padding and unknown letters are no targets."""
        stacked = windows if isinstance(windows, np.ndarray) else np.stack(windows)
        return self._coder.training_batch(stacked, self.soft_mask_weight)


def _groups(corpus: Corpus, weights: Sequence[float] | None) -> list[tuple[Interval, ...]]:
    """Return the training regions that share an order: all, or with weights those of each genome."""
    regions = corpus.regions["train"]
    if weights is None:
        return [regions]
    if len(weights) != len(corpus.stores):
        raise ConfigError(
            f"data.weights has {len(weights)} weights for {len(corpus.stores)} genomes; give one for each file of "
            "data.fasta, in the same order."
        )
    groups = [
        tuple(region for region in regions if corpus.genome_of(region) == number)
        for number in range(len(weights))
    ]
    for number, group in enumerate(groups):
        if not group:
            raise ConfigError(
                f"genome {number + 1} of data.fasta ({corpus.stores[number].path.name}) has a weight and no training "
                "bases. Leave it out, or hold out less of it."
            )
    return groups


def _reverse_complement(letters: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.frombuffer(_reversed(letters).tobytes().translate(COMPLEMENT), dtype=np.uint8)


def _reversed(letters: UInt8[np.ndarray, " n"]) -> UInt8[np.ndarray, " n"]:
    """Return letters from the last to the first, eight at a time; byte by byte that takes four times as long."""
    eights = len(letters) // 8 * 8
    out = np.empty(len(letters), dtype=np.uint8)
    last = np.ascontiguousarray(letters[len(letters) - eights :])
    out[:eights] = last.view(np.uint64)[::-1].byteswap().view(np.uint8)
    out[eights:] = letters[: len(letters) - eights][::-1]
    return out


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
        self.split = split
        self.regions = corpus.regions[split]
        self.seqlen = seqlen
        self._coder = LetterCoder(corpus.tokenizer)
        self._store, self._contig = numbers_of(corpus, self.regions)
        starts = np.array([region.start for region in self.regions], dtype=np.int64)
        ends = np.array([region.end for region in self.regions], dtype=np.int64)
        stride = seqlen - overlap
        # The first window of a region reaches its base seqlen, each further one `stride` bases more.
        counts = 1 + np.maximum(0, -(-(ends - starts - seqlen - 1) // stride))
        self._region = np.repeat(np.arange(len(counts)), counts)
        turn = np.arange(len(self._region)) - np.repeat(np.cumsum(counts) - counts, counts)
        self._start = starts[self._region] + turn * stride
        self._skipped = np.where(turn > 0, overlap, 0)
        if limit is not None and limit < len(self._region):
            chosen = np.linspace(0, len(self._region) - 1, limit).round().astype(np.int64)
            self._region, self._start = self._region[chosen], self._start[chosen]
            self._skipped = self._skipped[chosen]
        self._n_letters = np.minimum(seqlen + 1, ends[self._region] - self._start)

    def __len__(self) -> int:
        return len(self._region)

    def locate(self, index: int) -> Interval:
        """Return where the letters of a window come from."""
        start = int(self._start[index])
        chrom = self.regions[int(self._region[index])].chrom
        return Interval(chrom, start, start + int(self._n_letters[index]))

    def check_not_empty(self) -> None:
        """Check that there is a base to score; reads no further than to the first.

        Raises:
            InputFileError: if the windows hold no A, C, G or T beyond the first bases of their regions.
        """
        if not any((self.batch(index, index + 1).targets != NO_TARGET).any() for index in range(len(self))):
            raise InputFileError(
                f"the {self.split} split has no A, C, G or T to score in {len(self):,} windows of "
                f"{preview([str(region) for region in self.regions])}. Hold out another part: see data.holdout, "
                "data.valid_contigs and data.test_contigs, data.bed."
            )

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], int]:
        """Return the letters ``(<= seqlen + 1,)`` of a window, and how many of its first targets do not count.

        A negative number, such as `genomix_data.sampler.FILLER`, is a window without targets.
        """
        if index < 0:
            return np.full(2, PAD, dtype=np.uint8), 0
        return self.corpus.letters(self.locate(index)), int(self._skipped[index])

    def batch(self, first: int, stop: int) -> HeldOutBatch:
        """Return windows ``first`` to ``stop`` (exclusive) as one batch, as `collate` makes it of them one by one."""
        regions, n_letters = self._region[first:stop], self._n_letters[first:stop]
        starts = self._start[first:stop]
        width = int(n_letters.max())
        letters = np.empty((len(regions), width), dtype=np.uint8)
        stores = self._store[regions]
        for number, store in enumerate(self.corpus.stores):
            rows = np.flatnonzero(stores == number)
            if rows.size:
                letters[rows] = store.gather(self._contig[regions[rows]], starts[rows], width)
        for row in np.flatnonzero(n_letters < width).tolist():
            letters[row, n_letters[row] :] = PAD
        places = np.arange(width - 1)
        scored = (places >= self._skipped[first:stop, None]) & (places < n_letters[:, None] - 1)
        return self._coder.held_out_batch(letters, scored)

    def collate(self, windows: Sequence[tuple[NDArray[np.uint8], int]]) -> HeldOutBatch:
        """Return windows as one batch; only A, C, G and T that are this window's to score are targets."""
        width = max(len(letters) for letters, _ in windows)
        batch = np.full((len(windows), width), PAD, dtype=np.uint8)
        scored = np.zeros((len(windows), width - 1), dtype=np.bool_)
        for row, (letters, skipped) in enumerate(windows):
            batch[row, : len(letters)] = letters
            scored[row, skipped : len(letters) - 1] = True
        return self._coder.held_out_batch(batch, scored)
