"""What is fed with damaged files. A target may succeed or raise `GenomixError`; anything else is a fault."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pysam
import pysam.bcftools

from genomix_data.bed import read_bed
from genomix_data.errors import GenomixError
from genomix_data.genome import Genome
from genomix_data.haplotypes import read_haplotypes
from genomix_data.interval import Interval
from genomix_data.regions import Regions
from genomix_data.variant_table import read_variants
from genomix_data.vcf import open_vcf
from genomix_data.vcf.conformance import check_vcf
from tests.data.tricky import carry
from tests.fuzz.mutations import bgzip, mutate, mutate_packed

FIXTURES = Path(__file__).parent.parent / "fixtures" / "vcf"
_LETTERS = b"ACGTACCATGNNacgtRYKM" * 6
FASTAS = (
    b">chr1 first\n" + b"\n".join(_LETTERS[i : i + 30] for i in range(0, 120, 30)) + b"\n>chr2\nACGT\n",
    b">chr1\r\nACGTN\r\nACG\r\n>chrM\r\nTTTT\r\n",
    b">only\n" + _LETTERS,
)
BEDS = (
    b"chr1\t0\t10\ttrain\nchr1\t20\t40\tvalid\t1.5\t+\nchr2\t1\t4\ttest\t.\t-\n",
    b"#comment\ntrack name=x\nchrom\tstart\tend\nchr1 5 9\nchrM\t0\t4\tname\t0\t.\t0\t4\t0\t1\t4,\t0,\r\n",
)
REGIONS = (b"chr1:1-5,chr2", b"1:1,000-2,000,chrX:7-,{HLA:1}:5", b"^chr1:5")
TABLES = (
    b"##x\n#CHROM\tPOS\tID\tREF\tALT\tGMX_LLR\nchr1\t5\t.\tA\tC,G\t-1.5\nchr2\t7\trs1\tAC\t<DEL>\t.\n",
    b'chr,pos,ref,alt,note\r\n1,100.0,A,G,"a, ""b"""\r\n1,7,ACG,A,\r\n',
)
PHASED = (
    b"##fileformat=VCFv4.2\n##contig=<ID=chr1,length=120>\n"
    b"#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tONE\n"
    b"chr1\t3\t.\tG\tA,GTT\t.\t.\tEND=3\tGT:PS\t1|2:3\nchr1\t5\t.\tACC\tA\t.\t.\t.\tGT\t0|1\n"
    b"chr1\t9\t.\tT\t<DEL>\t.\t.\tEND=12\tGT\t1|1\nchr1\t13\t.\ta\tc\t.\t.\t.\tGT\t1/1\n"
)


@dataclass(frozen=True, slots=True)
class Target:
    """A reader under test.

    Attributes:
        suffix: Of the file that it is given.
        make: Gives the bytes of case ``seed``.
        run: Reads the file; the folder is free for other files.
    """

    suffix: str
    make: Callable[[int], bytes]
    run: Callable[[Path], None]


def _read_genome(path: Path) -> None:
    with Genome(path) as genome:
        for name, length in genome.contigs.items():
            assert len(genome.fetch(name, 0, length)) == length
            genome.fetch_window(name, -3, length + 3)


def _read_genome_with_damaged_index(path: Path) -> None:
    """``path`` is a ``.fai``; the FASTA beside it is whole."""
    fasta = path.with_suffix("")
    fasta.write_bytes(FASTAS[0])
    path.touch()
    _read_genome(fasta)


def _read_variants(path: Path) -> None:
    for name in ("out.vcf", "out.bcf"):
        out = path.with_name(name)
        out.unlink(missing_ok=True)
        carry(path, out)
    check_vcf(path)


def _read_binary_variants(path: Path) -> None:
    _read_variants(path)
    with open_vcf(path) as reader:
        assert sum(len(record.alts) for record in reader) >= 0


def _read_with_damaged_index(path: Path) -> None:
    """``path`` is a ``.csi`` or ``.tbi``; the VCF.gz beside it is whole."""
    vcf = path.with_suffix("")
    vcf.write_bytes(INDEXED[0])
    path.touch()
    for regions in ("chr1", "chr1:500-900,chr2:1-100000"):
        with open_vcf(vcf, regions=regions) as reader:
            assert all(record.chrom in ("chr1", "chr2") for record in reader)


def _read_regions(path: Path) -> None:
    Regions.parse(path.read_bytes().decode("latin-1"))


def _read_table(path: Path) -> None:
    with open_vcf(path) as reader:
        assert all(record.where for record in reader)
    read_variants(path)


def _read_phased(path: Path) -> None:
    fasta = path.with_name("genome.fa")
    if not fasta.exists():
        fasta.write_bytes(FASTAS[0])
    pair = read_haplotypes(path, Genome(fasta), Interval("chr1", 2, 100))
    for haplotype in (pair.first, pair.second):
        assert len(haplotype.bases) == len(haplotype.positions)


def _read_region_files(path: Path) -> None:
    """A file of regions in either layout."""
    read_bed_error: GenomixError | None = None
    try:
        Regions.read(path)
    except GenomixError as error:
        read_bed_error = error
    read_bed(path)
    assert read_bed_error is None or path.suffix != ".bed"


def _indexed() -> tuple[bytes, bytes, bytes]:
    """Return a VCF.gz of a few hundred records in many blocks, its CSI and its TBI."""
    import tempfile

    head = b"##fileformat=VCFv4.2\n##contig=<ID=chr1>\n##contig=<ID=chr2>\n"
    rows = [
        b"%s\t%d\t.\tA\tC\t.\t.\tX=%d" % (chrom, 1 + 400 * i, i * 7919 % 997)
        for chrom in (b"chr1", b"chr2")
        for i in range(200)
    ]
    text = head + b"#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n" + b"\n".join(rows) + b"\n"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.vcf.gz"
        path.write_bytes(bgzip(text, 900))
        pysam.bcftools.index("--csi", str(path))
        pysam.bcftools.index("--tbi", str(path))
        return path.read_bytes(), Path(f"{path}.csi").read_bytes(), Path(f"{path}.tbi").read_bytes()


def _texts() -> list[bytes]:
    return [path.read_bytes() for path in sorted(FIXTURES.glob("*.vcf"))]


def _binaries() -> list[bytes]:
    return [path.read_bytes() for path in sorted(FIXTURES.glob("*.bcf"))]


def _unpacked(packed: Sequence[bytes]) -> list[bytes]:
    import gzip

    return [gzip.decompress(data) for data in packed]


INDEXED = _indexed()
TARGETS: dict[str, Target] = {
    "fasta": Target(".fa", partial(mutate, corpus=FASTAS), _read_genome),
    "fasta_gz": Target(".fa.gz", partial(mutate_packed, corpus=FASTAS), _read_genome),
    "fai": Target(
        ".fa.fai",
        partial(mutate, corpus=[b"chr1\t120\t12\t30\t31\nchr2\t4\t143\t4\t5\n"]),
        _read_genome_with_damaged_index,
    ),
    "vcf": Target(".vcf", partial(mutate, corpus=_texts()), _read_variants),
    "vcf_gz": Target(".vcf.gz", partial(mutate_packed, corpus=_texts()), _read_variants),
    "bcf": Target(".bcf", partial(mutate, corpus=_binaries()), _read_binary_variants),
    "bcf_gz": Target(".bcf", partial(mutate_packed, corpus=_binaries()), _read_binary_variants),
    "csi": Target(
        ".vcf.gz.csi", partial(mutate_packed, corpus=_unpacked([INDEXED[1]])), _read_with_damaged_index
    ),
    "tbi": Target(
        ".vcf.gz.tbi", partial(mutate_packed, corpus=_unpacked([INDEXED[2]])), _read_with_damaged_index
    ),
    "bed": Target(".bed", partial(mutate, corpus=BEDS), _read_region_files),
    "regions": Target(".txt", partial(mutate, corpus=REGIONS), _read_regions),
    "table": Target(".tsv", partial(mutate, corpus=TABLES), _read_table),
    "phased": Target(".vcf", partial(mutate, corpus=[PHASED]), _read_phased),
}
