"""Attributions by gradients add up and are slopes of the output; mutagenesis is prediction of changed sequences."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from genomix.attribution import HeadOutput, LogLikelihood, Target, attribute
from genomix.attribution.attribute import Baseline
from genomix.attribution.letters import dinucleotide_shuffle, ids_of, one_hot, other_strand, reading
from genomix.checkpoint.native import LoadedModel, load_model, save_model
from genomix.heads.build import HeadModel
from genomix.heads.classifier import SequenceClassifier
from genomix.heads.targets import MultiLabelClassifier, SequenceRegressor
from genomix.heads.token_classifier import TokenClassifier
from genomix.heads.variant_pair import VariantPairClassifier
from genomix.inference.predict import predict_sequences
from genomix.inference.score_sequences import score_sequences
from genomix.models.hyenadna.config import HyenaDNAConfig
from genomix.models.hyenadna.model import HyenaDNA
from genomix.models.stripedhyena2.config import StripedHyena2Config
from genomix.models.stripedhyena2.model import StripedHyena2
from genomix_data.errors import ConfigError, GenomixError
from genomix_data.table_dataset import complement_table
from genomix_data.tokenizers import ByteTokenizer, CharTokenizer, Tokenizer
from tests.genomix.training_helpers import letters

SEQUENCE = letters(40, 3)


def _lively(model: torch.nn.Module) -> None:
    """Make the outputs depend on the letters: initial weights are so small that nearly nothing does."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2 and "filter" not in name:
                parameter.mul_(8.0)


def _saved(model: torch.nn.Module, folder: Path, tokenizer: Tokenizer, **head: object) -> LoadedModel:
    save_model(model, folder, tokenizer=tokenizer, provenance={}, card="a test", head=head or None)  # type: ignore[arg-type]
    return load_model(folder)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, LoadedModel]:
    """Language models of both families, and a head of each kind."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(5)
    config = HyenaDNAConfig(d_model=16, n_layers=2, d_inner=32, l_max=64)
    found: dict[str, LoadedModel] = {}
    language = HyenaDNA(config)
    _lively(language)
    found["hyenadna"] = _saved(language, folder / "lm", CharTokenizer())
    striped = StripedHyena2(
        StripedHyena2Config(
            pattern="SMLA",
            d_model=16,
            n_heads=2,
            d_inner=32,
            context_len=64,
            n_groups=4,
            mr_filter_len=16,
            n_modes=4,
        )
    )
    _lively(striped)
    found["stripedhyena2"] = _saved(striped, folder / "sh2", ByteTokenizer())
    heads: dict[str, HeadModel] = {
        "classifier": SequenceClassifier(HyenaDNA(config), 3),
        "regressor": SequenceRegressor(HyenaDNA(config), 2),
        "multilabel": MultiLabelClassifier(HyenaDNA(config), 4, pooling="max"),
        "token_classifier": TokenClassifier(HyenaDNA(config), 3, lookahead=4),
    }
    for name, model in heads.items():
        _lively(model)
        found[name] = _saved(model, folder / name, CharTokenizer(), class_names=list("wxyz")[: _n_of(model)])
    return found


def _n_of(model: HeadModel) -> int:
    return model.n_classes if isinstance(model, TokenClassifier) else model.n_outputs


def target_of(models: dict[str, LoadedModel], name: str) -> Target:
    if name in ("hyenadna", "stripedhyena2"):
        return LogLikelihood(models[name])
    return HeadOutput(models[name], 1, position=20 if name == "token_classifier" else None)


NAMES = ["hyenadna", "stripedhyena2", "classifier", "regressor", "multilabel", "token_classifier"]


@pytest.mark.parametrize("name", NAMES)
def test_integrated_gradients_add_up_to_the_difference(models: dict[str, LoadedModel], name: str) -> None:
    target = target_of(models, name)
    baselines: tuple[Baseline, ...] = ("uniform", "n")
    for baseline in baselines:
        found = attribute(target, SEQUENCE, "ig", baseline=baseline, n_steps=200)
        change = found.value - found.baseline_value
        assert abs(change) > 1e-3, "the test would hold for a model that reads nothing"
        assert found.scores.sum() == pytest.approx(change, abs=0.01 * abs(change) + 2e-4)
        assert found.gap == pytest.approx(found.scores.sum() - change)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_finite_differences(models: dict[str, LoadedModel], name: str) -> None:
    target = target_of(models, name)
    found = attribute(target, SEQUENCE, "ixg", baseline="zero")
    x = one_hot(SEQUENCE)
    rng = np.random.default_rng(0)
    step = 2e-3
    slopes, expected = [], []
    for place, base in zip(rng.integers(0, 40, 24), rng.integers(0, 4, 24), strict=True):
        moved = x.repeat(2, 1, 1)
        moved[0, place, base] += step
        moved[1, place, base] -= step
        with torch.inference_mode():
            up, down = target(moved).double().tolist()
        slopes.append((up - down) / (2 * step))
        expected.append(found.by_letter[place, base])
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(slopes, expected, atol=0.03 * np.abs(expected).max() + 1e-3)
    at = ["ACGT".index(letter) for letter in SEQUENCE]
    np.testing.assert_allclose(found.scores, found.by_letter[np.arange(40), at])


def test_the_uniform_baseline_takes_the_mean_of_the_gradients_away(models: dict[str, LoadedModel]) -> None:
    target = target_of(models, "classifier")
    plain = attribute(target, SEQUENCE, "ixg", baseline="zero")
    centred = attribute(target, SEQUENCE, "ixg", baseline="uniform")
    np.testing.assert_allclose(centred.scores, plain.scores - plain.by_letter.mean(axis=1), atol=1e-6)


def test_mutagenesis_of_a_classifier_is_prediction(models: dict[str, LoadedModel]) -> None:
    """The log-odds are those of `predict`, of the sequence and of each of its mutants."""
    found = attribute(HeadOutput(models["classifier"], 2), SEQUENCE, "ism", batch_size=7)
    mutants = [SEQUENCE]
    for place, letter in enumerate(SEQUENCE):
        mutants += [SEQUENCE[:place] + base + SEQUENCE[place + 1 :] for base in "ACGT" if base != letter]
    p = predict_sequences(models["classifier"], mutants).probabilities[:, 2]
    odds = np.log(p) - np.log1p(-p)
    assert found.value == pytest.approx(odds[0], abs=1e-4)
    rows = iter(odds[1:] - odds[0])
    for place, letter in enumerate(SEQUENCE):
        for base in range(4):
            wanted = 0.0 if "ACGT"[base] == letter else next(rows)
            assert found.by_letter[place, base] == pytest.approx(wanted, abs=2e-4)
    np.testing.assert_allclose(found.scores, -found.by_letter.sum(axis=1) / 3)


@pytest.mark.parametrize("name", ["hyenadna", "stripedhyena2"])
def test_mutagenesis_of_a_language_model_is_its_likelihood(models: dict[str, LoadedModel], name: str) -> None:
    loaded = models[name]
    sequence = SEQUENCE[:10] + "N" + SEQUENCE[11:]
    found = attribute(LogLikelihood(loaded), sequence, "ism")
    for place, base in ((0, 1), (9, 2), (39, 3)):
        mutant = sequence[:place] + "ACGT"[base] + sequence[place + 1 :]
        known = [_likelihood(loaded, each) for each in (sequence, mutant)]
        assert found.by_letter[place, base] == pytest.approx(known[1] - known[0], abs=1e-3)
    assert np.isnan(found.by_letter[10]).all()
    assert found.scores[10] == 0


def _likelihood(loaded: LoadedModel, sequence: str) -> float:
    from genomix.inference.score_sequences import likelihoods

    (score,) = likelihoods(loaded.language_model, loaded.tokenizer, [("x", sequence)], count_n=False)
    return score.log_likelihood


def test_a_whole_sequence_has_the_likelihood_that_it_has(models: dict[str, LoadedModel]) -> None:
    loaded = models["hyenadna"]
    found = attribute(LogLikelihood(loaded), SEQUENCE, "ixg")
    (wanted,) = score_sequences(loaded.language_model, loaded.tokenizer, [SEQUENCE], reduce="sum")
    assert found.value == pytest.approx(wanted, abs=1e-3)


@pytest.mark.parametrize("method", ["ixg", "ig", "ism"])
def test_both_strands_are_the_mean_of_the_strands(models: dict[str, LoadedModel], method: str) -> None:
    target = target_of(models, "classifier")
    complement = SEQUENCE[::-1].translate(str.maketrans("ACGT", "TGCA"))
    both = attribute(target, SEQUENCE, method, both_strands=True)  # type: ignore[arg-type]
    one = attribute(target, SEQUENCE, method)  # type: ignore[arg-type]
    other = attribute(target, complement, method)  # type: ignore[arg-type]
    np.testing.assert_allclose(both.scores, (one.scores + other.scores[::-1]) / 2, atol=2e-4)
    np.testing.assert_allclose(both.by_letter, (one.by_letter + other.by_letter[::-1, ::-1]) / 2, atol=2e-4)


@pytest.mark.parametrize("method", ["ixg", "ig", "ism"])
def test_results_do_not_depend_on_the_batch(models: dict[str, LoadedModel], method: str) -> None:
    target = target_of(models, "regressor")
    one = attribute(target, SEQUENCE, method, batch_size=1)  # type: ignore[arg-type]
    many = attribute(target, SEQUENCE, method, batch_size=64)  # type: ignore[arg-type]
    np.testing.assert_allclose(one.scores, many.scores, atol=1e-4)


def test_a_base_of_a_model_of_bases_does_not_depend_on_what_follows_its_horizon(
    models: dict[str, LoadedModel],
) -> None:
    found = attribute(HeadOutput(models["token_classifier"], 0, position=10), SEQUENCE, "ism")
    assert np.abs(found.scores[:15]).max() > 0
    np.testing.assert_allclose(
        found.scores[15:], 0.0, atol=2e-5
    )  # a long convolution by FFT rounds everywhere


def test_reading_pure_letters_is_a_look_up(models: dict[str, LoadedModel]) -> None:
    for name in ("hyenadna", "stripedhyena2"):
        loaded = models[name]
        sequence = "ACGTNACCGGTTANNA"
        x = one_hot(sequence)[None]
        ids = torch.from_numpy(loaded.tokenizer.encode(sequence).astype(np.int64))[None]
        assert torch.equal(ids_of(x, loaded.tokenizer), ids)
        with torch.inference_mode():
            plain = loaded.language_model(ids)
            with reading(loaded.language_model, x, loaded.tokenizer):
                mixed = loaded.language_model(ids)
            again = loaded.language_model(ids)
        torch.testing.assert_close(mixed, plain, atol=1e-5, rtol=1e-5)
        assert torch.equal(plain, again), "the model is left as it was"


def test_other_strand() -> None:
    assert torch.equal(other_strand(one_hot("AACGN")), one_hot("NCGTT"))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("sequence", [SEQUENCE, "AAAAAA", "A", "ACACACAC", "ACGTNNACGT"])
def test_shuffles_keep_dinucleotides_and_ends(sequence: str, seed: int) -> None:
    shuffled = dinucleotide_shuffle(sequence, seed)
    assert sorted(pairwise(shuffled)) == sorted(pairwise(sequence))
    assert (shuffled[0], shuffled[-1], len(shuffled)) == (sequence[0], sequence[-1], len(sequence))


def test_shuffles_differ() -> None:
    assert len({dinucleotide_shuffle(SEQUENCE, seed) for seed in range(10)}) > 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "gradcam"}, "method='gradcam'"),
        ({"baseline": "blank"}, "baseline='blank'"),
        ({"n_steps": 0}, "n_steps=0"),
    ],
)
def test_options_that_are_not_known(
    models: dict[str, LoadedModel], options: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        attribute(target_of(models, "classifier"), SEQUENCE, **options)  # type: ignore[arg-type]


def test_bad_input(models: dict[str, LoadedModel]) -> None:
    with pytest.raises(GenomixError, match="at least 2"):
        attribute(target_of(models, "classifier"), "A")
    with pytest.raises(ConfigError, match="output 3 of a model with 3"):
        HeadOutput(models["classifier"], 3)
    with pytest.raises(ConfigError, match="has no head"):
        HeadOutput(models["hyenadna"], 0)
    with pytest.raises(ConfigError, match="--position"):
        HeadOutput(models["token_classifier"], 0)
    with pytest.raises(ConfigError, match="says one thing of a sequence"):
        HeadOutput(models["classifier"], 0, position=1)
    with pytest.raises(ConfigError, match="base 99 of a sequence of 40"):
        attribute(HeadOutput(models["token_classifier"], 0, position=98), SEQUENCE)


def test_a_head_that_sees_both_strands_and_one_with_a_soft_prompt(tmp_path: Path) -> None:
    """The reverse complement is read as that of what is read, mixtures too; a prompt stands before it."""
    torch.manual_seed(2)
    config = HyenaDNAConfig(d_model=16, n_layers=1, d_inner=32, l_max=64)
    both = SequenceClassifier(HyenaDNA(config), 2, rc_invariant=True)
    both.get_buffer("complement").copy_(torch.from_numpy(complement_table(CharTokenizer())))
    prompted = SequenceClassifier(HyenaDNA(config), 2, prompt_len=5)
    complement = SEQUENCE[::-1].translate(str.maketrans("ACGT", "TGCA"))
    for name, model in (("both", both), ("prompted", prompted)):
        _lively(model)
        loaded = _saved(model, tmp_path / name, CharTokenizer())
        target = HeadOutput(loaded, 1)
        found = attribute(target, SEQUENCE, "ig", n_steps=100)
        change = found.value - found.baseline_value
        assert abs(change) > 1e-3
        assert found.scores.sum() == pytest.approx(change, abs=0.01 * abs(change) + 2e-4)
        (p,) = predict_sequences(loaded, [SEQUENCE]).probabilities
        assert found.value == pytest.approx(np.log(p[1]) - np.log(p[0]), abs=1e-4)
        if name == "both":
            other = attribute(target, complement, "ig", n_steps=100)
            np.testing.assert_allclose(other.scores[::-1], found.scores, atol=1e-4)


def test_models_of_pairs_are_refused(tmp_path: Path) -> None:
    config = HyenaDNAConfig(d_model=16, n_layers=1, d_inner=32, l_max=64)
    loaded = _saved(VariantPairClassifier(HyenaDNA(config), 2), tmp_path / "pair", CharTokenizer())
    with pytest.raises(ConfigError, match="reads pairs of sequences"):
        HeadOutput(loaded, 1)
