"""Scores from a cache are those that were computed, for the same bases, model and settings, and for no others."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from genomix.checkpoint.native import LoadedModel, load_model
from genomix.variant_effect import (
    OutputOptions,
    ScoreOptions,
    Status,
    VariantScore,
    score_variants,
    score_vcf,
)
from genomix.variant_effect.assembly import Assembly
from genomix.variant_effect.cache_keys import identity_of
from genomix.variant_effect.score import Scorer, open_cache
from genomix.variant_effect.score_cache import ScoreCache
from genomix.variant_effect.site import Site
from genomix_data.genome import Genome
from genomix_data.variant import Variant
from tests.genomix.variant_effect.conftest import random_bases, write_fasta
from tests.genomix.variant_effect.test_scores import head_folder

NATS = 1e-4
WINDOW = 64
OPTIONS = ScoreOptions(window=WINDOW, device="cpu")
MODES = [
    OPTIONS,
    replace(OPTIONS, horizon=8),
    replace(OPTIONS, mode="tiled", stride=20),
    replace(OPTIONS, strand="forward", reduce="mean"),
    replace(OPTIONS, scores=("llr", "entropy")),
    replace(OPTIONS, scores=("llr", "cos", "l2")),
]
NAMES = ["exact", "horizon", "tiled", "forward mean", "entropy", "distances"]


def variants_of(letters: bytes, seed: int = 0, chrom: str = "chr1") -> list[Variant]:
    """Return SNVs, MNVs and indels all over a contig, its ends too."""
    rng = np.random.default_rng(seed)
    found = []
    for pos in (1, 2, len(letters) - 1, len(letters), *rng.integers(3, len(letters) - 8, 26).tolist()):
        ref_len = int(rng.choice([1, 1, 1, 2, 4])) if 2 < pos < len(letters) - 8 else 1
        ref = letters[pos - 1 : pos - 1 + ref_len].decode()
        alt = "".join(rng.choice(list("ACGT"), int(rng.choice([1, 1, 1, 3]))))
        found.append(Variant(chrom, pos, ref, alt if alt != ref else "ACGT"["ACGT".index(ref[0]) - 1]))
    return found


def scored(
    genome: Genome, model: LoadedModel, options: ScoreOptions, cache: Path | None
) -> list[VariantScore]:
    letters = genome.fetch("chr1", 0, genome.contigs["chr1"])
    return score_variants(variants_of(letters), genome, model, options, cache=cache)


@pytest.fixture(scope="module")
def contig() -> bytes:
    return random_bases(600, 17)


@pytest.fixture(scope="module")
def genome_of(tmp_path_factory: pytest.TempPathFactory, contig: bytes) -> Genome:
    return Genome(write_fasta(tmp_path_factory.mktemp("g") / "g.fa", {"chr1": contig}))


def count_scored(
    genome: Genome, model: LoadedModel, options: ScoreOptions, cache: Path, variants: list[Variant]
) -> tuple[int, int, int]:
    """Return alleles from the cache, those that were not there, and the windows that were run."""
    with open_cache(cache, model) as kept:
        scorer = Scorer(genome, model, Assembly(genome, {}), options, cache=kept)
        sites = [Site(v.chrom, v.pos, v.ref, (v.alt,), str(v)) for v in variants]
        counts = [block.counts for block in scorer.score_blocks(sites, lambda site: site)]
    return (
        sum(each["from_cache"] for each in counts),
        sum(each["not_in_cache"] for each in counts),
        scorer.n_windows,
    )


@pytest.mark.parametrize("options", MODES, ids=NAMES)
def test_a_hit_is_the_score_that_was_computed(
    options: ScoreOptions, model: LoadedModel, genome_of: Genome, tmp_path: Path
) -> None:
    without = scored(genome_of, model, options, None)
    assert scored(genome_of, model, options, tmp_path) == without, "filled beside the same variants"
    assert scored(genome_of, model, options, tmp_path) == without, "to the last bit"
    variants = variants_of(genome_of.fetch("chr1", 0, 600))
    n_ok = sum(score.status is Status.OK for score in without)
    assert n_ok > 20
    assert count_scored(genome_of, model, options, tmp_path, variants) == (n_ok, 0, 0)


@pytest.mark.parametrize("options", MODES[:3], ids=NAMES[:3])
def test_only_what_is_new_is_run(
    options: ScoreOptions, model: LoadedModel, genome_of: Genome, contig: bytes, tmp_path: Path
) -> None:
    """More variants of the same file, in another order and beside others: contract and counts hold."""
    variants = variants_of(contig)
    score_variants(variants[::2], genome_of, model, options, cache=tmp_path)
    found = score_variants(variants[::-1], genome_of, model, options, cache=tmp_path)[::-1]
    for score, fresh in zip(found, score_variants(variants, genome_of, model, options), strict=True):
        assert score.status is fresh.status
        assert score.llr == pytest.approx(fresh.llr, abs=NATS)


def test_names_and_files_do_not_matter_but_bases_do(
    model: LoadedModel, genome_of: Genome, contig: bytes, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    scored(genome_of, model, OPTIONS, cache)
    # in the middle of a longer contig of another name: all whose windows lie inside are known
    there = random_bases(500, 3) + contig + random_bases(500, 4)
    other = Genome(write_fasta(tmp_path / "other.fa", {"9": there}))
    inner = [v for v in variants_of(contig) if WINDOW < v.pos < 600 - WINDOW]
    moved = [Variant("9", v.pos + 500, v.ref, v.alt) for v in inner]
    assert count_scored(other, model, OPTIONS, cache, moved) == (len(inner), 0, 0)
    lower = Genome(write_fasta(tmp_path / "lower.fa", {"9": there.lower()}))
    assert count_scored(lower, model, OPTIONS, cache, moved)[0] == len(inner)


@pytest.mark.parametrize("options", MODES[:3], ids=NAMES[:3])
def test_a_base_that_differs_is_noticed_wherever_it_lies(
    options: ScoreOptions, model: LoadedModel, contig: bytes, tmp_path: Path
) -> None:
    """One cache for genomes that differ in a base here and there, N too: each score is that of its own genome."""
    rng = np.random.default_rng(2)
    for number in range(4):
        letters = bytearray(contig)
        for at in rng.integers(0, 600, 12 * number):
            letters[at] = rng.choice(list(b"ACGTN"))
        genome = Genome(write_fasta(tmp_path / f"{number}.fa", {"chr1": bytes(letters)}))
        variants = [
            Variant(v.chrom, v.pos, ref, v.alt)
            for v in variants_of(contig, seed=5)
            if (ref := bytes(letters)[v.pos - 1 : v.pos - 1 + len(v.ref)].decode()) != v.alt
            and "N" not in ref
        ]
        fresh = score_variants(variants, genome, model, options)
        found = score_variants(variants, genome, model, options, cache=tmp_path / "cache")
        for variant, a, b in zip(variants, found, fresh, strict=True):
            assert a.status is b.status, variant
            assert (a.llr, a.ref_ll) == pytest.approx((b.llr, b.ref_ll), abs=NATS), variant


@pytest.mark.parametrize("options", MODES[:4], ids=NAMES[:4])
def test_alleles_that_share_a_ref_window(
    options: ScoreOptions, model: LoadedModel, genome_of: Genome, contig: bytes, tmp_path: Path
) -> None:
    """All SNVs near the ends, and of a tile, and all sorts of alleles at one place: no two have one key."""
    places = [*range(1, 25), *range(290, 320), *range(580, 601)]
    variants = [
        Variant("chr1", pos, chr(contig[pos - 1]), alt)
        for pos in places
        for alt in "ACGT"
        if alt != chr(contig[pos - 1])
    ]
    ref = contig[299:303].decode()
    for n_ref in (1, 2, 3, 4):
        variants += [
            Variant("chr1", 300, ref[:n_ref], alt)
            for alt in ("G", "GT", "TG", "GTT", "GTA", "AGTA", "AGTT", ref[0])
            if alt != ref[:n_ref]
        ]
    fresh = score_variants(variants, genome_of, model, options)
    for _ in range(2):
        found = score_variants(variants, genome_of, model, options, cache=tmp_path)
        assert [score.llr for score in found] == pytest.approx([score.llr for score in fresh], abs=NATS)


def test_bases_that_only_one_window_has(model: LoadedModel, contig: bytes, tmp_path: Path) -> None:
    """A deletion draws in bases from beyond the REF window: they are in its key."""
    ref = contig[299:320].decode()
    found, fresh = [], []
    for number, beyond in enumerate((contig, contig[:335] + random_bases(10, 6) + contig[345:])):
        genome = Genome(write_fasta(tmp_path / f"{number}.fa", {"chr1": beyond}))
        deletion = [Variant("chr1", 300, ref, ref[0])]
        found += score_variants(deletion, genome, model, OPTIONS, cache=tmp_path / "cache")
        fresh += score_variants(deletion, genome, model, OPTIONS)
    assert found == fresh
    assert abs(float(fresh[0].llr or 0) - float(fresh[1].llr or 0)) > 100 * NATS


OTHERS = [
    replace(OPTIONS, window=62),
    replace(OPTIONS, horizon=8),
    replace(OPTIONS, mode="tiled"),
    replace(OPTIONS, strand="forward"),
    replace(OPTIONS, reduce="mean"),
    replace(OPTIONS, dtype="bfloat16"),
    replace(OPTIONS, shares=False),
    replace(OPTIONS, scores=("llr", "entropy")),
    replace(OPTIONS, scores=("llr", "cos")),
    replace(OPTIONS, scores=("llr", "cos"), layer="backbone.layers.0"),
]


def test_every_setting_that_changes_a_number_has_its_own_scores(
    model: LoadedModel, genome_of: Genome, contig: bytes, tmp_path: Path
) -> None:
    variants = variants_of(contig)[4:12]
    heads = [
        replace(OPTIONS, scores=("head",), head=str(head_folder(tmp_path, "classifier")), head_class=name)
        for name in ("open", "closed")
    ]
    for options in (OPTIONS, *OTHERS, *heads):
        n_found, n_new, _ = count_scored(genome_of, model, options, tmp_path / "cache", variants)
        assert (n_found, n_new) == (0, len(variants)), options


@pytest.mark.parametrize(
    "same",
    [
        replace(OPTIONS, scores=("abs", "ref_ll", "alt_ll")),
        replace(OPTIONS, batch_size=3),
        replace(OPTIONS, check_ref="x", max_ref_mismatch=0.5),
        replace(OPTIONS, shares=True),
    ],
    ids=["other scores", "batches", "check_ref", "shares"],
)
def test_what_changes_no_number_shares_scores(
    same: ScoreOptions, model: LoadedModel, genome_of: Genome, contig: bytes, tmp_path: Path
) -> None:
    variants = variants_of(contig)[4:12]
    count_scored(genome_of, model, OPTIONS, tmp_path, variants)
    assert count_scored(genome_of, model, same, tmp_path, variants) == (len(variants), 0, 0)


def test_models_differ_by_weights_config_and_precision(
    model: LoadedModel, model_folder: Path, tmp_path: Path
) -> None:
    found = {
        identity_of(model),
        identity_of(replace(model, sha256="1" * 64)),
        identity_of(replace(model, config=replace(model.config, l_max=64))),  # type: ignore[arg-type]
        identity_of(load_model(model_folder, dtype=torch.bfloat16)),
    }
    assert len(found) == 4
    assert identity_of(load_model(model_folder)) == identity_of(model)
    names = set()
    for identity in found:
        with ScoreCache(tmp_path, identity) as cache:
            names.add(cache.path.name)
    assert len(names) == 4, "a file for each model"


ROWS = ("chr1\t100\ta\t{r}\t{x}\t.\t.\t.\tGT\t0|1", "chr1\t300\tb\t{r}\t{x},{r}TT,*\t.\t.\t.\tGT\t1|2")


@pytest.fixture
def vcf(contig: bytes, tmp_path: Path) -> Path:
    """An SNV, and a record of an SNV, an insertion and a star."""
    rows = []
    for row in ROWS:
        ref = chr(contig[int(row.split("\t")[1]) - 1])
        rows.append(row.format(r=ref, x="ACGT"["ACGT".index(ref) - 1]))
    head = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tme\n"
    (tmp_path / "in.vcf").write_text(head + "\n".join(rows) + "\n")
    return tmp_path / "in.vcf"


def test_a_file_is_the_same_from_the_cache(
    vcf: Path, model: LoadedModel, genome_of: Genome, tmp_path: Path
) -> None:
    """Also where it is resumed, normalized, or scored on haplotypes that have no neighbours in the windows."""
    cache, out = tmp_path / "cache", tmp_path / "out.tsv"
    what = OutputOptions(per_strand=True)

    def run(
        options: ScoreOptions = OPTIONS, source: Path = vcf, resume: bool = False
    ) -> tuple[int, int, str]:
        summary = score_vcf(source, genome_of, model, out, options, output=what, cache=cache, resume=resume)
        assert summary.to_dict()["alleles_from_cache"] == summary.from_cache
        rows = [line for line in out.read_text().splitlines() if not line.startswith("##")]
        return summary.from_cache, summary.not_in_cache, "\n".join(rows)

    assert run()[:2] == (0, 3)
    first = out.read_text()
    known, new, rows = run(resume=True)
    assert (known, new) == (3, 0)
    assert rows == "\n".join(line for line in first.splitlines() if not line.startswith("##"))
    assert run(replace(OPTIONS, normalize=True))[:2] == (3, 0)
    # the sample carries two alleles at the second place, and none in the windows of the first
    assert run(replace(OPTIONS, haplotypes=True)) == (3, 0, rows)


def test_an_snv_beside_an_indel_is_the_snv_alone(
    model: LoadedModel, genome_of: Genome, contig: bytes, tmp_path: Path
) -> None:
    ref = chr(contig[299])
    alt = "ACGT"["ACGT".index(ref) - 1]
    with open_cache(tmp_path, model) as kept:
        scorer = Scorer(genome_of, model, Assembly(genome_of, {}), OPTIONS, cache=kept)
        both = [
            Site("chr1", 300, ref, (alt, ref + "TT"), "both"),
            Site("chr1", 300, ref, (alt,), "alone"),
        ]
        [[(_, mixed)]] = [list(scorer.score(both[:1], lambda site: site))]
        [block] = scorer.score_blocks(both[1:], lambda site: site)
    assert block.counts["from_cache"] == 1
    assert block.records[0][1] == mixed[:1]


def test_blocks_made_and_scored_side_by_side(
    model: LoadedModel, genome_of: Genome, contig: bytes, tmp_path: Path
) -> None:
    """As on a GPU: a thread plans, and looks up, while another scores, and adds."""
    sites = [Site(v.chrom, v.pos, v.ref, (v.alt,), str(v)) for v in variants_of(contig, seed=8)] * 80
    found = []
    for _ in range(2):
        with open_cache(tmp_path, model) as kept:
            scorer = Scorer(genome_of, model, Assembly(genome_of, {}), OPTIONS, cache=kept)
            scorer._overlaps = True
            found.append([scores for _, scores in scorer.score(sites, lambda site: site)])
    assert found[1][: len(sites) // 80] == found[0][: len(sites) // 80]
    for a, b in zip(*found, strict=True):
        assert a[0].llr == pytest.approx(b[0].llr, abs=NATS)


def test_z_is_taken_anew(
    model: LoadedModel, genome_of: Genome, contig: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    variants = variants_of(contig)[4:12]
    calibrated = replace(OPTIONS, scores=("llr", "z"), background=20)
    count_scored(genome_of, model, OPTIONS, tmp_path / "cache", variants)
    found = score_variants(variants, genome_of, model, calibrated, cache=tmp_path / "cache")
    assert found == score_variants(variants, genome_of, model, calibrated)
