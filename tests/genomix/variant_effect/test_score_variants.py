"""The score is a contract: equal to two whole forwards, alone and in any company."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from genomix.checkpoint.native import LoadedModel, save_model
from genomix.heads.classifier import SequenceClassifier
from genomix.models.hyenadna.config import HyenaDNAConfig
from genomix.models.hyenadna.model import HyenaDNA
from genomix.variant_effect import ScoreOptions, Status, VariantScore, score_variants
from genomix_data.alphabet import reverse_complement
from genomix_data.errors import (
    CheckpointError,
    ConfigError,
    GenomixError,
    ReferenceMismatchError,
    SequenceTooLongError,
)
from genomix_data.genome import Genome
from genomix_data.tokenizers import CharTokenizer
from genomix_data.variant import Variant
from tests.genomix.variant_effect.conftest import NaiveLlr, random_bases, write_fasta

WINDOW = 64
OPTIONS = ScoreOptions(window=WINDOW, device="cpu")
NATS = 1e-4  # of sums over 64 positions in fp32


def snv(sequences: dict[str, bytes], pos: int, chrom: str = "chr1") -> Variant:
    ref = chr(sequences[chrom][pos - 1]).upper()
    return Variant(chrom, pos, ref, "ACGT"["ACGT".index(ref) - 1])


def score_one(
    variant: Variant, genome: Genome, model: LoadedModel, options: ScoreOptions = OPTIONS
) -> VariantScore:
    (score,) = score_variants([variant], genome, model, options)
    return score


def upper_acgtn(letters: bytes) -> bytes:
    return bytes(base if base in b"ACGT" else ord("N") for base in letters.upper())


@pytest.mark.parametrize("pos", [33, 100, 500, 930, 1000, 1900])
def test_snv_equals_two_whole_forwards(
    pos: int, sequences: dict[str, bytes], genome: Genome, model: LoadedModel, naive_llr: NaiveLlr
) -> None:
    variant = snv(sequences, pos)
    ref = upper_acgtn(sequences["chr1"][pos - 1 - 32 : pos - 1 + 32])
    alt = ref[:32] + variant.alt.encode() + ref[33:]
    score = score_one(variant, genome, model)
    forward = naive_llr(ref, alt)
    backward = naive_llr(reverse_complement(ref), reverse_complement(alt))
    assert abs(forward - backward) > 0.01, "the test needs strands that differ"
    assert score.status is Status.OK
    assert score.llr_fwd == pytest.approx(forward, abs=NATS)
    assert score.llr_rc == pytest.approx(backward, abs=NATS)
    assert score.llr == pytest.approx((forward + backward) / 2, abs=NATS)


@pytest.mark.parametrize(
    ("ref_len", "alt"),
    [(1, "ACGTT"), (1, "GA"), (3, "A"), (20, "C"), (2, "GT"), (4, "TTA"), (2, "CAGCA")],
)
@pytest.mark.parametrize("pos", [33, 101, 1949, 1960])
def test_indels_and_mnvs_take_windows_of_equal_length(
    pos: int,
    ref_len: int,
    alt: str,
    sequences: dict[str, bytes],
    genome: Genome,
    model: LoadedModel,
    naive_llr: NaiveLlr,
) -> None:
    """The rule written out: same first base, the right flank gives or takes what the ALT allele changes."""
    contig = upper_acgtn(sequences["chr1"])
    ref = contig[pos - 1 : pos - 1 + ref_len].decode()
    shrink = ref_len - len(alt)
    start = min(pos - 1 - 32, len(contig) - WINDOW - max(shrink, 0))
    haplotype = contig[: pos - 1] + alt.encode() + contig[pos - 1 + ref_len :]
    windows = contig[start : start + WINDOW], haplotype[start : start + WINDOW]
    assert len(windows[0]) == len(windows[1]) == WINDOW
    score = score_one(Variant("chr1", pos, ref, alt), genome, model)
    assert score.llr_fwd == pytest.approx(naive_llr(*windows), abs=NATS)
    assert score.llr_rc == pytest.approx(naive_llr(*map(reverse_complement, windows)), abs=NATS)


@pytest.mark.parametrize("pos", [1, 2, 20, 1990, 2000])
def test_window_at_the_end_of_a_contig_is_shifted_and_whole(
    pos: int, sequences: dict[str, bytes], genome: Genome, model: LoadedModel, naive_llr: NaiveLlr
) -> None:
    variant = snv(sequences, pos)
    contig = upper_acgtn(sequences["chr1"])
    ref = contig[:WINDOW] if pos < 1000 else contig[-WINDOW:]
    offset = pos - 1 if pos < 1000 else pos - 1 - (len(contig) - WINDOW)
    alt = ref[:offset] + variant.alt.encode() + ref[offset + 1 :]
    score = score_one(variant, genome, model)
    assert score.status is Status.OK
    assert score.llr_fwd == pytest.approx(naive_llr(ref, alt), abs=NATS)
    assert score.llr_rc == pytest.approx(
        naive_llr(reverse_complement(ref), reverse_complement(alt)), abs=NATS
    )


def test_contig_shorter_than_the_window(
    sequences: dict[str, bytes], genome: Genome, model: LoadedModel, naive_llr: NaiveLlr
) -> None:
    contig = sequences["chr2"]
    deletion = Variant("chr2", 30, contig[29:33].decode(), contig[29:30].decode())
    alt = contig[:30] + contig[33:]
    score = score_one(deletion, genome, model)
    assert score.llr_fwd == pytest.approx(naive_llr(contig[: len(alt)], alt), abs=NATS)


def test_n_in_the_window_is_context_but_no_target(
    sequences: dict[str, bytes], genome: Genome, model: LoadedModel, naive_llr: NaiveLlr
) -> None:
    """Around the run of N at 701..720, and the R at 1201."""
    for pos in (690, 730, 1195):
        variant = snv(sequences, pos)
        ref = upper_acgtn(sequences["chr1"][pos - 33 : pos + 31])
        assert b"N" in ref
        alt = ref[:32] + variant.alt.encode() + ref[33:]
        assert score_one(variant, genome, model).llr_fwd == pytest.approx(naive_llr(ref, alt), abs=NATS)


def test_deletion_that_draws_n_into_the_window_scores_as_many_bases_on_both_sides(
    sequences: dict[str, bytes], genome: Genome, model: LoadedModel, naive_llr: NaiveLlr
) -> None:
    """REF window ends at base 699 just before the N; the deletion draws three N into the ALT window."""
    pos = 669
    contig = upper_acgtn(sequences["chr1"])
    ref, alt = contig[pos - 1 : pos + 3].decode(), contig[pos - 1 : pos].decode()
    start = pos - 1 - 32
    ref_window = contig[start : start + WINDOW]
    alt_window = (contig[start:pos] + contig[pos + 3 :])[:WINDOW]
    assert (ref_window.count(b"N"), alt_window.count(b"N")) == (0, 3)
    masked_ref = ref_window[:-3]  # the last three scored bases have no counterpart
    score = score_one(Variant("chr1", pos, ref, alt), genome, model)
    assert score.llr_fwd == pytest.approx(naive_llr(masked_ref, alt_window), abs=NATS)


def test_ref_and_alt_alike_score_zero_exactly(
    sequences: dict[str, bytes], genome: Genome, model: LoadedModel
) -> None:
    for pos in (1, 100, 710 - 20, 2000):
        base = chr(sequences["chr1"][pos - 1])
        score = score_one(Variant("chr1", pos, base, base), genome, model)
        assert (score.llr, score.llr_fwd, score.llr_rc) == (0.0, 0.0, 0.0)


def many_variants(sequences: dict[str, bytes]) -> list[Variant]:
    noise = random.Random(4)
    contig = upper_acgtn(sequences["chr1"])
    found = []
    for _ in range(60):
        pos = noise.randrange(1, 1980)
        ref = contig[pos - 1 : pos - 1 + noise.choice([1, 1, 1, 3])].decode()
        alt = "".join(noise.choice("ACGT") for _ in range(noise.choice([1, 1, 4])))
        if "N" not in ref:
            found.append(Variant("chr1", pos, ref, alt))
    return found


def test_score_is_the_same_alone_in_any_batch_and_in_any_order(
    sequences: dict[str, bytes], genome: Genome, model: LoadedModel
) -> None:
    variants = many_variants(sequences)
    assert len(variants) > 40
    expected = {variant: score_one(variant, genome, model) for variant in variants}
    assert sum(score.status is Status.OK for score in expected.values()) > 35
    shuffled = random.Random(5).sample(variants, len(variants))
    for batch_size in (1, 3, 64):
        options = replace(OPTIONS, batch_size=batch_size)
        for order in (variants, shuffled):
            for variant, score in zip(order, score_variants(order, genome, model, options), strict=True):
                alone = expected[variant]
                assert score.status is alone.status
                assert score.llr == (None if alone.llr is None else pytest.approx(alone.llr, abs=NATS))


def test_blocks_change_no_score(
    sequences: dict[str, bytes], genome: Genome, model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    variants = many_variants(sequences)
    whole = score_variants(variants, genome, model, replace(OPTIONS, batch_size=1))
    monkeypatch.setattr("genomix.variant_effect.score.BLOCK_RECORDS", 7)
    blocks = score_variants(variants, genome, model, replace(OPTIONS, batch_size=1))
    assert [score.status for score in blocks] == [score.status for score in whole]
    for here, there in zip(blocks, whole, strict=True):
        assert here.llr == (None if there.llr is None else pytest.approx(there.llr, abs=1e-5))


def test_threads_change_no_score(sequences: dict[str, bytes], genome: Genome, model: LoadedModel) -> None:
    options = replace(OPTIONS, batch_size=4)
    variants = many_variants(sequences)
    alone = score_variants(variants, genome, model, options)
    torch.set_num_threads(3)
    assert score_variants(variants, genome, model, options) == alone
    assert torch.get_num_threads() == 3


def test_other_strand_of_the_genome_gives_the_same_scores(
    tmp_path: Path, sequences: dict[str, bytes], genome: Genome, model: LoadedModel
) -> None:
    """An odd window has a middle, so the mirrored window is the same window."""
    mirrored = Genome(write_fasta(tmp_path / "rc.fa", {"chr1": reverse_complement(sequences["chr1"])}))
    options = replace(OPTIONS, window=65)
    for pos in (1, 40, 933, 1500, 2000):
        here = snv(sequences, pos)
        there = Variant("chr1", 2001 - pos, reverse_complement(here.ref), reverse_complement(here.alt))
        a, b = score_one(here, genome, model, options), score_one(there, mirrored, model, options)
        assert a.llr == pytest.approx(b.llr, abs=NATS)
        assert a.llr_fwd == pytest.approx(b.llr_rc, abs=NATS)


def test_mean_is_the_sum_over_the_scored_positions(
    sequences: dict[str, bytes], genome: Genome, model: LoadedModel
) -> None:
    variant = snv(sequences, 500)
    total, mean = (
        score_one(variant, genome, model),
        score_one(variant, genome, model, replace(OPTIONS, reduce="mean")),
    )
    assert mean.llr_fwd == pytest.approx((total.llr_fwd or 0.0) / (WINDOW - 1), rel=1e-9)


def test_forward_strand_only(sequences: dict[str, bytes], genome: Genome, model: LoadedModel) -> None:
    score = score_one(snv(sequences, 500), genome, model, replace(OPTIONS, strand="forward"))
    assert score.llr == score.llr_fwd
    assert score.llr_rc is None


def test_distinct_windows_run_once(sequences: dict[str, bytes], genome: Genome, model: LoadedModel) -> None:
    from genomix.variant_effect.assembly import Assembly
    from genomix.variant_effect.score import Scorer
    from genomix.variant_effect.site import Site

    ref = chr(sequences["chr1"][499])
    alts = tuple(sorted(set("ACGT") - {ref}))
    scorer = Scorer(genome, model, Assembly(genome, {}), OPTIONS)
    sites = [Site("chr1", 500, ref, alts, "a"), Site("1", 500, ref, (*alts, ref), "b")]
    list(scorer.score(sites, lambda site: site))
    assert scorer.n_windows == 2 * 4  # REF and three ALTs on each strand, whatever the spelling


def test_progress_counts_every_allele(
    sequences: dict[str, bytes], genome: Genome, model: LoadedModel
) -> None:
    variants = many_variants(sequences)
    done: list[float] = []
    score_variants(variants, genome, model, OPTIONS, progress=done.append)
    assert sum(done) == pytest.approx(len(variants))


@pytest.mark.parametrize(
    ("variant", "status"),
    [
        (Variant("chr9", 10, "A", "C"), Status.NO_CONTIG),
        (Variant("chr1", 5000, "A", "C"), Status.EDGE),
        (Variant("chr1", 705, "A", "C"), Status.REF_MISMATCH),
        (Variant("chr1", 705, "N", "C"), Status.NON_ACGT),
        (Variant("chr1", 100, "A", "N"), Status.NON_ACGT),
    ],
)
def test_what_cannot_be_scored(
    variant: Variant, status: Status, sequences: dict[str, bytes], genome: Genome, model: LoadedModel
) -> None:
    good = snv(sequences, 500)
    first, second = score_variants([variant, good], genome, model, OPTIONS)
    assert first == VariantScore(status)
    assert second.status is Status.OK


def test_wrong_assembly_stops(sequences: dict[str, bytes], genome: Genome, model: LoadedModel) -> None:
    def wrong(pos: int) -> Variant:
        base = chr(sequences["chr1"][pos - 1]).upper()
        return Variant("chr1", pos, "ACGT"["ACGT".index(base) - 1], base)

    with pytest.raises(
        ReferenceMismatchError, match=r"wrong assembly\? REF disagrees .* in 5 of the first 5 records"
    ):
        score_variants([wrong(pos) for pos in range(1, 6)], genome, model, OPTIONS)
    assert [s.status for s in score_variants([wrong(1)], genome, model, OPTIONS)] == [Status.REF_MISMATCH]
    mixed = [wrong(pos) if pos % 4 == 0 else snv(sequences, pos) for pos in range(1, 201)]
    with pytest.raises(ReferenceMismatchError, match=r"in 25 of the first 100"):
        score_variants(mixed, genome, model, OPTIONS)
    assert len(score_variants(mixed, genome, model, replace(OPTIONS, max_ref_mismatch=0.3))) == 200
    with pytest.raises(ReferenceMismatchError, match=r"chr1:4:.*the FASTA has"):
        score_variants(mixed, genome, model, replace(OPTIONS, check_ref="e"))


def test_no_contig_matches(genome: Genome, model: LoadedModel) -> None:
    with pytest.raises(
        ReferenceMismatchError, match=r"the VCF has chr8, chr9; the FASTA has chr1, chr2, chrM"
    ):
        score_variants([Variant("chr8", 1, "A", "C"), Variant("chr9", 1, "A", "C")], genome, model, OPTIONS)


@pytest.mark.parametrize(
    ("spelling", "chrom"), [("1", "chr1"), ("MT", "chrM"), ("chrMT", "chrM"), ("M", "chrM")]
)
def test_contig_spellings(
    spelling: str, chrom: str, sequences: dict[str, bytes], genome: Genome, model: LoadedModel
) -> None:
    variant = snv(sequences, 150, chrom)
    assert score_one(replace(variant, chrom=spelling), genome, model) == score_one(variant, genome, model)


def test_window_longer_than_the_context(
    genome: Genome, model: LoadedModel, sequences: dict[str, bytes]
) -> None:
    with pytest.raises(SequenceTooLongError, match=r"window of 129 bp .* 128 tokens .*--window 128"):
        score_one(snv(sequences, 500), genome, model, replace(OPTIONS, window=129))
    assert score_one(snv(sequences, 500), genome, model, replace(OPTIONS, window=128)).status is Status.OK


def test_classifier_is_refused(
    tmp_path: Path, genome: Genome, model: LoadedModel, sequences: dict[str, bytes]
) -> None:
    head = SequenceClassifier(model.hyenadna, 2)
    folder = save_model(head, tmp_path / "c", tokenizer=CharTokenizer(), provenance={}, card="x")
    with pytest.raises(CheckpointError, match="classifier"):
        score_variants([snv(sequences, 500)], genome, folder, OPTIONS)


def test_model_that_diverged_is_refused(tmp_path: Path, genome: Genome, sequences: dict[str, bytes]) -> None:
    broken = HyenaDNA(HyenaDNAConfig(d_model=16, n_layers=1, d_inner=32, l_max=128))
    with torch.no_grad():
        broken.backbone.ln_f.weight[3] = float("nan")
    folder = save_model(broken, tmp_path / "nan", tokenizer=CharTokenizer(), provenance={}, card="x")
    with pytest.raises(GenomixError, match="NaN"):
        score_variants([snv(sequences, 500)], genome, folder, OPTIONS)


def test_empty_list(genome: Genome, model: LoadedModel) -> None:
    assert score_variants([], genome, model, OPTIONS) == []


@pytest.mark.parametrize(
    "wrong",
    [{"window": 1}, {"batch_size": 0}, {"strand": "reverse"}, {"check_ref": "s"}, {"max_ref_mismatch": 2.0}],
)
def test_wrong_options(wrong: dict[str, object]) -> None:
    (name,) = wrong
    with pytest.raises(ConfigError, match=name):
        ScoreOptions(**wrong)  # type: ignore[arg-type]


@pytest.mark.gpu
def test_devices_agree(device: str, sequences: dict[str, bytes], genome: Genome, model: LoadedModel) -> None:
    variants = [snv(sequences, pos) for pos in range(100, 140)]
    here = score_variants(variants, genome, model.path, OPTIONS)
    there = score_variants(variants, genome, model.path, replace(OPTIONS, device=device))
    assert [b.llr for b in there] == pytest.approx([a.llr for a in here], abs=1e-3)


def test_bases_fetched_do_not_depend_on_neighbours(tmp_path: Path, model: LoadedModel) -> None:
    """Records far apart and out of order leave and re-enter the cached chunk."""
    contig = random_bases(200_000, 9)
    genome = Genome(write_fasta(tmp_path / "long.fa", {"c": contig}))
    places = [150_000, 10, 199_990, 65_536, 65_537, 131_072, 1]
    variants = [snv({"c": contig}, pos, "c") for pos in places]
    together = score_variants(variants, genome, model, replace(OPTIONS, batch_size=1))
    alone = [score_one(v, genome, model, replace(OPTIONS, batch_size=1)) for v in variants]
    assert [score.llr for score in together] == pytest.approx([score.llr for score in alone], abs=1e-5)
