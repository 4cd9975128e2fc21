"""Which assembly a genome is, by the lengths of its contigs, and whether two descriptions of one can be the same.

Lengths in bp of the chromosomes as the assemblies' own reports give them (NCBI, UCSC, SGD, FlyBase, WormBase). They
are unique to an assembly, whatever the contigs are called; mitochondria, which assemblies share, are left out.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from genomix_data.contigs import ContigNames
from genomix_data.errors import preview

_LENGTHS: dict[str, tuple[int, ...]] = {
    "GRCh37/hg19": (
        249250621, 243199373, 198022430, 191154276, 180915260, 171115067, 159138663, 146364022, 141213431, 135534747,
        135006516, 133851895, 115169878, 107349540, 102531392, 90354753, 81195210, 78077248, 59128983, 63025520,
        48129895, 51304566, 155270560, 59373566,
    ),
    "GRCh38/hg38": (
        248956422, 242193529, 198295559, 190214555, 181538259, 170805979, 159345973, 145138636, 138394717, 133797422,
        135086622, 133275309, 114364328, 107043718, 101991189, 90338345, 83257441, 80373285, 58617616, 64444167,
        46709983, 50818468, 156040895, 57227415,
    ),
    "T2T-CHM13v2.0/hs1": (
        248387328, 242696752, 201105948, 193574945, 182045439, 172126628, 160567428, 146259331, 150617247, 134758134,
        135127769, 133324548, 113566686, 101161492, 99753195, 96330374, 84276897, 80542538, 61707364, 66210255,
        45090682, 51324926, 154259566, 62460029,
    ),
    "NCBI36/hg18": (
        247249719, 242951149, 199501827, 191273063, 180857866, 170899992, 158821424, 146274826, 140273252, 63811651,
        62435964, 46944323, 49691432, 154913754,
    ),
    "GRCm38/mm10": (
        195471971, 182113224, 160039680, 156508116, 151834684, 149736546, 145441459, 129401213, 124595110, 130694993,
        122082543, 120129022, 120421639, 124902244, 104043685, 98207768, 94987271, 90702639, 61431566, 171031299,
        91744698,
    ),
    "GRCm39/mm39": (
        195154279, 181755017, 159745316, 156860686, 151758149, 149588044, 144995196, 130127694, 124359700, 130530862,
        121973369, 120092757, 120883175, 125139656, 104073951, 98008968, 95294699, 90720763, 61420004, 169476592,
        91455967,
    ),
    "R64/sacCer3": (
        230218, 813184, 316620, 1531933, 576874, 270161, 1090940, 562643, 439888, 745751, 666816, 1078177, 924431,
        784333, 1091291, 948066,
    ),
    "BDGP6/dm6": (23513712, 25286936, 28110227, 32079331, 1348131, 23542271, 3667352),
    "WBcel235/ce11": (15072434, 15279421, 13783801, 17493829, 20924180, 17718942),
}  # fmt: skip

_NAMES: dict[str, str] = {
    "GRCh37/hg19": r"GRCh37|hg19|b37|hs37(?:d5)?|g1k_v37|human_g1k|assembly19",
    "GRCh38/hg38": r"GRCh38|hg38|hs38(?:DH|d1)?|b38|assembly38",
    "T2T-CHM13v2.0/hs1": r"T2T|CHM13(?:v[0-9.]+)?|hs1",
    "NCBI36/hg18": r"NCBI36|hg18|b36",
    "GRCm38/mm10": r"GRCm38|mm10",
    "GRCm39/mm39": r"GRCm39|mm39",
    "R64/sacCer3": r"sacCer3|R64",
    "BDGP6/dm6": r"dm6|BDGP6",
    "WBcel235/ce11": r"WBcel235|ce11",
}
_PATTERNS = {
    build: re.compile(rf"(?<![A-Za-z0-9])(?:{names})(?![A-Za-z0-9])", re.IGNORECASE)
    for build, names in _NAMES.items()
}


def guess_build(lengths: Iterable[int | None]) -> str | None:
    """Return the assembly with the most contigs of these lengths, or None where no length is known.

    >>> guess_build([249250621, 16569])
    'GRCh37/hg19'
    """
    wanted = set(lengths)
    votes = {build: len(wanted.intersection(known)) for build, known in _LENGTHS.items()}
    best = max(votes, key=lambda build: votes[build])
    return best if votes[best] else None


def named_build(text: str) -> str | None:
    """Return the assembly that a piece of text names, or None where it names none or more than one.

    Args:
        text: A file name, a ``##reference`` line, an ``assembly=`` field.

    >>> named_build("##reference=file:///data/Homo_sapiens.GRCh38.dna.fa"), named_build("genome.fa")
    ('GRCh38/hg38', None)
    """
    found = [build for build, pattern in _PATTERNS.items() if pattern.search(text)]
    return found[0] if len(found) == 1 else None


def build_hint(vcf_contigs: Mapping[str, int | None], fasta_contigs: Mapping[str, int]) -> str:
    """Return a sentence on which assemblies the VCF and the FASTA seem to be of; empty where that is not known."""
    vcf_build = guess_build(vcf_contigs.values())
    fasta_build = guess_build(fasta_contigs.values())
    if vcf_build and fasta_build:
        return f" By the contig lengths the VCF is of {vcf_build} and the FASTA is {fasta_build}."
    if vcf_build:
        return f" By the contig lengths in its header the VCF is of {vcf_build}."
    return f" By its contig lengths the FASTA is {fasta_build}." if fasta_build else ""


def build_conflict(contigs: Mapping[str, int], genome: str, claim: str, claimant: str) -> str | None:
    """Return one sentence where a genome's contig lengths contradict the assembly that something else names.

    Args:
        contigs: Contigs of the genome and their lengths in bp.
        genome: What the genome is called in the sentence.
        claim: Text that may name an assembly; see `named_build`.
        claimant: Who says so, such as ``"your VCF"``.

    >>> build_conflict({"1": 249250621}, "ref.fa", "assembly=GRCh38", "your VCF")
    'ref.fa looks like GRCh37/hg19 by its contig lengths, but your VCF says GRCh38/hg38.'
    """
    looks_like, said = guess_build(contigs.values()), named_build(claim)
    if looks_like is None or said is None or looks_like == said:
        return None
    return f"{genome} looks like {looks_like} by its contig lengths, but {claimant} says {said}."


def fingerprint_differences(expected: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """Return what tells two genomes apart, a phrase each; empty where they are the same assembly.

    Contigs are matched in any spelling that `ContigNames` knows; the MD5 is compared where both have it.

    Args:
        expected: What `Genome.fingerprint` gave.
        found: Likewise, of the other genome.
    """
    names = ContigNames(found["contigs"])
    differences: list[str] = []
    matched: set[str] = set()
    missing: list[str] = []
    for name, length in expected["contigs"].items():
        other = names.resolve(name)
        if other is None:
            missing.append(name)
            continue
        matched.add(other)
        if found["contigs"][other] != length:
            differences.append(f"{name} has {found['contigs'][other]:,} bp, not {length:,}")
            continue
        digests = (expected.get("md5", {}).get(name), found.get("md5", {}).get(other))
        if None not in digests and digests[0] != digests[1]:
            differences.append(f"{name} has other bases (MD5 {digests[1]}, not {digests[0]})")
    extra = [name for name in found["contigs"] if name not in matched]
    if missing:
        differences.append(f"without {preview(missing)}")
    if extra:
        differences.append(f"{preview(extra)} more")
    return differences
