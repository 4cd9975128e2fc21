"""The official protocol of Evo 2 by name: its scores are those of the official ``score_sequences``."""

from pathlib import Path

import pytest
import torch

from genomix.checkpoint.native import LoadedModel, load_model, save_model
from genomix.inference.score_sequences import score_sequences
from genomix.models.hyenadna.config import HyenaDNAConfig
from genomix.models.hyenadna.model import HyenaDNA
from genomix.variant_effect import ScoreOptions, score_variants, score_vcf
from genomix_data.errors import ConfigError
from genomix_data.genome import Genome
from genomix_data.tokenizers import ByteTokenizer, CharTokenizer
from genomix_data.variant import Variant
from genomix_data.vcf import open_vcf
from tests.genomix.stripedhyena2_golden import official_model, values
from tests.genomix.variant_effect.conftest import random_bases, write_fasta

GOLDEN = values("tiny_scores.json")
EVO2 = ScoreOptions.of_protocol("evo2", device="cpu", scores=("llr", "ref_ll", "alt_ll"))


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    folder = tmp_path_factory.mktemp("official") / "m"
    return load_model(
        save_model(official_model(), folder, tokenizer=ByteTokenizer(), provenance={}, card="x")
    )


def test_golden_scores(tmp_path: Path, official: LoadedModel) -> None:
    """On a contig that is a golden sequence, the REF window is that sequence, and so is its score."""
    expected = GOLDEN["scores"]["equal_len|bos=False,reduce=mean"]
    contigs = {
        f"c{i}": letters.encode() for i, letters in enumerate(GOLDEN["equal_len"]) if letters.isupper()
    }
    assert len(contigs) == 2
    genome = Genome(write_fasta(tmp_path / "g.fa", contigs))
    variants = [
        Variant(name, 30, chr(letters[29]), "ACGT"["ACGT".index(chr(letters[29])) - 1])
        for name, letters in contigs.items()
    ]
    scores = score_variants(variants, genome, official, EVO2)
    for i, (variant, score) in enumerate(zip(variants, scores, strict=True)):
        letters = contigs[variant.chrom].decode()
        mutated = letters[:29] + variant.alt + letters[30:]
        by_api = score_sequences(official_model(), ByteTokenizer(), [letters, mutated], reduce="mean")
        assert score.ref_ll == pytest.approx(expected[i], rel=1e-5, abs=2e-4)
        assert score.ref_ll == pytest.approx(by_api[0], abs=1e-5)
        assert score.alt_ll == pytest.approx(by_api[1], abs=1e-5)
        assert score.llr == pytest.approx(by_api[1] - by_api[0], abs=1e-5)
        assert score.llr_rc is None


def test_windows_of_the_study(tmp_path: Path) -> None:
    """ref = chrom[p - 4096 : p + 4096] with p = pos - 1, the variant at index 4,096; alt by substitution."""
    torch.manual_seed(0)
    model = HyenaDNA(
        HyenaDNAConfig(d_model=8, n_layers=1, d_inner=8, l_max=8192, initializer_range=0.5)
    ).eval()
    folder = save_model(model, tmp_path / "m", tokenizer=CharTokenizer(), provenance={}, card="x")
    contig = random_bases(9000, 5)
    genome = Genome(write_fasta(tmp_path / "g.fa", {"chr17": contig}))
    p = 4500
    alt = "ACGT"["ACGT".index(chr(contig[p])) - 1]
    (score,) = score_variants([Variant("chr17", p + 1, chr(contig[p]), alt)], genome, folder, EVO2)
    ref = contig[p - 4096 : p + 4096].decode()
    windows = [ref, ref[:4096] + alt + ref[4097:]]
    assert len(ref) == 8192
    expected = score_sequences(model, CharTokenizer(), windows, reduce="mean")
    assert [score.ref_ll, score.alt_ll] == pytest.approx(expected.tolist(), abs=1e-6)


def test_the_header_names_it_and_nothing_contradicts_it(tmp_path: Path, official: LoadedModel) -> None:
    write_fasta(tmp_path / "g.fa", {"c": random_bases(100, 1)})
    vcf = tmp_path / "in.vcf"
    vcf.write_text("##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n")
    score_vcf(vcf, tmp_path / "g.fa", official, tmp_path / "out.vcf", EVO2)
    with open_vcf(tmp_path / "out.vcf") as reader:
        (line,) = [line for line in reader.header.meta if line.startswith("##genomixModel")]
    assert "Context=8192,Strand=forward,Reduce=mean" in line
    assert line.endswith("Protocol=evo2>")
    with pytest.raises(ConfigError, match="protocol evo2 has reduce=mean, but reduce=sum"):
        ScoreOptions.of_protocol("evo2", reduce="sum")
    with pytest.raises(ConfigError, match="there is evo2"):
        ScoreOptions.of_protocol("evo1")
