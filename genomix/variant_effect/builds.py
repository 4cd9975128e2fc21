"""Which assembly a set of contig lengths belongs to, for messages only.

Lengths in bp of the numbered chromosomes and X, Y as the assemblies' own reports give them.
"""

from collections.abc import Iterable, Mapping

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
    "NCBI36/hg18": (247249719, 242951149, 199501827, 191273063),
    "GRCm38/mm10": (195471971, 182113224, 160039680, 156508116),
    "GRCm39/mm39": (195154279, 181755017, 159745316, 156860686),
}  # fmt: skip


def guess_build(lengths: Iterable[int | None]) -> str | None:
    """Return the assembly with the most contigs of these lengths, or None where no length is known."""
    wanted = set(lengths)
    votes = {build: len(wanted.intersection(known)) for build, known in _LENGTHS.items()}
    best = max(votes, key=lambda build: votes[build])
    return best if votes[best] else None


def build_hint(vcf_contigs: Mapping[str, int | None], fasta_contigs: Mapping[str, int]) -> str:
    """Return a sentence on which assemblies the VCF and the FASTA seem to be of; empty where that is not known."""
    vcf_build = guess_build(vcf_contigs.values())
    fasta_build = guess_build(fasta_contigs.values())
    if vcf_build and fasta_build:
        return f" By the contig lengths the VCF is of {vcf_build} and the FASTA is {fasta_build}."
    if vcf_build:
        return f" By the contig lengths in its header the VCF is of {vcf_build}."
    return f" By its contig lengths the FASTA is {fasta_build}." if fasta_build else ""
