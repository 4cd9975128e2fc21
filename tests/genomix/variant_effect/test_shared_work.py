"""Every way of sharing work gives the scores of naive whole forwards: both families, strands, modes, with a horizon."""

import itertools
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from genomix.checkpoint.native import LoadedModel, load_model, save_model
from genomix.models.hyenadna.config import HyenaDNAConfig
from genomix.models.hyenadna.model import HyenaDNA
from genomix.models.stripedhyena2.config import StripedHyena2Config
from genomix.models.stripedhyena2.model import StripedHyena2
from genomix.variant_effect import ScoreOptions, Status, VariantScore, score_variants
from genomix_data.alphabet import reverse_complement
from genomix_data.genome import Genome
from genomix_data.tokenizers import ByteTokenizer, CharTokenizer
from genomix_data.variant import Variant
from genomix_data.variant_windows import WindowPlace, place_windows
from tests.genomix.variant_effect.conftest import random_bases, write_fasta

WINDOW = 80
STRIDE = 24
NATS = 1e-4  # of sums over 80 positions in fp32
OPTIONS = ScoreOptions(window=WINDOW, device="cpu")
TILED = replace(OPTIONS, mode="tiled", stride=STRIDE)

Rows = Callable[[bytes], NDArray[np.float64]]


def contig() -> bytes:
    """Return 230 bases with a repeat, in which indels share more than their place, and a run of N near the end."""
    letters = bytearray(random_bases(230, 31))
    letters[60:84] = b"CA" * 12
    letters[205:210] = b"N" * 5
    return bytes(letters)


CONTIG = contig()


def hyenadna() -> HyenaDNA:
    return HyenaDNA(HyenaDNAConfig(d_model=16, n_layers=2, d_inner=32, l_max=128))


def stripedhyena2() -> StripedHyena2:
    return StripedHyena2(
        StripedHyena2Config(
            pattern="SMLA", d_model=32, n_heads=2, d_inner=64, context_len=128, n_groups=8, mr_filter_len=32
        )
    )


@pytest.fixture(scope="module", params=["hyenadna", "stripedhyena2"])
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """A model of each family whose predictions are far from uniform."""
    torch.manual_seed(7)
    is_hyenadna = request.param == "hyenadna"
    model = hyenadna() if is_hyenadna else stripedhyena2()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2 and "filter" not in name:
                parameter.mul_(12.0 if is_hyenadna else 2.0)
    tokenizer = CharTokenizer() if is_hyenadna else ByteTokenizer()
    folder = tmp_path_factory.mktemp("families") / str(request.param)
    return load_model(save_model(model, folder, tokenizer=tokenizer, provenance={}, card="For tests."))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Genome:
    return Genome(
        write_fasta(tmp_path_factory.mktemp("genome") / "c.fa", {"c": CONTIG, "short": CONTIG[:50]})
    )


@pytest.fixture(scope="module")
def rows(loaded: LoadedModel) -> Rows:
    """Return log p of each base of a window by one whole forward, zero for the first base and for N."""
    known: dict[bytes, NDArray[np.float64]] = {}

    def of(window: bytes) -> NDArray[np.float64]:
        if window not in known:
            ids = torch.from_numpy(loaded.tokenizer.encode(window).astype(np.int64))
            with torch.inference_mode():
                log_p = torch.log_softmax(loaded.language_model(ids[None])[0].float(), dim=-1)
            scored = log_p[:-1].gather(1, ids[1:, None])[:, 0].double().numpy()
            row = np.concatenate([[0.0], scored])
            row[np.frombuffer(window, np.uint8) == ord("N")] = 0.0
            known[window] = row
        return known[window]

    return of


def alleles_at(pos: int) -> list[Variant]:
    """Return two SNVs, an insertion, a deletion, an MNV and a delins at a position, where there are letters."""
    first = pos - 1
    found = []
    for ref_len, alt in [
        (1, "snv"),
        (1, "snv2"),
        (1, "insertion"),
        (4, "deletion"),
        (2, "mnv"),
        (3, "TTTTT"),
    ]:
        ref = CONTIG[first : first + ref_len].decode()
        if len(ref) < ref_len or "N" in ref:
            continue
        other = "ACGT"["ACGT".index(ref[0]) - 1]
        spelled = {
            "snv": other,
            "snv2": "ACGT"["ACGT".index(ref[0]) - 2],
            "insertion": ref[0] + "CAC",
            "deletion": ref[0],
            "mnv": other + "ACGT"["ACGT".index(ref[-1]) - 1],
        }
        found.append(Variant("c", pos, ref, spelled.get(alt, alt)))
    return found


VARIANTS = list(itertools.chain.from_iterable(alleles_at(pos) for pos in range(1, len(CONTIG) + 1)))


def haplotypes(variant: Variant) -> tuple[bytes, bytes]:
    first = variant.pos - 1
    end = first + len(variant.ref)
    return CONTIG, CONTIG[:first] + variant.alt.encode() + CONTIG[end:]


def equally_many(
    ref: bytes, alt: bytes, ref_span: range, alt_span: range, *, at_beginning: bool
) -> tuple[list[int], list[int]]:
    """Return the scored positions of both windows: no N, and no more in one than in the other."""
    scored = [
        [at for at in span if window[at] != ord("N")] for window, span in ((ref, ref_span), (alt, alt_span))
    ]
    n = min(map(len, scored))
    a, b = [each[len(each) - n :] for each in scored] if at_beginning else [each[:n] for each in scored]
    return a, b


def naive_exact(variant: Variant, rows: Rows, horizon: int | None = None) -> tuple[float, float] | None:
    """Two whole forwards a strand: windows that begin at one base of the contig, and their reverse complements."""
    place = place_windows(len(CONTIG), variant.pos, len(variant.ref), len(variant.alt), WINDOW)
    if not isinstance(place, WindowPlace):
        return None
    ref, alt = (each[place.start : place.start + place.length] for each in haplotypes(variant))
    offset = variant.pos - 1 - place.start
    found = []
    for is_rc in (False, True):
        spans = [range(1, place.length)] * 2
        windows = (reverse_complement(ref), reverse_complement(alt)) if is_rc else (ref, alt)
        if horizon is not None:
            begins = [
                place.length - offset - len(each) if is_rc else offset for each in (variant.ref, variant.alt)
            ]
            n = min(max(len(variant.ref), len(variant.alt)) + horizon, place.length - max(begins))
            spans = [range(max(1, begin), begin + n) for begin in begins]
        scored = equally_many(*windows, *spans, at_beginning=is_rc and horizon is None)
        found.append(float(rows(windows[1])[scored[1]].sum() - rows(windows[0])[scored[0]].sum()))
    return found[0], found[1]


def tile_of(pos: int) -> int:
    """Return the start of the tile in which POS is most central, found by trying all of them."""
    last = len(CONTIG) - WINDOW
    starts = [*range(0, last, STRIDE), last]
    fitting = [
        start for start in range(0, pos, STRIDE) if 0 <= pos - 1 - start - 28 < STRIDE
    ]  # 80 / 2 - 24 / 2
    start = fitting[0] if fitting else 0
    return start if start in starts else last


def naive_tiled(variant: Variant, rows: Rows, horizon: int | None = None) -> tuple[float, float] | None:
    """Whole forwards of the tile, and of the ALT haplotype from the tile's first or last base on."""
    start = tile_of(variant.pos)
    first, end = variant.pos - 1, variant.pos - 1 + len(variant.ref)
    _, haplotype = haplotypes(variant)
    tile = CONTIG[start : start + WINDOW]
    grown = len(variant.alt) - len(variant.ref)
    forward = haplotype[start : start + WINDOW]
    reverse = reverse_complement(haplotype[max(0, start + grown) : start + WINDOW + grown])
    found = []
    for ref, alt, offset in (
        (tile, forward, first - start),
        (reverse_complement(tile), reverse, start + WINDOW - end),
    ):
        length = min(len(ref), len(alt))
        longer = max(len(variant.ref), len(variant.alt))
        if offset + longer > length:
            return None
        span = range(1, length)
        if horizon is not None:
            span = range(max(1, offset), min(length, offset + longer + horizon))
        scored = equally_many(ref, alt, span, span, at_beginning=False)
        found.append(float(rows(alt)[scored[1]].sum() - rows(ref)[scored[0]].sum()))
    return found[0], found[1]


def assert_as_naive(scores: list[VariantScore], expected: list[tuple[float, float] | None]) -> None:
    assert len(scores) == len(expected) > 0
    for score, naive in zip(scores, expected, strict=True):
        if naive is None:
            assert score.status is Status.EDGE
            continue
        assert score.status is Status.OK
        assert score.llr_fwd == pytest.approx(naive[0], abs=NATS)
        assert score.llr_rc == pytest.approx(naive[1], abs=NATS)
        assert score.llr == pytest.approx(sum(naive) / 2, abs=NATS)


@pytest.mark.parametrize("horizon", [None, 0, 1, 7, 500])
def test_exact_is_two_whole_forwards_at_every_offset(
    horizon: int | None, loaded: LoadedModel, small: Genome, rows: Rows
) -> None:
    """SNVs, insertions, deletions and MNVs at every base of a contig: in the middle, at its ends, beside N."""
    expected = [naive_exact(variant, rows, horizon) for variant in VARIANTS]
    assert sum(naive is not None and abs(naive[0]) > 0.01 for naive in expected) > 1000
    assert_as_naive(score_variants(VARIANTS, small, loaded, replace(OPTIONS, horizon=horizon)), expected)


@pytest.mark.parametrize("horizon", [None, 0, 7, 500])
def test_tiled_is_whole_forwards_of_the_tiles(
    horizon: int | None, loaded: LoadedModel, small: Genome, rows: Rows
) -> None:
    expected = [naive_tiled(variant, rows, horizon) for variant in VARIANTS]
    edges = [variant for variant, naive in zip(VARIANTS, expected, strict=True) if naive is None]
    assert all(len(each.ref) != len(each.alt) and not 5 < each.pos < len(CONTIG) - 5 for each in edges)
    assert_as_naive(score_variants(VARIANTS, small, loaded, replace(TILED, horizon=horizon)), expected)


@pytest.mark.parametrize(
    "options", [OPTIONS, TILED, replace(OPTIONS, horizon=5)], ids=["exact", "tiled", "horizon"]
)
def test_alone_and_in_any_batch_and_order(options: ScoreOptions, loaded: LoadedModel, small: Genome) -> None:
    some = random.Random(3).sample(VARIANTS, 60)
    alone = [score_variants([variant], small, loaded, options)[0] for variant in some]
    for batch_size in (None, 1, 3):
        together = score_variants(some, small, loaded, replace(options, batch_size=batch_size))
        assert [score.status for score in together] == [score.status for score in alone]
        for here, there in zip(together, alone, strict=True):
            assert here.llr == (None if there.llr is None else pytest.approx(there.llr, abs=NATS))


@pytest.mark.parametrize(
    "options", [OPTIONS, TILED, replace(TILED, horizon=5)], ids=["exact", "tiled", "horizon"]
)
def test_strands_of_a_genome_are_alike(
    options: ScoreOptions, loaded: LoadedModel, small: Genome, tmp_path: Path
) -> None:
    """Tiles and odd windows mirror into themselves, so the mirrored variant has the same scores, strands swapped.

    Mirrored tiles start at multiples of the stride where ``length - window`` is one; variants that lie between two
    tiles are left out. Centred windows are laid out for POS, which mirrors into POS for SNVs only.
    """
    window = 81
    length = window + 6 * STRIDE
    letters = CONTIG[:length]
    genome = Genome(write_fasta(tmp_path / "forward.fa", {"c": letters}))
    mirrored = Genome(write_fasta(tmp_path / "mirrored.fa", {"c": reverse_complement(letters)}))
    options = replace(options, window=window)
    pairs = []
    for variant in VARIANTS:
        end = variant.pos - 1 + len(variant.ref)
        is_snv = len(variant.ref) == len(variant.alt) == 1
        if end > length or (options.mode == "exact" and not is_snv):
            continue
        there = Variant(
            "c", length - end + 1, reverse_complement(variant.ref), reverse_complement(variant.alt)
        )
        tiles = [(each.pos - 1 - (window // 2 - STRIDE // 2)) // STRIDE for each in (variant, there)]
        if options.mode == "exact" or sum(min(max(each, 0), 6) for each in tiles) == 6:
            pairs.append((variant, there))
    scores = score_variants([here for here, _ in pairs], genome, loaded, options)
    others = score_variants([there for _, there in pairs], mirrored, loaded, options)
    for a, b in zip(scores, others, strict=True):
        assert a.status is b.status
        if a.status is Status.OK:
            assert b.llr_rc == pytest.approx(a.llr_fwd, abs=NATS)
            assert b.llr_fwd == pytest.approx(a.llr_rc, abs=NATS)
    assert sum(score.status is Status.OK for score in scores) > 200


def test_horizon_that_reaches_the_end_is_exact_for_substitutions(loaded: LoadedModel, small: Genome) -> None:
    some = [variant for variant in VARIANTS if len(variant.ref) == len(variant.alt)]
    for options in (OPTIONS, TILED):
        whole = score_variants(some, small, loaded, options)
        far = score_variants(some, small, loaded, replace(options, horizon=WINDOW))
        assert [score.llr for score in far] == pytest.approx([score.llr for score in whole], abs=NATS)


def test_mean_is_over_the_scored_bases(loaded: LoadedModel, small: Genome) -> None:
    deletion = Variant("c", 121, CONTIG[120:124].decode(), CONTIG[120:121].decode())
    options = replace(OPTIONS, horizon=6)
    (total,) = score_variants([deletion], small, loaded, options)
    (mean,) = score_variants([deletion], small, loaded, replace(options, reduce="mean"))
    assert mean.llr_fwd == pytest.approx((total.llr_fwd or 0.0) / 10, rel=1e-9)


def test_ref_alike_scores_zero_exactly(loaded: LoadedModel, small: Genome) -> None:
    same = [Variant("c", pos, chr(CONTIG[pos - 1]), chr(CONTIG[pos - 1])) for pos in (1, 100, 200, 230)]
    for options in (OPTIONS, TILED, replace(OPTIONS, horizon=3), replace(TILED, horizon=3)):
        assert [score.llr for score in score_variants(same, small, loaded, options)] == [0.0] * 4


def test_contig_shorter_than_the_tile(loaded: LoadedModel, small: Genome) -> None:
    snv = Variant("short", 20, chr(CONTIG[19]), "ACGT"["ACGT".index(chr(CONTIG[19])) - 1])
    (a,) = score_variants([snv], small, loaded, OPTIONS)
    (b,) = score_variants([snv], small, loaded, TILED)
    assert a.llr == pytest.approx(b.llr, abs=NATS)


def test_causality_is_what_sharing_rests_on(loaded: LoadedModel, rows: Rows) -> None:
    """What stands after a base changes nothing of the likelihood up to it."""
    window = CONTIG[:WINDOW]
    for at in (1, 20, 41, WINDOW - 1):
        changed = window[:at] + bytes([b"ACGT"[b"ACGT".index(window[at : at + 1]) - 1]]) + window[at + 1 :]
        difference = np.abs(rows(changed) - rows(window))
        assert difference[:at].max() < 1e-5
        assert difference[at] > 1e-3
