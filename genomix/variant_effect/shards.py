"""Parts of a file for as many jobs: each has a row of records, and the rows one after the other are the file."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from genomix.variant_effect.score import BLOCK_RECORDS
from genomix_data.errors import ConfigError
from genomix_data.vcf import VcfReader

SHARD_LINE = "##genomixShard="
_SHARD = re.compile(
    SHARD_LINE
    + r"<ID=(?P<number>\d{1,9}),Of=(?P<of>\d{1,9}),First=(?P<first>\d{1,18}),Records=(?P<records>\d{1,18}),"
    r"Total=(?P<total>\d{1,18})>"
)


@dataclass(frozen=True, slots=True)
class Shard:
    """Part ``number`` of ``of``, from 1.

    Raises:
        ConfigError: if there is no such part.
    """

    number: int
    of: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.of:
            raise ConfigError(
                f"shard {self.number}/{self.of} is not one of 1/{self.of} to {self.of}/{self.of}."
            )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the shard that ``i/n`` names.

        >>> Shard.parse("2/8")
        Shard(number=2, of=8)
        """
        number, slash, of = text.partition("/")
        if not (slash and number.isdecimal() and of.isdecimal() and len(text) < 20):
            raise ConfigError(f"shard {text!r} is not of the form i/n, such as 2/8.")
        return cls(int(number), int(of))


@dataclass(frozen=True, slots=True)
class ShardRange:
    """Records ``first`` up to ``stop`` (None: the end), and what the header says of the shard."""

    first: int = 0
    stop: int | None = None
    lines: tuple[str, ...] = ()


def range_of(shard: Shard, open_reader: Callable[[], VcfReader]) -> ShardRange:
    """Return the records of a shard; reads the file once to count them."""
    with open_reader() as reader:
        return range_in(shard, sum(1 for _ in reader))


def range_in(shard: Shard, n_records: int) -> ShardRange:
    """Return the records of a shard of a file of so many, as even as blocks of 1,024 records allow."""
    n_blocks = -(-n_records // BLOCK_RECORDS)
    first, stop = (
        min(n_records, n_blocks * part // shard.of * BLOCK_RECORDS)
        for part in (shard.number - 1, shard.number)
    )
    line = f"{SHARD_LINE}<ID={shard.number},Of={shard.of},First={first},Records={stop - first},Total={n_records}>"
    return ShardRange(first, stop, (line,))


@dataclass(frozen=True, slots=True)
class ShardLine:
    """What a header says of its shard.

    Attributes:
        number: From 1.
        of: Shards in all.
        first: Number of its first record in the whole file, from 0.
        records: In it.
        total: In the whole file.
    """

    number: int
    of: int
    first: int
    records: int
    total: int

    @classmethod
    def find(cls, lines: "list[str] | tuple[str, ...]") -> Self | None:
        """Return what the line of a shard says, or None where there is none."""
        for line in lines:
            match = _SHARD.fullmatch(line)
            if match:
                return cls(*(int(match[name]) for name in ("number", "of", "first", "records", "total")))
        return None
