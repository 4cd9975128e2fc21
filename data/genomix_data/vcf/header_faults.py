"""Lines of a VCF header that break the specification. They do no harm, because genomix carries them as they are."""

import re
from collections.abc import Iterator

from genomix_data.vcf.header import VcfHeader
from genomix_data.vcf.reserved import RESERVED

Field = tuple[str, str]

CONTIG = re.compile(r"[0-9A-Za-z!#$%&+./:;?@^_|~-][0-9A-Za-z!#$%&*+./:;=?@^_|~-]*")
_FILE_FORMAT = re.compile(r"##fileformat=VCFv4\.\d")
_LINE = re.compile(r"##([^=<>\s]+)=(.+)")
_FIELD = re.compile(r'([^=,<>"\s]+)=("(?:[^"\\]|\\.)*"|\[[^\]]*\]|[^,"]*)')
_URL = re.compile(r"\w+://[^/]*[A-Za-z.][^/]*(?:/.*)?")
_STRUCTURED = re.compile(r"<[^=,<>\"]+=")
_ALT = re.compile(r'<ID=([^<>,\s]+),Description="(?:[^"\\]|\\.)*"((?:,[^=,<>\s]+=[^,]*)*)>')
_NUMBER = re.compile(r"\d+|[ARG.]")
_TYPES = {
    "INFO": {"Integer", "Float", "Flag", "Character", "String"},
    "FORMAT": {"Integer", "Float", "Character", "String"},
    "META": {"Integer", "Float", "Character", "String"},
}
_ORDER = {
    "INFO": ("ID", "Number", "Type", "Description"),
    "FORMAT": ("ID", "Number", "Type", "Description"),
    "META": ("ID",),
    "FILTER": ("ID", "Description"),
}
_ALT_KINDS = ("DEL", "INS", "DUP", "INV", "CNV", "BND")
_NEEDS_ID = (*_ORDER, "contig", "SAMPLE", "PEDIGREE")


def header_faults(header: VcfHeader) -> Iterator[str]:
    """Yield what is wrong with a header, a sentence for each line."""
    if not (header.meta and _FILE_FORMAT.fullmatch(header.meta[0])):
        yield "the first line is not ##fileformat=VCFv4.x"
    for line in header.meta:
        match = _LINE.fullmatch(line.rstrip())
        if match is None:
            yield f"header line {_short(line)} is not ##key=value"
        elif match[1] in ("assembly", "pedigreeDB"):
            if not _URL.fullmatch(match[2].strip("<>")):
                yield f"{match[1]} is not a URL"
        elif match[1] == "ALT":
            yield from _alt(match[2])
        elif match[1] in _NEEDS_ID or _STRUCTURED.match(match[2]):
            yield from _structured(match[1], match[2])
    samples = header.columns[9:]
    if len(set(samples)) < len(samples):
        yield "a sample name comes twice"
    if len(header.columns) > 8 and (header.columns[8] != "FORMAT" or not samples):
        yield "the #CHROM line goes on without FORMAT and samples after INFO"


def declarations(header: VcfHeader, kind: str) -> dict[str, Field]:
    """Return ``{ID: (Number, Type)}`` of the INFO or FORMAT lines that can be read."""
    found: dict[str, Field] = {}
    for line in header.meta:
        if line.startswith(f"##{kind}=<"):
            fields = dict(_FIELD.findall(line.removeprefix(f"##{kind}=<")))
            if "ID" in fields:
                found[fields["ID"]] = (fields.get("Number", "."), fields.get("Type", "String"))
    return found


def _structured(kind: str, value: str) -> Iterator[str]:
    fields = _fields(value)
    if fields is None:
        yield f"{kind} line {_short(value)} is not <key=value,...> with every quote closed"
        return
    values = dict(fields)
    where = f"{kind} {values.get('ID', '')}".rstrip()
    if kind in _NEEDS_ID and not values.get("ID") and "Name_0" not in values:
        yield f"{kind} line without ID"
    order = _ORDER.get(kind, ())
    if tuple(key for key, _ in fields[: len(order)]) != order:
        yield f"{where}: expected {', '.join(order)} in this order"
    description = values.get("Description", '""')
    if not (len(description) > 1 and description[0] == description[-1] == '"'):
        yield f"{where}: Description is not in double quotes"
    if "Number" in values and not _NUMBER.fullmatch(values["Number"]):
        yield f"{where}: Number={values['Number']}"
    if kind in _TYPES and values.get("Type", "String") not in _TYPES[kind]:
        yield f"{where}: Type={values['Type']}"
    if kind == "META" and not values.get("Values", "[").startswith("["):
        yield f"{where}: Values are not in square brackets"
    if kind in ("contig", "SAMPLE") and not CONTIG.fullmatch(values.get("ID", "x")):
        yield f"{kind} ID {values.get('ID')!r} holds a letter that it may not"
    number, type_ = RESERVED.get(kind, {}).get(values.get("ID", ""), ("", ""))
    if (number and values.get("Number") != number) or (type_ and values.get("Type") != type_):
        yield f"{where} is a reserved key with Number={number}" + (f" and Type={type_}" if type_ else "")


def _alt(value: str) -> Iterator[str]:
    match = _ALT.fullmatch(value.rstrip())
    if match is None:
        yield f'ALT line {_short(value)} is not <ID=kind,Description="...">'
        return
    kind, *below = match[1].split(":")
    if below and kind not in _ALT_KINDS:
        yield f"ALT {match[1]}: kinds with a kind below them are {', '.join(_ALT_KINDS)}"
    if re.search(r",(?:Number|Type)=", match[2]):
        yield f"ALT {match[1]} has a Number or Type, which only INFO and FORMAT have"


def _fields(value: str) -> list[Field] | None:
    """Return the pairs of ``<key=value,...>``, or None where it has another form."""
    body = value.rstrip()
    if not (body.startswith("<") and body.endswith(">")):
        return None
    found: list[Field] = []
    place, end = 1, len(body) - 1
    while place < end:
        match = _FIELD.match(body, place, end)
        if match is None or (not match[2].startswith(('"', "[")) and re.search(r'[\s"]', match[2])):
            return None
        found.append((match[1], match[2]))
        place = match.end()
        if place < end:
            if body[place] != "," or place + 1 == end:
                return None
            place += 1
    return found


def _short(text: str, limit: int = 40) -> str:
    return repr(text if len(text) <= limit else f"{text[:limit]}...")
