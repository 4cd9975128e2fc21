"""Parts of a file for as many jobs: each has a row of records, and the rows one after the other are the file."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Self

from genomix.variant_effect.census import Census, census_of
from genomix.variant_effect.score import BLOCK_RECORDS
from genomix_data.errors import ConfigError
from genomix_data.vcf import VcfReader

SHARD_LINE = "##genomixShard="
_SHARD = re.compile(
    SHARD_LINE
    + r"<ID=(?P<number>\d{1,9}),Of=(?P<of>\d{1,9}),First=(?P<first>\d{1,18}),Records=(?P<records>\d{1,18}),"
    r"Total=(?P<total>\d{1,18}),Written=(?P<written>\d{1,18}),Rows=(?P<rows>\d{1,18}),Input=(?P<input>[0-9a-f]{32})>"
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
class ShardLine:
    """What a header says of its shard; `str` gives the line.

    Attributes:
        number: From 1.
        of: Shards in all.
        first: Number of its first record in the whole file, from 0.
        records: In it.
        total: In the whole file.
        written: Records of it that the output has; fewer where a REF mismatch drops them.
        rows: Rows that these are in a table.
        input: Digest of all records of the whole file, see `genomix.variant_effect.census.Census`.
    """

    number: int
    of: int
    first: int
    records: int
    total: int
    written: int
    rows: int
    input: str

    def __str__(self) -> str:
        return (
            f"{SHARD_LINE}<ID={self.number},Of={self.of},First={self.first},Records={self.records},"
            f"Total={self.total},Written={self.written},Rows={self.rows},Input={self.input}>"
        )

    @classmethod
    def find(cls, lines: Iterable[str]) -> Self | None:
        """Return what the line of a shard says, or None where there is none."""
        match = next(filter(None, map(_SHARD.fullmatch, lines)), None)
        if match is None:
            return None
        names = ("number", "of", "first", "records", "total", "written", "rows")
        numbers = {name: int(match[name]) for name in names}
        return cls(**numbers, input=match["input"])


@dataclass(frozen=True, slots=True)
class ShardRange:
    """Records ``first`` up to ``stop`` (None: the end), and what the header says of the shard."""

    first: int = 0
    stop: int | None = None
    line: ShardLine | None = None


def range_of(shard: Shard, open_reader: Callable[[], VcfReader]) -> ShardRange:
    """Return the records of a shard; reads the file once to count them."""
    with open_reader() as reader:
        return range_in(shard, census_of(reader))


def range_in(shard: Shard, census: Census) -> ShardRange:
    """Return the records of a shard of these records, as even as blocks of 1,024 allow."""
    first_block, stop_block = (census.blocks * part // shard.of for part in (shard.number - 1, shard.number))
    first, stop = (min(census.records, block * BLOCK_RECORDS) for block in (first_block, stop_block))
    line = ShardLine(
        number=shard.number,
        of=shard.of,
        first=first,
        records=stop - first,
        total=census.records,
        written=stop - first,
        rows=sum(census.rows_by_block[first_block:stop_block]),
        input=census.digest,
    )
    return ShardRange(first, stop, line)
