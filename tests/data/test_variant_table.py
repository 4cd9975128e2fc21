"""Tables of variants: TSV, CSV and Parquet in and out, and as input where a VCF is expected."""

import gzip
from pathlib import Path
from typing import Any

import pysam
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genomix_data.errors import GenomixError, InputFileError
from genomix_data.variant import Variant
from genomix_data.variant_table import read_variants, write_variants
from genomix_data.vcf import open_vcf

VARIANTS = [
    Variant("chr1", 100, "A", "G", "rs1"),
    Variant("chr2", 5, "AC", "A"),
    Variant("chrX", 7, "T", "TGG"),
]


def write(path: Path, text: str) -> Path:
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.tsv", "chrom\tpos\tref\talt\nchr1\t100\tA\tG\n"),
        (
            "a.tsv",
            "##genomixVersion=0\n##x\n#CHROM\tPOS\tID\tREF\tALT\tGMX_LLR\n\nchr1\t100\t.\tA\tG\t-1.5\n",
        ),
        ("a.tsv.gz", "#Chromosome\tRSID\tPosition\tReference\tAlternate\r\nchr1\t\t100\ta\tg\r\n"),
        ("a.csv", '\ufeffalt,ref,pos,chr,note\nG,A,100.0,chr1,"a, b"\n'),
        ("a.csv", "chrom;pos;ref;alt\r\nchr1;100;A;G\r\n"),
    ],
)
def test_headers_in_any_spelling(tmp_path: Path, name: str, text: str) -> None:
    path = write(tmp_path / name, text)
    assert read_variants(path) == [Variant("chr1", 100, "A", "G")]
    with open_vcf(path) as reader:
        (record,) = list(reader)
    assert (record.chrom, record.pos, record.ref.upper(), record.id) == ("chr1", 100, "A", ".")


variants = st.builds(
    Variant,
    st.sampled_from(["chr1", "X", "HLA-A*01:01"]),
    st.integers(1, 2**40),
    st.text("ACGTN", min_size=1, max_size=9),
    st.text("ACGT", min_size=1, max_size=9),
    st.none() | st.sampled_from(["rs1", "a;b"]),
)


@given(st.lists(st.tuples(variants, st.none() | st.floats(allow_nan=False)), min_size=1, max_size=20))
@settings(max_examples=40, deadline=None)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[Variant, float | None]]
) -> None:
    folder = tmp_path_factory.mktemp("table")
    given_variants, scores = [row[0] for row in rows], [row[1] for row in rows]
    for name in ("x.tsv", "x.tsv.gz"):
        write_variants(folder / name, given_variants, {"score": scores})
        assert read_variants(folder / name) == given_variants
    cells = [line.split("\t")[5] for line in (folder / "x.tsv").read_text().splitlines()[1:]]
    assert [None if cell == "." else float(cell) for cell in cells] == scores


def test_tsv_is_ready_for_tabix(tmp_path: Path) -> None:
    path = tmp_path / "x.tsv.gz"
    write_variants(path, VARIANTS)
    pysam.tabix_index(str(path), seq_col=0, start_col=1, end_col=1, meta_char="#", force=True)
    with pysam.TabixFile(str(path)) as table:
        assert list(table.fetch("chr2", 0, 10)) == ["chr2\t5\t.\tAC\tA"]


def test_parquet_keeps_types(tmp_path: Path) -> None:
    parquet: Any = pytest.importorskip("pyarrow.parquet", reason="the extra [parquet] is not installed")
    path = tmp_path / "x.parquet"
    write_variants(path, VARIANTS, {"llr": [-0.1, None, 1 / 3], "status": ["OK", "EDGE", "OK"]})
    assert read_variants(path) == VARIANTS
    table = parquet.read_table(path)
    types = {field.name: str(field.type) for field in table.schema}
    assert types == {
        "chrom": "string",
        "pos": "int64",
        "id": "string",
        "ref": "string",
        "alt": "string",
        "llr": "double",
        "status": "string",
    }
    assert table.column("llr").to_pylist() == [-0.1, None, 1 / 3]
    with open_vcf(path) as reader:
        assert [(r.chrom, r.pos, r.id, r.ref, r.alts) for r in reader] == [
            (v.chrom, v.pos, v.id or ".", v.ref, (v.alt,)) for v in VARIANTS
        ]


def test_a_table_of_records_keeps_what_is_no_variant(tmp_path: Path) -> None:
    path = write(
        tmp_path / "x.tsv", "chrom\tpos\tref\talt\nchr1\t5\tA\tC,<DEL>\n\nchr1\t6\t\tC\nchr1\tx\tA\tC\n"
    )
    with open_vcf(path, targets="chr1:1-9") as reader:
        stream = iter(reader)
        assert next(stream).alts == ("C", "<DEL>")
        second = next(stream)
        assert (second.ref, second.where) == (".", f"{path}:4")
        with pytest.raises(InputFileError, match=r"x\.tsv:5: POS is 'x'"):
            next(stream)
    with pytest.raises(InputFileError, match=r"x\.tsv:2: alt allele '<DEL>'"):
        read_variants(path)
    with pytest.raises(InputFileError, match="a table, which has no index"):
        open_vcf(path, regions="chr1")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("chrom\tstart\tref\talt\nchr1\t5\tA\tC\n", r"no column pos; it has chrom, start, ref, alt"),
        ("chrom\tchr\tpos\tref\talt\n1\t1\t5\tA\tC\n", "more than one column for chrom"),
        ("chrom\tpos\tref\talt\nchr1\t5\tA\n", r"x\.tsv:2: 3 cells, but the header has 4"),
        ("chrom\tpos\tref\talt\nchr1\t5.5\tA\tC\n", r"x\.tsv:2: position '5\.5'"),
        ("chrom\tpos\tref\talt\nchr1\t0\tA\tC\n", r"x\.tsv:2: position 0"),
        ("chrom\tpos\tref\talt\n", "has no rows"),
        ("", "is empty"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputFileError, match=message):
        read_variants(write(tmp_path / "x.tsv", text))


def test_columns_must_have_a_value_for_each_variant(tmp_path: Path) -> None:
    with pytest.raises(GenomixError, match="column 'llr' has 1 values for 3 variants"):
        write_variants(tmp_path / "x.tsv", VARIANTS, {"llr": [1.0]})
    assert not (tmp_path / "x.tsv").exists()
