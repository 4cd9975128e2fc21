"""The outputs of shards, one after the other, as the output of the whole file."""

import importlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genomix.variant_effect.output import OutputOptions
from genomix.variant_effect.parquet import METADATA_KEY
from genomix.variant_effect.shards import SHARD_LINE, ShardLine
from genomix_data.atomic import atomic_file, refuse_inputs
from genomix_data.errors import ConfigError, InputFileError, preview
from genomix_data.text_input import open_text
from genomix_data.vcf import VcfWriter, open_vcf
from genomix_data.vcf.sink import FileSink, is_stdout

_OF_ONE_RUN = (SHARD_LINE, "##genomixCommand=")
"""Header lines in which shards of one run may differ."""
_AGAIN = "Copy the shard again, or score it again."

ContigLength = Callable[[str], int | None]


@dataclass(frozen=True, slots=True)
class MergeSummary:
    """What was put together: shards, and records (rows of a table) in all."""

    shards: int
    records: int


@dataclass(frozen=True, slots=True)
class _Part:
    path: Path
    shard: ShardLine
    lines: tuple[str, ...]


def merge_shards(
    paths: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str] | None,
    output: OutputOptions | None = None,
    *,
    contig_length: ContigLength | None = None,
) -> MergeSummary:
    """Write what scoring without shards would have written, but for the header line on the command.

    Args:
        paths: Outputs of ``genomix score --shard i/n`` or ``genomix tile --shard i/n``, all ``n``, in any order.
        out: Where to; ``-`` or None is standard output.
        output: Its type and index.
        contig_length: For text that becomes BCF; see `genomix_data.vcf.VcfWriter`.

    Raises:
        ConfigError: if a shard is missing or comes twice, or they are of different runs, inputs or kinds.
        InputFileError: if a file cannot be read, or has fewer or more records than its header says.
    """
    what = output or OutputOptions()
    kind = what.type_for(out)
    if out is not None and not is_stdout(out):
        refuse_inputs(out, *paths)
    parts = _in_order([_part(Path(path)) for path in paths])
    tables = {part.path: OutputOptions().type_for(part.path) for part in parts}
    is_table = {found if found in ("t", "p") else "v" for found in tables.values()}
    if is_table != {kind if kind in ("t", "p") else "v"}:
        raise ConfigError(
            f"{parts[0].path.name} and the output are of different kinds; merge VCFs to a VCF, TSVs to a TSV and "
            "Parquet to Parquet."
        )
    if kind == "t":
        n_records = _merge_tsv(parts, out, what)
    elif kind == "p":
        n_records = _merge_parquet(parts, out)
    else:
        n_records = _merge_vcf(parts, out, what, contig_length)
    return MergeSummary(len(parts), n_records)


def _part(path: Path) -> _Part:
    kind = OutputOptions().type_for(path)
    if kind == "p":
        metadata = _parquet().read_schema(path).metadata or {}
        lines = tuple(metadata.get(METADATA_KEY, b"").decode("utf-8", "surrogateescape").split("\n"))
    elif kind == "t":
        lines = tuple(_tsv_header(path))
    else:
        with open_vcf(path) as reader:
            lines = (*reader.header.meta, "\t".join(reader.header.columns))
    shard = ShardLine.find(lines)
    if shard is None:
        raise ConfigError(
            f"{str(path)!r} is no shard: its header has no line {SHARD_LINE}. Make it with --shard i/n."
        )
    return _Part(path, shard, lines)


def _in_order(parts: list[_Part]) -> list[_Part]:
    """Return the parts in order, once it is sure that they make one whole."""
    if not parts:
        raise ConfigError("no shard was given; give all of them.")
    parts = sorted(parts, key=lambda part: part.shard.number)
    found = [part.shard.number for part in parts]
    of = parts[0].shard.of
    missing = sorted(set(range(1, of + 1)) - set(found))
    if missing:
        raise ConfigError(
            f"of {of} shards these are missing: {preview(missing)}. Score them, then merge again."
        )
    if len(found) != of or any(part.shard.of != of for part in parts):
        raise ConfigError(f"the files are shards {preview(found, 20)}; expected each of 1 to {of} once.")
    wanted = _run_of(parts[0])
    for part in parts:
        differing = next((line for line in {*_run_of(part)} ^ {*wanted}), None)
        if differing is not None:
            raise ConfigError(
                f"{part.path.name} is of another run than {parts[0].path.name}: only one of them has {differing!r}."
            )
        if part.shard.input != parts[0].shard.input:
            raise ConfigError(
                f"{part.path.name} is a shard of another input than {parts[0].path.name}: the records that they were "
                "cut from differ (another file or version of it, other regions, or one is BCF and the other text). "
                "Score the shards of one input."
            )
    return parts


def _run_of(part: _Part) -> list[str]:
    return [line for line in part.lines if not line.startswith(_OF_ONE_RUN)]


def _whole(lines: Sequence[str]) -> list[str]:
    return [line for line in lines if not line.startswith(SHARD_LINE)]


def _merge_vcf(
    parts: Sequence[_Part],
    out: str | os.PathLike[str] | None,
    what: OutputOptions,
    contig_length: ContigLength | None,
) -> int:
    kind = what.type_for(out)
    assert kind in ("v", "z", "b", "u")
    n_records = 0
    with ExitStack() as stack:
        readers = [stack.enter_context(open_vcf(part.path, keep_bcf=kind in ("b", "u"))) for part in parts]
        dictionary = readers[0].dictionary
        if any(reader.dictionary != dictionary for reader in readers):
            raise ConfigError("the BCF shards number their keys differently; merge to VCF.gz (-O z) instead.")
        header = readers[0].header
        header = type(header)(tuple(_whole(header.meta)), header.columns)
        writer = VcfWriter(
            out,
            header,
            output_type=kind,
            write_index=what.write_index,
            index_format=what.index_format,
            dictionary=dictionary,
            contig_length=contig_length,
        )
        with writer as sink:
            for reader, part in zip(readers, parts, strict=True):
                n_of_part = 0
                if kind in ("v", "z") and reader.is_text and not what.write_index:
                    for line in reader.lines():
                        sink.copy(line)
                        n_of_part += 1
                else:
                    for record in reader:
                        sink.write(record, {})
                        n_of_part += 1
                if reader.lacks_line_end:
                    raise InputFileError(f"the last record of {part.path.name} is cut. {_AGAIN}")
                _check_whole(part, n_of_part, part.shard.written, "records")
                n_records += n_of_part
    return n_records


def _tsv_header(path: Path) -> Iterator[str]:
    """Yield the ``##`` lines and the line of column names."""
    with open_text(path, "table of scores") as text:
        for line in text:
            if not line.startswith("#"):
                return
            yield line.rstrip("\n")


def _merge_tsv(parts: Sequence[_Part], out: str | os.PathLike[str] | None, what: OutputOptions) -> int:
    compress = str(out or "").lower().endswith((".gz", ".bgz"))
    if what.write_index and not compress:
        raise ConfigError("an index can be written for a .tsv.gz file only; give -o NAME.tsv.gz.")
    index = what.index_format if what.write_index else None
    n_rows = 0
    with FileSink(out, compress=compress, index=index, preset="tsv") as sink:
        sink.write_header(("\n".join(_whole(parts[0].lines)) + "\n").encode("utf-8", "surrogateescape"))
        for part in parts:
            n_of_part = 0
            with open_text(part.path, "table of scores") as text:
                for line in text:
                    if not line.startswith("#"):
                        if not line.endswith("\n"):
                            raise InputFileError(f"the last row of {part.path.name} is cut. {_AGAIN}")
                        sink.write(line.encode("utf-8", "surrogateescape"))
                        n_of_part += 1
            _check_whole(part, n_of_part, part.shard.rows, "rows")
            n_rows += n_of_part
    return n_rows


def _merge_parquet(parts: Sequence[_Part], out: str | os.PathLike[str] | None) -> int:
    if out is None or str(out) == "-":
        raise ConfigError("Parquet cannot go to standard output; give -o NAME.parquet.")
    parquet = _parquet()
    lines = "\n".join(_whole(parts[0].lines)).encode("utf-8", "surrogateescape")
    schema = parquet.read_schema(parts[0].path).with_metadata({METADATA_KEY: lines})
    n_rows = 0
    with atomic_file(out) as temporary, parquet.ParquetWriter(temporary, schema) as writer:
        for part in parts:
            source = parquet.ParquetFile(part.path)
            _check_whole(part, source.metadata.num_rows, part.shard.rows, "rows")
            for number in range(source.num_row_groups):
                table = source.read_row_group(number)
                writer.write_table(table.replace_schema_metadata(schema.metadata))
                n_rows += table.num_rows
    return n_rows


def _check_whole(part: _Part, found: int, expected: int, what: str) -> None:
    if found != expected:
        fault = "it was cut, or is not whole" if found < expected else "it was changed"
        raise InputFileError(
            f"{part.path.name} has {found:,} {what} and its header says {expected:,}: {fault}. {_AGAIN}"
        )


def _parquet() -> Any:
    try:
        # Imported by name, so that type checking needs no pyarrow.
        return importlib.import_module("pyarrow.parquet")
    except ModuleNotFoundError as error:
        raise ConfigError("Parquet needs pyarrow: pip install 'genomix-fm[parquet]'.") from error
