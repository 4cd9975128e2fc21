"""Carry a VCF through the reader and the writer, and see that nothing is lost on the way."""

from collections import Counter
from pathlib import Path

from genomix_data.errors import GenomixError
from genomix_data.vcf import VcfRecord, VcfWriter, open_vcf

ANNOTATION = '##INFO=<ID=GMX_STATUS,Number=A,Type=String,Description="x">'


def carry(source: Path, out: Path) -> tuple[int, str]:
    """Write each record of ``source``, with one key added to INFO, to ``out``, and compare what can be read there.

    Returns:
        The number of records and the error that stopped it; the number is 0 where there is an error.
    """
    keep_bcf = out.suffix == ".bcf"
    try:
        before: list[list[bytes]] = []
        with open_vcf(source, keep_bcf=keep_bcf) as reader:
            header = reader.header.annotated([ANNOTATION])
            with VcfWriter(out, header, dictionary=reader.dictionary) as writer:
                for record in reader:
                    writer.write(record, {"GMX_STATUS": ["OK"]})
                    before.append(record.columns if isinstance(record, VcfRecord) else [])
    except GenomixError as error:
        assert not out.exists(), "an output was left behind"
        return 0, str(error)
    with open_vcf(out) as reader:
        after = list(reader)
        assert reader.header.meta[: len(header.meta) - 1] == header.meta[:-1] or keep_bcf
    assert len(after) == len(before)
    if not keep_bcf:
        for old, new in zip(before, after, strict=True):
            assert isinstance(new, VcfRecord)
            assert new.columns[:7] + new.columns[8:] == old[:7] + old[8:]
            assert _info_items(new.columns[7]) == _info_items(old[7])
    return len(after), ""


def _info_items(info: bytes) -> Counter[bytes]:
    """Return what INFO says, but for the key that was added."""
    return Counter(item for item in info.split(b";") if item not in (b"", b".", b"GMX_STATUS=OK"))
