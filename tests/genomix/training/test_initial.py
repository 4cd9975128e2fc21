"""Pretraining that goes on from a checkpoint, with a longer context if asked for."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from genomix.checkpoint.native import load_model, save_model
from genomix.checkpoint.shipped import DEFAULT_MODEL
from genomix.models.families import AnyConfig, build_language_model
from genomix.models.hyenadna.config import HyenaDNAConfig
from genomix.models.hyenadna.model import HyenaDNA
from genomix.models.stripedhyena2.config import StripedHyena2Config
from genomix.models.stripedhyena2.model import StripedHyena2
from genomix.training.build import build, plain
from genomix.training.config import PretrainConfig
from genomix.training.held_out import bits_per_base
from genomix.training.pretrain import pretrain
from genomix_data.corpus import load_corpus
from genomix_data.errors import CheckpointError, ConfigError, GenomixError
from genomix_data.holdout import HeldOut
from genomix_data.lm_dataset import HeldOutWindows
from genomix_data.tokenizers import ByteTokenizer, CharTokenizer
from tests.genomix.training.test_pretrain_options import Interrupting, tiny_sh2
from tests.genomix.training_helpers import letters, pretrain_config, tiny_model, write_fasta


@pytest.fixture(scope="module")
def fasta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fasta(tmp_path_factory.mktemp("genome") / "g.fa", chr1=letters(2000, 1))


def saved(config: AnyConfig, folder: Path) -> Path:
    torch.manual_seed(4)
    is_hyena = isinstance(config, HyenaDNAConfig)
    model = build_language_model(config)
    tokenizer = CharTokenizer() if is_hyena else ByteTokenizer()
    made_as = {"config": {"model": {"name": "hyenadna/demo"}}} if is_hyena else {}
    return save_model(model, folder, tokenizer=tokenizer, provenance=made_as, card="made for a test")


@pytest.fixture(scope="module")
def hyena(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tiny_model(embed_dropout=0.2).config, tmp_path_factory.mktemp("models") / "hyena")


@pytest.fixture(scope="module")
def striped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = tiny_sh2(context_len=64, rounds_inv_freq=True).config
    return saved(config, tmp_path_factory.mktemp("models") / "striped")


def continued(fasta: Path, checkpoint: Path, **sections: dict[str, Any]) -> PretrainConfig:
    """Settings that name no architecture: it is the checkpoint's."""
    values = plain(pretrain_config(fasta))
    del values["model"]
    values["init"] = {"checkpoint": str(checkpoint)}
    for name, changes in sections.items():
        values[name] = {**values[name], **changes}
    return build(PretrainConfig, values)


@pytest.mark.parametrize("family", ["hyena", "striped"])
def test_a_run_begins_with_the_weights_of_the_checkpoint_and_says_so(
    fasta: Path, tmp_path: Path, family: str, request: pytest.FixtureRequest
) -> None:
    checkpoint: Path = request.getfixturevalue(family)
    # A rate at which nothing moves: what is validated is what was loaded.
    config = continued(
        fasta,
        checkpoint,
        trainer={"max_steps": 1, "validate_every": 1},
        optimizer={"lr": 1e-30},
        schedule={"warmup_fraction": 0.0},
    )
    result = pretrain(config, tmp_path / "run", progress=False)
    loaded = load_model(checkpoint, expect="language_model")
    corpus = load_corpus(
        [fasta], config.tokenizer if family == "hyena" else ByteTokenizer(), HeldOut(fraction=0.1)
    )
    windows = HeldOutWindows(corpus, "valid", 32)
    before = bits_per_base(loaded.language_model, windows, batch_size=4)
    assert result.validation[0].bits_per_base == pytest.approx(before.bits_per_base, rel=1e-6)
    record = json.loads((result.folder / "result.json").read_text())["provenance"]["config"]
    assert record["init"] == {
        "checkpoint": str(checkpoint),
        "sha256": loaded.sha256,
        "context_len": None,
        "position_scale": None,
        "rope_base": None,
    }
    assert record["model"]["d_model"] == 16
    assert record == yaml.safe_load((result.folder / "config.yaml").read_text())
    assert record["model"]["name"] == {"hyena": "hyenadna/demo", "striped": "sh2/7m"}[family], (
        "its own name, or one of the family"
    )
    again = load_model(result.model_folder, expect="language_model")
    assert again.config == loaded.config
    assert again.tokenizer.name == loaded.tokenizer.name


@pytest.mark.parametrize("family", ["hyena", "striped"])
def test_it_resumes_when_the_checkpoint_is_gone(
    fasta: Path, tmp_path: Path, family: str, request: pytest.FixtureRequest
) -> None:
    checkpoint = tmp_path / "start"
    shutil.copytree(request.getfixturevalue(family), checkpoint)
    config = continued(fasta, checkpoint)
    whole = pretrain(config, tmp_path / "whole", progress=False)
    with pytest.raises(KeyboardInterrupt):
        pretrain(config, tmp_path / "run", progress=Interrupting(4))
    shutil.rmtree(checkpoint)
    resumed = pretrain(config, tmp_path / "run", resume=True, progress=False)
    assert [p.loss for p in resumed.history] == [p.loss for p in whole.history]
    assert resumed.held_out == whole.held_out
    with pytest.raises(GenomixError, match="start"):
        pretrain(config, tmp_path / "other", progress=False)


def test_hyenadna_goes_on_beyond_the_end_of_its_filters(fasta: Path, hyena: Path, tmp_path: Path) -> None:
    config = continued(fasta, hyena, init={"context_len": 128}, data={"seqlen": 128, "batch_size": 2})
    result = pretrain(config, tmp_path / "run", progress=False)
    model = load_model(result.model_folder, expect="language_model").language_model
    assert isinstance(model, HyenaDNA)
    assert (model.config.l_max, model.config.extended_len) == (64, 128)
    start = load_model(hyena, expect="language_model").language_model
    ids = torch.randint(7, 11, (1, 64))
    torch.manual_seed(4)
    extended = build_language_model(replace(model.config, embed_dropout=0.2)).eval()
    extended.load_state_dict(start.state_dict())
    torch.testing.assert_close(extended(ids), start(ids), atol=1e-5, rtol=1e-5)


def test_stripedhyena2_interpolates_its_positions(fasta: Path, striped: Path, tmp_path: Path) -> None:
    config = continued(fasta, striped, init={"context_len": 256}, data={"seqlen": 256, "batch_size": 2})
    result = pretrain(config, tmp_path / "run", progress=False)
    model = load_model(result.model_folder, expect="language_model").language_model
    start = load_model(striped, expect="language_model").language_model
    assert isinstance(model, StripedHyena2)
    assert isinstance(start, StripedHyena2)
    assert (model.config.context_len, model.config.position_scale) == (256, 4.0)
    name = "blocks.3.mixer.inv_freq"
    assert torch.equal(model.state_dict()[name], start.state_dict()[name]), (
        "frequencies are those of the checkpoint"
    )


def test_the_base_of_the_rotary_frequencies_can_change(fasta: Path, striped: Path, tmp_path: Path) -> None:
    config = continued(fasta, striped, init={"rope_base": 1e6, "position_scale": 3.0})
    result = pretrain(config, tmp_path / "run", progress=False)
    model = load_model(result.model_folder, expect="language_model").language_model
    assert isinstance(model, StripedHyena2)
    assert (model.config.rope_base, model.config.position_scale) == (1e6, 3.0)
    exponents = torch.arange(0, 8, 2) / 8
    torch.testing.assert_close(
        model.state_dict()["blocks.3.mixer.inv_freq"], 1e6**-exponents, rtol=1e-2, atol=0
    )


@pytest.mark.parametrize(
    ("family", "sections", "message"),
    [
        ("hyena", {"init": {"rope_base": 1e6}}, "init.rope_base is of rotary positions"),
        ("hyena", {"init": {"context_len": 32}}, "takes 64 tokens already"),
        ("hyena", {"data": {"seqlen": 128}}, "data.seqlen is 128, but .* at most model.l_max=64"),
        ("hyena", {"init": {"sha256": "abc"}}, "have SHA-256 .*, and init.sha256 is abc"),
        ("hyena", {"data": {"tokenizer": "byte"}}, "was trained with char"),
        ("striped", {"data": {"tokenizer": "char"}}, "was trained with byte"),
        ("striped", {"init": {"context_len": 0}}, "init.context_len is 0"),
        (
            "striped",
            {"init": {"context_len": 48}},
            "init.context_len is 48, and the model takes 64 tokens already",
        ),
    ],
)
def test_what_contradicts_the_checkpoint_is_refused(
    fasta: Path,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    family: str,
    sections: dict[str, Any],
    message: str,
) -> None:
    with pytest.raises(ConfigError, match=message):
        pretrain(
            continued(fasta, request.getfixturevalue(family), **sections), tmp_path / "run", progress=False
        )
    assert not (tmp_path / "run").exists()


def test_an_architecture_that_was_set_has_to_be_that_of_the_checkpoint(
    fasta: Path, hyena: Path, tmp_path: Path
) -> None:
    config = continued(fasta, hyena)
    row = config.model.config
    assert isinstance(row, HyenaDNAConfig)
    wider = replace(config, model=replace(config.model, config=replace(row, d_model=32)))
    with pytest.raises(
        ConfigError, match=r"model.d_model=32 does not go with init.checkpoint: .* d_model=16"
    ):
        pretrain(wider, tmp_path / "run", progress=False)
    same = replace(config, model=replace(config.model, config=replace(row, d_model=16, embed_dropout=0.0)))
    short = replace(same, trainer=replace(same.trainer, max_steps=1))
    result = pretrain(short, tmp_path / "run", progress=False)
    trained = load_model(result.model_folder, expect="language_model").config
    assert isinstance(trained, HyenaDNAConfig)
    assert trained.embed_dropout == 0.0


def test_a_model_that_was_chosen_has_to_be_of_the_family_of_the_checkpoint(
    fasta: Path, striped: Path, tmp_path: Path
) -> None:
    config = replace(continued(fasta, striped), model=tiny_model())
    with pytest.raises(
        ConfigError, match=r"model=hyenadna/demo does not go with init.checkpoint: .* a stripedhyena2 model"
    ):
        pretrain(config, tmp_path / "run", progress=False)


def test_a_model_that_ships_is_named_and_trained_in_fp32(fasta: Path, tmp_path: Path) -> None:
    shipped = load_model(DEFAULT_MODEL)
    stored = load_file(shipped.path / "model.safetensors")
    assert {tensor.dtype for name, tensor in stored.items() if name.endswith("weight")} == {torch.float16}
    config = continued(
        fasta,
        Path(DEFAULT_MODEL),
        trainer={"max_steps": 1, "validate_every": 1},
        optimizer={"lr": 1e-30},
    )
    result = pretrain(config, tmp_path / "run", progress=False)
    trained = load_model(result.model_folder)
    assert {p.dtype for p in trained.language_model.parameters()} == {torch.float32}
    assert trained.tokenizer.name == shipped.tokenizer.name == "char"
    for name, weight in trained.language_model.named_parameters():
        torch.testing.assert_close(
            weight, shipped.language_model.get_parameter(name), rtol=0, atol=1e-20, msg=name
        )


def test_no_checkpoint_is_named(fasta: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nowhere"):
        pretrain(continued(fasta, tmp_path / "nowhere"), tmp_path / "run", progress=False)
    assert list(tmp_path.iterdir()) == []


def test_extension_needs_a_checkpoint(fasta: Path) -> None:
    with pytest.raises(ConfigError, match=r"give init\.checkpoint as well"):
        pretrain_config(fasta, init={"context_len": 128})
    assert isinstance(tiny_sh2().config, StripedHyena2Config)
