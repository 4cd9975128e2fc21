"""Windows of equal length: tiles of contigs and intervals, HyenaDNA's rule, and splits by contig."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from genomix_data.errors import ConfigError, GenomixError, preview
from genomix_data.genome import Genome
from genomix_data.interval import Interval


def tile(
    genome: Genome,
    window: int,
    *,
    stride: int | None = None,
    contigs: Iterable[str] | None = None,
    keep_partial: bool = False,
) -> list[Interval]:
    """Return windows from the left end of each contig on, in the order of the contigs.

    Args:
        genome: The genome.
        window: Length in bp.
        stride: Distance between starts in bp; the window by default, so that they do not overlap.
        contigs: Contigs to tile, in this order; all by default.
        keep_partial: Keep a shorter window at the end of a contig, where bases would be left over.

    Raises:
        GenomixError: if no contig is as long as the window, or a length is not positive.
        ReferenceMismatchError: if a contig is not in the genome.
    """
    chosen = list(genome.contigs) if contigs is None else [genome.resolve(name) for name in contigs]
    whole = [Interval(name, 0, genome.contigs[name]) for name in chosen]
    tiles = [
        piece
        for interval in whole
        for piece in tile_interval(interval, window, stride=stride, keep_partial=keep_partial)
    ]
    if not tiles:
        longest = max(map(len, whole), default=0)
        raise GenomixError(
            f"no window of {window:,} bp fits: the longest contig chosen from {genome.path.name} has {longest:,} bp. "
            "Choose a shorter window."
        )
    return tiles


def tile_interval(
    interval: Interval, window: int, *, stride: int | None = None, keep_partial: bool = False
) -> list[Interval]:
    """Return the windows of one interval, from its left end on; strand and name are kept.

    With ``keep_partial`` and no stride, these are the windows of HyenaDNA's fixed test set.

    >>> [str(piece) for piece in tile_interval(Interval("chr1", 0, 10), 4, keep_partial=True)]
    ['chr1:1-4', 'chr1:5-8', 'chr1:9-10']
    """
    step = window if stride is None else stride
    if window < 1 or step < 1:
        raise GenomixError(f"window={window} and stride={step} must be at least 1 bp.")
    starts = range(interval.start, interval.end - window + 1, step)
    tiles = [
        Interval(interval.chrom, start, start + window, interval.strand, interval.name) for start in starts
    ]
    left_over = starts[-1] + step if starts else interval.start
    covered = tiles[-1].end if tiles else interval.start
    if keep_partial and covered < interval.end and left_over < interval.end:
        tiles.append(Interval(interval.chrom, left_over, interval.end, interval.strand, interval.name))
    return tiles


@dataclass(frozen=True, slots=True)
class PaddedWindow:
    """Bases of a contig, and how many letters of padding stand on either side of them.

    Args:
        interval: The bases that exist.
        n_left: Letters of padding before them.
        n_right: Letters of padding after them.
    """

    interval: Interval
    n_left: int = 0
    n_right: int = 0

    def fetch(self, genome: Genome, pad: bytes = b"N") -> bytes:
        """Return padding, bases and padding; the published code pads with ``.``, which its tokenizer does not know."""
        return pad * self.n_left + genome.fetch_interval(self.interval) + pad * self.n_right

    def __len__(self) -> int:
        return self.n_left + len(self.interval) + self.n_right


def hyenadna_window(
    interval: Interval, window: int, chrom_length: int, pad_interval: bool = False
) -> PaddedWindow:
    """Return the window that HyenaDNA's pretraining reads for an interval of a BED file.

    A shorter interval grows by half of what is missing to the left (rounded down), the rest to the right; a longer
    one is cut to its first ``window`` bases. What would lie outside the contig is left out, so the window may be short.

    Args:
        interval: The interval.
        window: Length in bp.
        chrom_length: Length of its contig in bp.
        pad_interval: Count what lies outside as padding, so that every window has its full length.

    Source: Nguyen et al. 2023, HyenaDNA, arXiv:2306.15794, and its published data set code.
    """
    if window < 1:
        raise GenomixError(f"window={window} must be at least 1 bp.")
    missing = max(window - len(interval), 0)
    start = interval.start - missing // 2
    end = start + window
    left, right = max(start, 0), min(end, chrom_length)
    if left >= right:
        raise GenomixError(f"{interval} lies outside its contig, which has {chrom_length:,} bp.")
    inside = Interval(interval.chrom, left, right, interval.strand, interval.name)
    return PaddedWindow(inside, left - start, end - right) if pad_interval else PaddedWindow(inside)


@dataclass(frozen=True, slots=True)
class ContigSplit:
    """Which contigs train, validate and test.

    Args:
        train: Contig names; None is every contig that the other two leave.
        valid: Contig names, or None for the rest.
        test: Contig names, or None for the rest; empty for no such part.
    """

    train: Sequence[str] | None = None
    valid: Sequence[str] | None = ()
    test: Sequence[str] | None = ()

    def resolve(self, genome: Genome) -> dict[str, tuple[str, ...]]:
        """Return the contigs of each part by their names in the FASTA.

        Raises:
            ReferenceMismatchError: if a contig is not in the genome; a close name is suggested.
            ConfigError: if a contig is in two parts, more than one part is the rest, or training gets no contig.
        """
        wanted: Mapping[str, Sequence[str] | None] = {
            "train": self.train,
            "valid": self.valid,
            "test": self.test,
        }
        parts = {
            part: tuple(dict.fromkeys(genome.resolve(name) for name in names))
            for part, names in wanted.items()
            if names is not None
        }
        taken: dict[str, str] = {}
        for part, names in parts.items():
            for name in names:
                if name in taken:
                    raise ConfigError(f"contig {name!r} is in both {taken[name]} and {part}; keep it in one.")
                taken[name] = part
        rest = [part for part, names in wanted.items() if names is None]
        if len(rest) > 1:
            raise ConfigError(f"{preview(rest)} cannot both be the rest of the contigs; name those of one.")
        for part in rest:
            parts[part] = tuple(name for name in genome.contigs if name not in taken)
        if not parts["train"]:
            raise ConfigError(
                f"no contig of {genome.path.name} is left to train on; it has {preview(genome.contigs)}. "
                "Hold out fewer contigs, or split within contigs."
            )
        return {part: parts[part] for part in wanted}
