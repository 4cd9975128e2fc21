"""The model that ships: there, small, whole, and as good as its card says on bases that it has not seen."""

import shutil
from pathlib import Path

import pytest
import torch

from genomix.checkpoint.convert import convert
from genomix.checkpoint.native import load_model
from genomix.checkpoint.shipped import DEFAULT_MODEL, located, name_of, shipped_models, shipped_row
from genomix.inference.score_sequences import score_sequences
from genomix_data import samples
from genomix_data.errors import CheckpointError
from genomix_data.genome import Genome


def test_it_is_small_and_named() -> None:
    assert DEFAULT_MODEL in shipped_models()
    for name in shipped_models():
        assert sum(file.stat().st_size for file in located(name).iterdir()) <= 4_000_000, name
        assert (located(name) / "README.md").read_text().startswith(f"# {name}\n")


def test_a_folder_of_that_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert located(DEFAULT_MODEL).is_absolute()
    (tmp_path / DEFAULT_MODEL).mkdir()
    assert located(DEFAULT_MODEL) == Path(DEFAULT_MODEL)
    with pytest.raises(CheckpointError, match="is not a checkpoint"):
        load_model(DEFAULT_MODEL)


def test_a_run_folder_stands_for_its_model(tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(located(DEFAULT_MODEL), run / "model")
    assert located(run) == run / "model"
    assert load_model(run).sha256 == load_model(DEFAULT_MODEL).sha256
    (run / "config.json").write_text("{}")
    assert located(run) == run  # a folder with a config of its own is what was meant


def test_it_runs_in_fp32_unless_told_otherwise() -> None:
    loaded = load_model(DEFAULT_MODEL)
    assert {p.dtype for p in loaded.model.parameters()} == {torch.float32}
    assert next(load_model(DEFAULT_MODEL, dtype=torch.bfloat16).model.parameters()).dtype is torch.bfloat16


def test_what_is_said_of_it_is_so() -> None:
    row = shipped_row(DEFAULT_MODEL)
    loaded = load_model(DEFAULT_MODEL)
    assert row.n_parameters == sum(parameter.numel() for parameter in loaded.model.parameters())
    assert (row.config, row.sha256) == (loaded.config, loaded.sha256)
    held_out = loaded.provenance["held_out"]
    card = (located(DEFAULT_MODEL) / "README.md").read_text()
    assert f"{held_out['bases']:,} bases" in card
    assert f"| human-2m | {held_out['bits_per_base']} |" in card


def test_it_is_called_by_its_name_not_where_it_lies(tmp_path: Path) -> None:
    loaded = load_model(DEFAULT_MODEL)
    assert loaded.name == DEFAULT_MODEL
    assert name_of(tmp_path / DEFAULT_MODEL) == str(tmp_path / DEFAULT_MODEL)
    with pytest.raises(CheckpointError, match=r"^'human-2m' is a language model but a classifier"):
        load_model(DEFAULT_MODEL, expect="classifier")
    with pytest.raises(CheckpointError, match=r"no checkpoint folder 'human-3m'.*human-2m does"):
        load_model("human-3m")


def test_a_copy_runs_in_the_same_precision(tmp_path: Path) -> None:
    report = convert(DEFAULT_MODEL, tmp_path / "copy")
    assert (report.source, report.is_lossless) == (DEFAULT_MODEL, True)
    copy = load_model(tmp_path / "copy")
    assert {p.dtype for p in copy.model.parameters()} == {torch.float32}
    assert copy.sha256 == load_model(DEFAULT_MODEL).sha256
    settings = tmp_path / "copy" / "config.json"
    settings.write_text(settings.read_text().replace('"compute_dtype": "float32"', '"compute_dtype": "f32"'))
    with pytest.raises(CheckpointError, match="has compute_dtype 'f32'; expected one of float32"):
        load_model(tmp_path / "copy")


def test_it_predicts_human_bases_that_it_has_not_seen() -> None:
    with Genome(samples.path("brca1_region.fa.gz")) as genome:
        contig = next(iter(genome.contigs))
        sequence = genome.fetch(contig, 0, 4096).upper()
    loaded = load_model(DEFAULT_MODEL)
    [nats] = score_sequences(loaded.language_model, loaded.tokenizer, [sequence])
    # chromosome 17; its card says 1.64 bits on chromosome 21, context models need about 1.8
    assert -nats / 0.6931471805599453 < 1.8
