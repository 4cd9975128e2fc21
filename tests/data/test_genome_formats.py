"""The same bases from 2bit, GenBank, EMBL, several files and folders as from FASTA."""

import gzip
import importlib.util
import multiprocessing
import os
import pickle
import struct
import sys
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genomix_data import samples
from genomix_data.errors import InputFileError
from genomix_data.genome import Genome
from genomix_data.genome_source import genome_files, open_source

Bases = dict[str, str]


def runs(flags: list[bool]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for i, flag in enumerate(flags):
        if flag and found and sum(found[-1]) == i:
            found[-1] = (found[-1][0], found[-1][1] + 1)
        elif flag:
            found.append((i, 1))
    return found


def two_bit(sequences: Bases, order: str = "<", version: int = 0) -> bytes:
    """The bytes of a 2bit file, from the description of the format."""
    records = []
    for sequence in sequences.values():
        gaps = runs([letter in "Nn" for letter in sequence])
        masks = runs([letter.islower() for letter in sequence])
        record = struct.pack(f"{order}I", len(sequence))
        for blocks in (gaps, masks):
            record += struct.pack(f"{order}I", len(blocks))
            record += struct.pack(f"{order}{len(blocks)}I", *(start for start, _ in blocks))
            record += struct.pack(f"{order}{len(blocks)}I", *(size for _, size in blocks))
        codes = ["TCAG".find(letter) & 3 if letter != "N" else 0 for letter in sequence.upper()]
        codes += [0] * (-len(codes) % 4)
        packed = bytes(
            codes[i] << 6 | codes[i + 1] << 4 | codes[i + 2] << 2 | codes[i + 3]
            for i in range(0, len(codes), 4)
        )
        records.append(record + struct.pack(f"{order}I", 0) + packed)
    offset = 16 + sum(5 + len(name) for name in sequences)
    index = b""
    for name, record in zip(sequences, records, strict=True):
        index += bytes([len(name)]) + name.encode() + struct.pack(f"{order}I", offset)
        offset += len(record)
    header = struct.pack(f"{order}IIII", 0x1A412743, version, len(sequences), 0)
    return header + index + b"".join(records)


needs_py2bit = pytest.mark.skipif(
    importlib.util.find_spec("py2bit") is None,
    reason="py2bit (extra twobit) is not installed",
)


@needs_py2bit
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sequences=st.lists(st.text(alphabet="ACGTNacgtn", min_size=1, max_size=90), min_size=1, max_size=4),
    data=st.data(),
)
def test_two_bit(tmp_path: Path, sequences: list[str], data: st.DataObject) -> None:
    named = {f"chr{i}": sequence for i, sequence in enumerate(sequences)}
    path = tmp_path / "x.2bit"
    path.write_bytes(two_bit(named))
    genome = Genome(path)
    assert genome.contigs == {name: len(sequence) for name, sequence in named.items()}
    for name, sequence in named.items():
        start = data.draw(st.integers(0, len(sequence)))
        end = data.draw(st.integers(start, len(sequence)))
        assert genome.fetch(name, start, end) == sequence[start:end].replace("n", "N").encode()
        assert genome.fetch(name, 0, len(sequence)) == sequence.replace("n", "N").encode()


def _read(genome: Genome) -> bytes:
    return genome.fetch("1", 2, 6)


@needs_py2bit
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_two_bit_in_workers(tmp_path: Path, method: str) -> None:
    path = tmp_path / "x.2bit"
    path.write_bytes(two_bit({"chr1": "ACGTacgtNN"}))
    genome = Genome(path)
    assert _read(genome) == b"GTac"
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map(_read, [genome] * 4) == [b"GTac"] * 4
    assert _read(pickle.loads(pickle.dumps(genome))) == b"GTac"


@needs_py2bit
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (two_bit({"a": "ACGT" * 50})[:-1], "the bases of a end at byte"),
        (two_bit({"a": "ACGT"})[:25], "the record of a lies outside the file"),
        (two_bit({"a": "ACGT"})[:18], "ends within its list of contigs"),
        (two_bit({"a": "ACGT"})[:12], "ends within its header"),
        (two_bit({"a": "ACGT"}).replace(b"\x01a", b"\x01\xff"), "a contig is called"),
        (two_bit({}), "is empty: it lists no contig"),
        (two_bit({"a": "ACGT"}, version=1), "is of version 1"),
        (two_bit({"a": "ACNNGT"}).replace(struct.pack("<II", 1, 2), struct.pack("<II", 1 << 30, 2)), "is damaged"),
    ],
)  # fmt: skip
def test_damaged_two_bit(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x.2bit"
    path.write_bytes(content)
    with pytest.raises(InputFileError, match=rf"2bit file .*{message}"):
        Genome(path)


def test_two_bit_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.2bit"
    path.write_bytes(two_bit({"a": "ACGT"}))
    monkeypatch.setitem(sys.modules, "py2bit", None)
    with pytest.raises(
        InputFileError, match=r"needs the package py2bit: `pip install 'genomix-fm\[twobit\]'`"
    ):
        Genome(path)


def fasta(path: Path, sequences: Bases) -> Path:
    path.write_text("".join(f">{name}\n{sequence}\n" for name, sequence in sequences.items()))
    return path


def test_several_files_are_one_genome(tmp_path: Path) -> None:
    one = fasta(tmp_path / "one.fa", {"chr1": "AACC"})
    two = fasta(tmp_path / "two.fa", {"chr2": "GGTT", "chrM": "AC"})
    genome = Genome([one, two], contig_map={"NC_2": "chr2"})
    assert genome.contigs == {"chr1": 4, "chr2": 4, "chrM": 2}
    assert [genome.fetch(name, 0, 2) for name in ("1", "NC_2", "MT")] == [b"AA", b"GG", b"AC"]
    assert genome.path == tmp_path
    fingerprint = genome.fingerprint(content=True)
    assert fingerprint["files"] == ["one.fa", "two.fa"]
    assert fingerprint["file_size"] == one.stat().st_size + two.stat().st_size
    assert list(fingerprint["md5"]) == ["chr1", "chr2", "chrM"]
    assert pickle.loads(pickle.dumps(genome)).fetch("chr2", 0, 4) == b"GGTT"
    assert Genome([one]).path == one


def test_folder_is_one_genome_in_natural_order(tmp_path: Path) -> None:
    folder = tmp_path / "genome"
    folder.mkdir()
    for name in ("chr10", "chr2", "chr1"):
        fasta(folder / f"{name}.fa", {name: "ACGT"})
    (folder / "README.txt").write_text("not a genome")
    (folder / ".hidden.fa").write_text("not FASTA")
    genome = Genome(folder)
    assert list(genome.contigs) == ["chr1", "chr2", "chr10"]
    assert genome.path == folder
    # The indexes that were just made are no genomes.
    assert [file.name for file in genome_files(folder)] == ["chr1.fa", "chr2.fa", "chr10.fa"]


def test_contig_in_two_files(tmp_path: Path) -> None:
    one, two = (fasta(tmp_path / f"{name}.fa", {"chr1": "AC", name: "A"}) for name in ("one", "two"))
    with pytest.raises(
        InputFileError, match=r"contig 'chr1' is in both .*one\.fa' and .*two\.fa'\. Rename it"
    ):
        Genome([one, two])


def genbank(sequences: dict[str, str], layout: str = "genbank") -> str:
    from Bio import SeqIO
    from Bio.Seq import Seq
    from Bio.SeqRecord import SeqRecord

    records = [
        SeqRecord(Seq(bases), id=name, name=name.split(".")[0], annotations={"molecule_type": "DNA"})
        for name, bases in sequences.items()
    ]
    out = StringIO()
    SeqIO.write(records, out, layout)
    return out.getvalue()


@pytest.mark.parametrize("layout", ["genbank", "embl"])
@pytest.mark.parametrize("packed", [False, True])
def test_record_files(tmp_path: Path, layout: str, packed: bool) -> None:
    phix = Genome(samples.path("phix174.fa.gz"))
    ((name, length),) = phix.contigs.items()
    bases = phix.fetch(name, 0, length).decode()
    text = genbank({"NC_001422.1": bases, "AB000001.2": "ACGTRYN"}, layout)
    path = tmp_path / ("x.gbk.gz" if packed else "x.gbk")
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    genome = Genome(path)
    assert genome.contigs == {"NC_001422.1": length, "AB000001.2": 7}
    assert genome.fetch("NC_001422.1", 100, 200).decode() == bases[100:200].upper()
    assert genome.fetch("AB000001", 0, 7) == b"ACGTRYN"
    assert genome.md5("NC_001422") == phix.md5(name)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda text: text[:-40], r"is (truncated|not a valid genbank file)"),
        (lambda text: text.replace("//", ""), "is truncated"),
        (lambda text: text + text, r"record 'A\.1' comes twice"),
        (
            lambda text: text[: text.index("ORIGIN")] + "CONTIG      join(B.1:1..160)\n//\n",
            "has no sequence in it",
        ),
        (lambda text: text.replace("acgtacgt", "acg!acgt"), "'!' at A.1:4 is not a nucleotide code"),
        (
            lambda text: text.replace("160 bp", "170 bp"),
            "is damaged: Expected sequence length 170, found 160",
        ),
        (lambda text: text[: text.index("\n")] + "\n", r"is (truncated|not a valid)"),
    ],
)
def test_damaged_genbank(tmp_path: Path, edit: object, message: str) -> None:
    path = tmp_path / "x.gb"
    path.write_text(edit(genbank({"A.1": "ACGTACGT" * 20})))  # type: ignore[operator]
    with pytest.raises(InputFileError, match=message):
        Genome(path)


def test_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.fa")
    with pytest.raises(InputFileError, match="is not a file that can be read at any place"):
        Genome(tmp_path / "pipe.fa")


def test_sources_say_what_they_are(tmp_path: Path) -> None:
    assert open_source(fasta(tmp_path / "x.2bit", {"a": "AC"})).contigs == {"a": 2}  # content, not suffix
    with pytest.raises(InputFileError, match="does not exist"):
        open_source(tmp_path / "none.gb")
