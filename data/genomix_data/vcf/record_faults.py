"""Columns of a VCF record that break the specification, beyond those that cannot be read at all."""

import math
import re
from collections.abc import Iterator, Mapping

from genomix_data.vcf.header_faults import CONTIG, Field
from genomix_data.vcf.record import VcfRecord
from genomix_data.vcf.reserved import NOT_NEGATIVE, RESERVED

_LETTERS = re.compile(r"[ACGTNacgtn]+")
_SYMBOLIC = re.compile(r"<[^<>\s,]+>")
_BREAKEND = re.compile(
    r"[ACGTNacgtn.]+(?:\[[^\[\]\s]+\[|\][^\[\]\s]+\])|(?:\[[^\[\]\s]+\[|\][^\[\]\s]+\])[ACGTNacgtn.]+"
    r"|\.[ACGTNacgtn]+|[ACGTNacgtn]+\."
)
_KEY = re.compile(r"[A-Za-z_][0-9A-Za-z_.]*")
_GENOTYPE = re.compile(r"[|/]?(?:\d+|\.)(?:[|/](?:\d+|\.))*")
_SMALLEST, _LARGEST = -(2**31) + 8, 2**31 - 1
_N_SAMPLES = 100


def record_faults(
    record: VcfRecord, info: Mapping[str, Field], formats: Mapping[str, Field], contigs: Mapping[str, object]
) -> Iterator[str]:
    """Yield what is wrong with a record; values are not quoted, so that the same fault counts as one.

    Args:
        record: A text record.
        info: Declared INFO keys.
        formats: Declared FORMAT keys.
        contigs: Declared contigs, which may have any name.
    """
    # <name> stands for a contig of the assembly file.
    name = record.chrom[1:-1] if record.chrom[:1] + record.chrom[-1:] == "<>" else record.chrom
    if name not in contigs and (not CONTIG.fullmatch(name) or ":" in name):
        yield "CHROM holds a letter that it may not"
    if record.pos < 0:
        yield "POS is negative"
    yield from _list_faults("ID", record.id)
    yield from _alleles(record)
    qual = record.columns[5].decode("utf-8", "replace")
    if qual != "." and not _is_number(qual, is_float=True, floor=0.0):
        yield "QUAL is not a number of at least 0"
    filters = record.columns[6].decode("utf-8", "replace")
    yield from _list_faults("FILTER", filters)
    if filters != "." and not {"0", "."}.isdisjoint(filters.split(";")):
        yield "FILTER has a value that it may not"
    yield from _info(record, info)
    if len(record.columns) > 8:
        yield from _samples(record, formats)


def _list_faults(column: str, text: str) -> Iterator[str]:
    items = text.split(";")
    if "" in items:
        yield f"{column} has an empty item"
    if len(set(items)) < len(items):
        yield f"{column} has an item twice"
    if any(letter.isspace() for letter in text):
        yield f"{column} has a white-space"


def _alleles(record: VcfRecord) -> Iterator[str]:
    if not _LETTERS.fullmatch(record.ref):
        yield "REF is not made of A, C, G, T and N"
    for alt in record.alts:
        if not (alt == "*" or any(kind.fullmatch(alt) for kind in (_LETTERS, _SYMBOLIC, _BREAKEND))):
            yield "ALT is neither letters, nor *, nor <symbolic>, nor a breakend"


def _info(record: VcfRecord, declared: Mapping[str, Field]) -> Iterator[str]:
    text = record.columns[7].decode("utf-8", "replace")
    if text == ".":
        return
    if any(letter.isspace() for letter in text):
        yield "INFO has a white-space"
    seen: set[str] = set()
    for item in text.rstrip(";").split(";"):
        key, equals, value = item.partition("=")
        if key in seen:
            yield f"INFO {key} comes twice"
        seen.add(key)
        if not (_KEY.fullmatch(key) or key == "1000G"):
            yield "INFO has a key with a letter that it may not have"
            continue
        number, type_ = RESERVED["INFO"].get(key) or declared.get(key, (".", "String"))
        if type_ == "Flag" or number == "0":
            if equals and value not in ("0", "1"):
                yield f"INFO {key} is a flag with a value"
            continue
        if value.startswith('"') or number == "G":
            continue  # a quoted text may hold commas; G has no meaning without a genotype
        values = value.split(",") if equals else []
        floor = 0.0 if key in NOT_NEGATIVE else -math.inf
        yield from _values(f"INFO {key}", values, number, type_, record, floor=floor)
        if key == "CIGAR" and any(not re.fullmatch(r"(?:\d+[MIDNSHPX=])+|\.", value) for value in values):
            yield "INFO CIGAR is not a CIGAR"


def _samples(record: VcfRecord, declared: Mapping[str, Field]) -> Iterator[str]:
    text, *samples = record.columns[8].split(b"\t", _N_SAMPLES + 1)
    keys = text.decode("utf-8", "replace").split(":")
    if keys == ["."] or (keys == [""] and not samples):
        return
    if not all(map(_KEY.fullmatch, keys)):
        yield "FORMAT has a key with a letter that it may not have"
    if len(set(keys)) < len(keys):
        yield "FORMAT has a key twice"
    if "GT" in keys[1:]:
        yield "FORMAT has GT, but not first"
    for sample in samples[:_N_SAMPLES]:
        values = sample.decode("utf-8", "replace").split(":")
        if len(values) > len(keys):
            yield "a sample has more values than FORMAT has keys"
        ploidy = 2
        for key, value in zip(keys, values, strict=False):
            if key == "GT":
                ploidy = len(re.split(r"[|/]", value.lstrip("|/")))
                yield from _genotype(value, len(record.alts))
            elif value != ".":
                number, type_ = RESERVED["FORMAT"].get(key) or declared.get(key, (".", "String"))
                number = declared.get(key, (number, ""))[0]
                yield from _values(f"FORMAT {key}", value.split(","), number, type_, record, ploidy)


def _genotype(value: str, n_alts: int) -> Iterator[str]:
    if not _GENOTYPE.fullmatch(value):
        yield "GT is not allele numbers parted by | or /"
    elif n_alts and any(
        part != "." and (len(part) > 9 or int(part) > n_alts)
        for part in re.split(r"[|/]", value.lstrip("|/"))
    ):
        yield "GT names an allele that is not there"


def _values(
    where: str,
    values: list[str],
    number: str,
    type_: str,
    record: VcfRecord,
    ploidy: int = 2,
    *,
    floor: float = -math.inf,
) -> Iterator[str]:
    n_alleles = len(record.alts) + 1
    wanted = {
        "A": n_alleles - 1,
        "R": n_alleles,
        "G": math.comb(n_alleles + ploidy - 1, ploidy) if ploidy < 20 else None,
    }.get(number, int(number) if number.isdecimal() and len(number) < 6 else None)
    # Without ALT alleles, files carry what stood there before the alleles were taken out.
    is_countable = record.alts or number.isdecimal()
    if wanted is not None and is_countable and len(values) != wanted and values != ["."]:
        yield f"{where} has another number of values than it is declared with"
    if type_ in ("Integer", "Float") and any(
        value != "." and not _is_number(value, is_float=type_ == "Float", floor=floor) for value in values
    ):
        yield f"{where} is not a number of the type or range that it should have"
    if type_ == "Character" and any(len(value) > 1 for value in values):
        yield f"{where} is not one character"


def _is_number(text: str, *, is_float: bool, floor: float) -> bool:
    if not text.isascii() or len(text) > 400 or "_" in text or text != text.strip():
        return False
    try:
        value = float(text) if is_float else int(text)
    except ValueError:
        return False
    return not value < floor and (is_float or _SMALLEST <= value <= _LARGEST)
