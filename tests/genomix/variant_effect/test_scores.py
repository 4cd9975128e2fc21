"""Scores beyond the ratio: each against its definition on whole forwards, in every mode that shares work."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from genomix.checkpoint.native import LoadedModel, load_model, save_model
from genomix.heads.build import HeadModel
from genomix.heads.classifier import SequenceClassifier
from genomix.heads.targets import SequenceRegressor
from genomix.heads.token_classifier import TokenClassifier
from genomix.models.hyenadna.config import HyenaDNAConfig
from genomix.models.hyenadna.model import HyenaDNA
from genomix.models.stripedhyena2.config import StripedHyena2Config
from genomix.models.stripedhyena2.model import StripedHyena2
from genomix.variant_effect import ScoreOptions, Status, VariantScore, score_variants, score_vcf
from genomix.variant_effect.background import Background, draw, variant_class
from genomix.variant_effect.columns import columns_of
from genomix_data.alphabet import reverse_complement
from genomix_data.errors import CheckpointError, ConfigError
from genomix_data.genome import Genome
from genomix_data.tokenizers import ByteTokenizer, CharTokenizer
from genomix_data.variant import Variant

WINDOW = 64
NATS = 1e-4
OPTIONS = ScoreOptions(window=WINDOW, device="cpu")
MODES = [
    OPTIONS,
    replace(OPTIONS, shares=False),
    replace(OPTIONS, reduce="mean"),
    replace(OPTIONS, strand="forward"),
    replace(OPTIONS, mode="tiled", stride=20),
]


@pytest.fixture(scope="module")
def striped(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    torch.manual_seed(5)
    model = StripedHyena2(
        StripedHyena2Config(
            pattern="SMLA", d_model=32, n_heads=2, d_inner=64, context_len=128, n_groups=8, mr_filter_len=32
        )
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2 and "filter" not in name:
                parameter.mul_(2.0)
    folder = tmp_path_factory.mktemp("striped") / "m"
    return load_model(save_model(model, folder, tokenizer=ByteTokenizer(), provenance={}, card="For tests."))


def snv(sequences: dict[str, bytes], pos: int, chrom: str = "chr1") -> Variant:
    ref = chr(sequences[chrom][pos - 1]).upper()
    return Variant(chrom, pos, ref, "ACGT"["ACGT".index(ref) - 1])


def alleles(sequences: dict[str, bytes]) -> list[Variant]:
    """Return SNVs in the middle, at both ends, beside N, and indels."""
    places = (1, 2, 20, 500, 501, 690, 1980, 2000)
    found = [snv(sequences, pos) for pos in places]
    ref = sequences["chr1"][299:303].decode()
    return [*found, Variant("chr1", 300, ref, ref[0]), Variant("chr1", 300, ref[0], ref[0] + "ACG")]


def log_p(model: LoadedModel, window: bytes) -> NDArray[np.float64]:
    """Return the log-softmax at each position of a window, of one whole forward: ``(L, V)``."""
    ids = torch.from_numpy(model.tokenizer.encode(window).astype(np.int64))
    with torch.inference_mode():
        return torch.log_softmax(model.language_model(ids[None])[0].double(), dim=-1).numpy()


def windows_of(variant: Variant, contig: bytes) -> tuple[bytes, bytes, int]:
    """Return REF and ALT window of an SNV and where it is in them, by the rule: both begin WINDOW // 2 before it."""
    first = variant.pos - 1
    start = min(max(0, first - WINDOW // 2), len(contig) - WINDOW)
    upper = contig.upper().replace(b"R", b"N")
    ref = upper[start : start + WINDOW]
    offset = first - start
    return ref, ref[:offset] + variant.alt.encode() + ref[offset + 1 :], offset


@pytest.mark.parametrize("family", ["hyenadna", "stripedhyena2"])
def test_likelihoods_and_entropy_are_those_of_whole_forwards(
    family: str, model: LoadedModel, striped: LoadedModel, sequences: dict[str, bytes], genome: Genome
) -> None:
    loaded = model if family == "hyenadna" else striped
    variants = [snv(sequences, pos) for pos in (1, 20, 500, 690, 2000)]
    options = replace(OPTIONS, scores=("ref_ll", "alt_ll", "entropy"))
    bases = list(loaded.tokenizer.acgt_ids)
    for variant, score in zip(variants, score_variants(variants, genome, loaded, options), strict=True):
        ref, alt, offset = windows_of(variant, sequences["chr1"])
        sums: dict[str, list[float]] = {"ref": [], "alt": []}
        entropies = []
        for is_rc in (False, True):
            at = WINDOW - 1 - offset if is_rc else offset
            for name, window in (("ref", ref), ("alt", alt)):
                letters = reverse_complement(window) if is_rc else window
                found = log_p(loaded, letters)
                ids = loaded.tokenizer.encode(letters)
                scored = [t for t in range(1, WINDOW) if letters[t] != ord("N")]
                sums[name].append(sum(found[t - 1, ids[t]] for t in scored))
                if name == "ref" and at:
                    p = np.exp(found[at - 1, bases])
                    entropies.append(float(-(p / p.sum() * np.log(p / p.sum())).sum()))
        assert score.ref_ll == pytest.approx(np.mean(sums["ref"]), abs=NATS)
        assert score.alt_ll == pytest.approx(np.mean(sums["alt"]), abs=NATS)
        assert score.entropy == pytest.approx(np.mean(entropies), abs=NATS)


@pytest.mark.parametrize("options", MODES)
def test_kinds_of_work_agree(
    options: ScoreOptions,
    model: LoadedModel,
    striped: LoadedModel,
    sequences: dict[str, bytes],
    genome: Genome,
) -> None:
    """Arrays of substitutions, alleles one by one (which cos asks for), batches and families: one set of numbers."""
    variants = alleles(sequences)
    wanted = replace(options, scores=("llr", "ref_ll", "alt_ll", "entropy"))
    one_by_one = replace(wanted, scores=(*wanted.scores, "cos", "l2"))
    for loaded in (model, striped):
        fast = score_variants(variants, genome, loaded, wanted)
        slow = score_variants(variants, genome, loaded, one_by_one)
        alone = [
            score_variants([each], genome, loaded, replace(wanted, batch_size=1))[0] for each in variants[:4]
        ]
        assert all(score.status is Status.OK for score in fast)
        for a, b in [*zip(fast, slow, strict=True), *zip(fast[:4], alone, strict=True)]:
            for name in ("llr", "llr_fwd", "llr_rc", "ref_ll", "alt_ll", "entropy"):
                assert getattr(a, name) == pytest.approx(getattr(b, name), abs=NATS), name
            assert a.llr == pytest.approx(float(a.alt_ll or 0) - float(a.ref_ll or 0), abs=NATS)


def test_entropy_needs_a_base_before(model: LoadedModel, sequences: dict[str, bytes], genome: Genome) -> None:
    options = replace(OPTIONS, strand="forward", scores=("entropy",))
    first, second = score_variants([snv(sequences, 1), snv(sequences, 2)], genome, model, options)
    assert first.entropy is None
    assert second.entropy is not None
    assert 0.0 < second.entropy <= math.log(4)


@pytest.mark.parametrize("layer", [None, "backbone.layers.0", "backbone.layers.1.mlp"])
def test_distances_of_embeddings(
    layer: str | None, model: LoadedModel, sequences: dict[str, bytes], genome: Genome
) -> None:
    variant = snv(sequences, 500)
    options = replace(OPTIONS, strand="forward", scores=("cos", "l2"), layer=layer)
    score = score_variants([variant], genome, model, options)[0]
    outputs: list[torch.Tensor] = []
    module = model.language_model if layer is None else model.language_model.get_submodule(layer)
    with torch.inference_mode():
        for window in windows_of(variant, sequences["chr1"])[:2]:
            ids = torch.from_numpy(model.tokenizer.encode(window).astype(np.int64))[None]
            if layer is None:
                outputs.append(model.language_model.hidden_states(ids)[0])
                continue
            handle = module.register_forward_hook(lambda _m, _i, out: outputs.append(out[0]))
            model.language_model(ids)
            handle.remove()
    ref, alt = (each.double().mean(0) for each in outputs)
    assert score.l2 == pytest.approx(float((alt - ref).norm()), rel=1e-3)
    cosine = float(torch.nn.functional.cosine_similarity(ref, alt, dim=0))
    assert score.cos == pytest.approx(1 - cosine, rel=1e-3, abs=1e-9)
    assert score.cos is not None
    assert score.cos > 0


def test_layer_that_is_not_there(model: LoadedModel, genome: Genome) -> None:
    with pytest.raises(ConfigError, match=r"no layer 'backbone\.layer\.0'.*Did you mean"):
        score_variants([], genome, model, replace(OPTIONS, scores=("cos",), layer="backbone.layer.0"))


def head_folder(tmp_path: Path, kind: str) -> Path:
    torch.manual_seed(2)
    backbone = HyenaDNA(HyenaDNAConfig(d_model=16, n_layers=1, d_inner=32, l_max=WINDOW))
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.mul_(3.0)
    head = {} if "regressor" in kind else {"class_names": ["closed", "open"]}
    model: HeadModel
    if "regressor" in kind:
        model = SequenceRegressor(backbone, 1, link="log" if kind == "log regressor" else "identity")
    else:
        model = {"classifier": SequenceClassifier, "tokens": TokenClassifier}[kind](backbone, 2)
    return save_model(model, tmp_path / kind, tokenizer=CharTokenizer(), head=head, provenance={}, card="x")


@pytest.mark.parametrize("kind", ["classifier", "regressor", "log regressor"])
def test_difference_of_a_fine_tuned_model(
    kind: str, tmp_path: Path, model: LoadedModel, sequences: dict[str, bytes], genome: Genome
) -> None:
    folder = head_folder(tmp_path, kind)
    variants = [snv(sequences, 500), snv(sequences, 600)]
    options = replace(OPTIONS, scores=("llr", "head"), head=str(folder))
    scores = score_variants(variants, genome, model, options)
    fine_tuned = load_model(folder).head_model
    for variant, score in zip(variants, scores, strict=True):
        found = []
        for window in windows_of(variant, sequences["chr1"])[:2]:
            for letters in (window, reverse_complement(window)):
                ids = torch.from_numpy(CharTokenizer().encode(letters).copy())[None]
                with torch.inference_mode():
                    out = fine_tuned(ids).double()
                number = out.exp()[0, 0] if kind == "log regressor" else out[0, 0]
                found.append(float(number if "regressor" in kind else out.softmax(1)[0, 1]))
        assert score.head == pytest.approx((found[2] - found[0] + found[3] - found[1]) / 2, abs=1e-6)
        assert score.head
    if kind == "classifier":
        other = score_variants(variants, genome, model, replace(options, head_class="closed"))
        assert [score.head for score in other] == pytest.approx(
            [-float(score.head or 0) for score in scores], abs=1e-6
        )


def test_scores_of_a_class_beside_exact_ones(
    tmp_path: Path, model: LoadedModel, sequences: dict[str, bytes], fasta: Path
) -> None:
    variant = snv(sequences, 500)
    vcf = tmp_path / "in.vcf"
    columns = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"
    vcf.write_text(
        f"##fileformat=VCFv4.2\n{columns}\nchr1\t{variant.pos}\t.\t{variant.ref}\t{variant.alt}\t.\t.\t.\n"
    )
    head = str(head_folder(tmp_path, "classifier"))
    options = replace(OPTIONS, horizon=4, scores=("llr", "head"), head=head, head_class="closed")
    summary = score_vcf(vcf, fasta, model, tmp_path / "out.vcf", options)
    assert summary.against_exact is not None
    assert summary.against_exact.alleles == 1


def test_fine_tuned_models_that_do_not_serve(tmp_path: Path, model: LoadedModel, genome: Genome) -> None:
    options = replace(OPTIONS, scores=("head",), head=str(head_folder(tmp_path, "tokens")))
    with pytest.raises(CheckpointError, match="a class for each base"):
        score_variants([], genome, model, options)
    with pytest.raises(CheckpointError, match="language model"):
        score_variants([], genome, model, replace(options, head=str(model.path)))
    known = replace(options, head=str(head_folder(tmp_path, "classifier")), head_class="shut")
    with pytest.raises(ConfigError, match=r"no output 'shut'.*closed, open.*--head-class"):
        score_variants([], genome, model, known)


@pytest.mark.parametrize(
    ("ref", "alt", "context", "expected"),
    [
        ("C", "T", b"ACG", "A[C>T]G"),
        ("G", "A", b"CGT", "A[C>T]G"),
        ("T", "G", b"TTT", "T[T>G]T"),
        ("A", "C", b"AAA", "T[T>G]T"),
        ("A", "C", b"NAA", None),
        ("A", "C", b"", None),
        ("A", "AC", b"", "insertion 1"),
        ("ACGT", "A", b"", "deletion 3-4"),
        ("A" * 40, "A", b"", "deletion 17+"),
        ("AC", "GT", b"", None),
    ],
)
def test_variant_class(ref: str, alt: str, context: bytes, expected: str | None) -> None:
    assert variant_class(ref, alt, context) == expected


def test_z_and_rank(
    tmp_path: Path,
    model: LoadedModel,
    sequences: dict[str, bytes],
    genome: Genome,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """z and rank against the background scored here; a second run reads the cache, another model makes its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    variants = alleles(sequences)
    plain_options = replace(OPTIONS, window=20, strand="forward")
    options = replace(plain_options, scores=("llr", "z", "rank"), background=20)
    scores = score_variants(variants, genome, model, options)
    drawn = draw(genome, 20, longest=20 // 4)
    plain = score_variants(
        [Variant(site.chrom, site.pos, site.ref, site.alts[0]) for _, site in drawn],
        genome,
        model,
        plain_options,
    )
    for variant, score in zip(variants, scores, strict=True):
        start = variant.pos - 2
        context = sequences["chr1"][start : start + 3].upper() if start >= 0 else b""
        name = variant_class(variant.ref, variant.alt, context if len(context) == 3 else b"")
        of_class = [
            each.llr for (other, _), each in zip(drawn, plain, strict=True) if other == name and each.llr
        ]
        if len(of_class) < 20:
            assert score.z is None
            assert score.rank is None
            continue
        values = np.array(of_class)
        assert score.llr is not None
        assert score.z == pytest.approx((score.llr - values.mean()) / values.std(ddof=1), abs=1e-3)
        assert score.rank == pytest.approx(np.mean(values < score.llr), abs=0.03)
    assert any(score.z is not None for score in scores)
    (kept,) = (tmp_path / "genomix" / "backgrounds").iterdir()
    changed = kept.stat().st_mtime_ns
    assert score_variants(variants, genome, model, options) == scores
    score_variants(variants[:1], genome, model, replace(options, reduce="mean"))
    assert kept.stat().st_mtime_ns == changed
    assert len(list(kept.parent.iterdir())) == 2


def test_background_is_drawn_from_the_genome(sequences: dict[str, bytes], genome: Genome) -> None:
    first, second = draw(genome, 30, longest=16), draw(genome, 30, longest=16)
    assert first == second
    names = [name for name, _ in first]
    assert max(map(names.count, set(names))) == 30
    for name, site in first:
        found = sequences[site.chrom][site.pos - 1 : site.pos - 1 + len(site.ref)].decode().upper()
        assert site.ref == found
        context = sequences[site.chrom][site.pos - 2 : site.pos + 1].upper()
        assert variant_class(site.ref, site.alts[0], context) == name


def test_classes_without_enough_variants_have_no_z() -> None:
    background = Background({"A[C>T]G": [0.0] * 19, "insertion 1": [1.0] * 20})
    assert background.place("A[C>T]G", 1.0) == (None, None)
    assert background.place(None, 1.0) == (None, None)
    assert background.place("insertion 1", 1.0) == (None, 0.5)
    assert background.place("insertion 1", 0.0) == (None, 0.0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"scores": ("llr", "lrr")}, "expected some of llr, ref_ll"),
        ({"scores": ()}, "expected some of"),
        ({"scores": ("head",)}, "needs the folder"),
        ({"head": "x"}, "needs the folder"),
        ({"layer": "x"}, "of the scores cos and l2"),
        ({"head_class": "x"}, "give its folder"),
        ({"background": 3}, "at least 20"),
        ({"sample": "me"}, "add --haplotypes"),
    ],
)
def test_wrong_options(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ScoreOptions(**wrong)  # type: ignore[arg-type]


def test_columns_are_what_was_asked_for() -> None:
    options = ScoreOptions(scores=("llr", "abs", "z"), reduce="mean")
    columns = columns_of(options, per_strand=True)
    assert [column.key for column in columns] == ["GMX_LLR", "GMX_ABS", "GMX_Z", "GMX_LLR_FWD", "GMX_LLR_RC"]
    score = VariantScore(Status.OK, -2.0, -1.0, -3.0, z=0.5)
    assert [column.value(score) for column in columns] == [-2.0, 2.0, 0.5, -1.0, -3.0]
    assert all(column.value(VariantScore(Status.STAR)) is None for column in columns)
    assert "nats per scored base" in columns[0].description
    with pytest.raises(ConfigError, match="per-strand scores need both strands"):
        columns_of(replace(options, strand="forward"), per_strand=True)
