"""The larger model, beside the package: whole, as its card says; both models score what they did when released."""

import json

import pytest
import torch

from genomix.checkpoint.native import LoadedModel, load_model
from genomix.checkpoint.shards import file_sha256
from genomix.checkpoint.shipped import DEFAULT_MODEL, located, shipped_models
from genomix.inference.score_sequences import score_sequences
from genomix_data import samples
from genomix_data.genome import Genome
from genomix_kernels.testing import TOLERANCE
from tests.conftest import ROOT

FOLDER = ROOT / "recipes" / "human_6m"
in_the_repository = pytest.mark.skipif(
    not FOLDER.exists(), reason="recipes/human_6m is in the repository, not in the source archive"
)


@pytest.fixture(scope="module")
def released() -> LoadedModel:
    return load_model(FOLDER, expect="language_model")


@in_the_repository
def test_it_is_whole_and_runs_in_fp32(released: LoadedModel) -> None:
    assert sorted(file.name for file in FOLDER.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) <= 12_000_000
    assert {parameter.dtype for parameter in released.model.parameters()} == {torch.float32}
    assert FOLDER.name not in shipped_models()
    assert located(FOLDER) == FOLDER


@in_the_repository
def test_its_card_and_the_results_say_what_its_run_says(released: LoadedModel) -> None:
    card = (FOLDER / "README.md").read_text()
    run = json.loads((ROOT / "docs/benchmarks/pretraining-h200.json").read_text())["human-6m"]
    held_out = run["held_out"]
    in_table = [
        f"{held_out[key]:.4f}"
        for key in ("bits_per_base", "bits_per_base_not_soft_masked", "bits_per_base_soft_masked")
    ]
    n_parameters = sum(parameter.numel() for parameter in released.model.parameters())
    assert card.startswith("# human-6m\n")
    assert f"| human-6m | {' | '.join(in_table)} |" in card
    assert f"{held_out['n_bases']:,} bases" in card
    assert f"{n_parameters:,} parameters" in card
    assert f"of `model.safetensors`: {released.sha256} |" in card
    assert released.sha256 == file_sha256(FOLDER / "model.safetensors") == run["released"]["sha256"]
    assert released.provenance["n_parameters"] == run["n_parameters"] == n_parameters
    assert f"{released.provenance['held_out']['bits_per_base']:.4f}" == in_table[0]
    assert released.provenance["command"] == run["provenance"]["command"]


@pytest.mark.parametrize(
    ("model", "expected"),  # nats a base, in fp64 on a CPU
    [
        (DEFAULT_MODEL, -1.145542266254267),
        pytest.param(str(FOLDER), -1.1513593191534048, marks=in_the_repository, id="human-6m"),
    ],
)
def test_a_sequence_scores_as_it_did_when_the_model_was_released(model: str, expected: float) -> None:
    with Genome(samples.path("brca1_region.fa.gz")) as genome:
        sequence = genome.fetch(next(iter(genome.contigs)), 0, 1024).upper()
    loaded = load_model(model)
    [nats] = score_sequences(loaded.language_model, loaded.tokenizer, [sequence])
    assert nats == pytest.approx(expected, rel=TOLERANCE[torch.float32])
