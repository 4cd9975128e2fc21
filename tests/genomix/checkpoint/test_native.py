import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from genomix.checkpoint.native import load_model, save_model
from genomix.checkpoint.shards import file_sha256
from genomix.heads.classifier import SequenceClassifier
from genomix.models.hyenadna.model import HyenaDNA
from genomix_data.errors import CheckpointError, InputFileError
from genomix_data.tokenizers import CharTokenizer
from tests.genomix.golden import tiny_config

PROVENANCE = {"seed": 7, "data": ["chrI"]}


@pytest.fixture
def model() -> HyenaDNA:
    torch.manual_seed(0)
    return HyenaDNA(tiny_config()).eval()


@pytest.fixture
def folder(model: HyenaDNA, tmp_path: Path) -> Path:
    return save_model(
        model, tmp_path / "lm", tokenizer=CharTokenizer(), provenance=PROVENANCE, card="# A model\n"
    )


@pytest.fixture
def classifier_folder(model: HyenaDNA, tmp_path: Path) -> Path:
    return save_model(
        SequenceClassifier(model, 2, pooling="max", dropout=0.25),
        tmp_path / "classifier",
        tokenizer=CharTokenizer(),
        head={"class_names": ["no", "yes"]},
        provenance={},
        card="# A classifier\n",
    )


def change_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def change_weights(folder: Path, *, add: str, drop: str | None = None) -> None:
    path = folder / "model.safetensors"
    kept = {key: value for key, value in load_file(path).items() if key != drop}
    save_file(kept | {add: torch.ones(32)}, path)
    change_config(folder, weights_sha256=file_sha256(path))


def test_a_language_model_comes_back_as_it_was(model: HyenaDNA, folder: Path) -> None:
    assert sorted(entry.name for entry in folder.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    assert (folder / "README.md").read_text() == "# A model\n"
    loaded = load_model(folder, expect="language_model")
    ids = torch.randint(7, 11, (2, 50))
    assert torch.equal(loaded.language_model(ids), model(ids))
    assert not loaded.model.training
    assert loaded.config == model.config
    assert loaded.tokenizer == CharTokenizer()
    assert loaded.head_info is None
    assert loaded.provenance == PROVENANCE
    assert loaded.sha256 == file_sha256(folder / "model.safetensors")
    assert loaded.path == folder


def test_a_classifier_comes_back_as_it_was(model: HyenaDNA, classifier_folder: Path) -> None:
    loaded = load_model(classifier_folder, expect="classifier")
    ids, lengths = torch.randint(7, 11, (2, 50)), torch.tensor([20, 50])
    again = load_model(classifier_folder).classifier
    assert torch.equal(loaded.classifier(ids, lengths), again(ids, lengths))
    assert torch.equal(again.backbone(ids), model.backbone(ids))
    assert loaded.head_info == {
        "class_names": ["no", "yes"],
        "kind": "classifier",
        "n_classes": 2,
        "pooling": "max",
        "dropout": 0.25,
    }


def test_equal_models_have_equal_hashes(model: HyenaDNA, folder: Path, tmp_path: Path) -> None:
    again = save_model(model, tmp_path / "again", tokenizer=CharTokenizer(), provenance={}, card="")
    assert load_model(again).sha256 == load_model(folder).sha256


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64], ids=str)
def test_the_precision_is_kept(model: HyenaDNA, tmp_path: Path, dtype: torch.dtype) -> None:
    path = save_model(model.to(dtype), tmp_path / "m", tokenizer=CharTokenizer(), provenance={}, card="")
    loaded = load_model(path).language_model
    assert {parameter.dtype for parameter in loaded.parameters()} == {dtype}


def test_untied_and_trainable_positions_are_kept(tmp_path: Path) -> None:
    model = HyenaDNA(tiny_config(tie_embeddings=False, lr_pos_emb=1e-5)).eval()
    path = save_model(model, tmp_path / "m", tokenizer=CharTokenizer(), provenance={}, card="")
    loaded = load_model(path).language_model
    assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in model.state_dict().items())


def test_saving_again_replaces_the_folder_whole(
    folder: Path, classifier_folder: Path, model: HyenaDNA
) -> None:
    (folder / "stray.txt").write_text("left over")
    save_model(model, folder, tokenizer=CharTokenizer(), provenance={}, card="new")
    assert sorted(entry.name for entry in folder.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]


def test_a_failed_save_leaves_what_was_there(folder: Path, model: HyenaDNA) -> None:
    before = load_model(folder).sha256
    with pytest.raises(TypeError, match="not JSON serializable"):
        save_model(model, folder, tokenizer=CharTokenizer(), provenance={"x": object()}, card="")
    assert load_model(folder).sha256 == before
    assert [entry.name for entry in folder.parent.iterdir()] == [folder.name]


def test_where_nothing_can_be_written(model: HyenaDNA, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputFileError, match="is a file"):
        save_model(model, tmp_path / "file", tokenizer=CharTokenizer(), provenance={}, card="")


def test_a_head_is_for_classifiers(model: HyenaDNA, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="head is for a classifier"):
        save_model(model, tmp_path / "m", tokenizer=CharTokenizer(), head={"a": 1}, provenance={}, card="")


@pytest.mark.parametrize("name", ["hyenadna/tiny-1k", "tiny-1k"])
def test_the_name_of_a_size_is_no_folder(name: str) -> None:
    with pytest.raises(CheckpointError, match=f"'{name}' is the name of a size.* do not ship.*human-2m does"):
        load_model(name)


def test_what_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no checkpoint folder"):
        load_model(tmp_path / "absent")
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(CheckpointError, match=r"it has no config\.json, but notes\.txt"):
        load_model(tmp_path)
    with pytest.raises(CheckpointError, match="is a file; a genomix checkpoint is a folder"):
        load_model(tmp_path / "notes.txt")
    (tmp_path / "config.json").write_text('{"model_type": "hyenadna"}')
    with pytest.raises(CheckpointError, match=r'it lacks "format": "genomix".*must be converted'):
        load_model(tmp_path)
    (tmp_path / "config.json").write_text('{"format": "genom')
    with pytest.raises(CheckpointError, match="is not JSON"):
        load_model(tmp_path)


def test_a_language_model_where_a_classifier_is_needed_and_the_reverse(
    folder: Path, classifier_folder: Path
) -> None:
    with pytest.raises(
        CheckpointError, match=r"is a language model but a classifier is needed here.*finetune"
    ):
        load_model(folder, expect="classifier")
    with pytest.raises(
        CheckpointError, match=r"is a classifier but a language model is needed here.*pretrain"
    ):
        load_model(classifier_folder, expect="language_model")
    with pytest.raises(CheckpointError, match="a classifier is needed"):
        _ = load_model(folder).classifier
    with pytest.raises(CheckpointError, match="a language model is needed"):
        _ = load_model(classifier_folder).language_model


def test_a_newer_format_and_another_model(folder: Path) -> None:
    change_config(folder, format_version=2)
    with pytest.raises(
        CheckpointError, match=r"format version 2; this version of genomix reads up to 1\. Update"
    ):
        load_model(folder)
    change_config(folder, format_version=1, model_type="evo9")
    with pytest.raises(CheckpointError, match="of type 'evo9'"):
        load_model(folder)


@pytest.mark.parametrize("key", ["config", "tokenizer", "provenance"])
def test_a_config_file_with_a_hole(folder: Path, key: str) -> None:
    change_config(folder, **{key: None})
    with pytest.raises(CheckpointError, match=rf"config\.json' lacks {key} or holds something else"):
        load_model(folder)


def test_a_config_that_describes_no_model(folder: Path) -> None:
    change_config(folder, config={**tiny_config().to_dict(), "d_modell": 3})
    with pytest.raises(CheckpointError, match=r"does not describe a model.*Did you mean 'd_model'"):
        load_model(folder)


def test_a_tokenizer_that_is_not_known(folder: Path) -> None:
    change_config(folder, tokenizer={"name": "kmer"})
    with pytest.raises(CheckpointError, match=r"does not describe a model.*kmer"):
        load_model(folder)


def test_a_head_that_describes_none(classifier_folder: Path) -> None:
    change_config(classifier_folder, head={"n_classes": "two", "pooling": "mean"})
    with pytest.raises(CheckpointError, match=r"n_classes is 'two'; it must be a whole number\. Restore"):
        load_model(classifier_folder)


def test_weights_that_are_missing_cut_short_or_changed(folder: Path) -> None:
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-100])
    with pytest.raises(CheckpointError, match=r"is damaged or cut short: .*Copy the checkpoint again"):
        load_model(folder)
    weights.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(CheckpointError, match="is damaged or cut short"):
        load_model(folder)
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(CheckpointError, match="the file was changed or belongs to another checkpoint"):
        load_model(folder)
    weights.unlink()
    with pytest.raises(CheckpointError, match=r"has no model\.safetensors: the checkpoint is incomplete"):
        load_model(folder)


def test_missing_and_unexpected_tensors_are_named(folder: Path) -> None:
    change_weights(folder, drop="backbone.ln_f.bias", add="backbone.ln_f.scale")
    with pytest.raises(
        CheckpointError,
        match=r"missing: backbone\.ln_f\.bias; unexpected: backbone\.ln_f\.scale\. Config and weights are of different",
    ):
        load_model(folder)


def test_weights_in_a_foreign_layout_are_recognized(folder: Path) -> None:
    change_weights(folder, add="hyena.backbone.ln_f.bias")
    with pytest.raises(CheckpointError, match="layout of another program: convert the checkpoint first"):
        load_model(folder)


def test_a_head_without_a_config_and_a_config_without_a_head(folder: Path, classifier_folder: Path) -> None:
    head = json.loads((classifier_folder / "config.json").read_text())["head"]
    change_config(classifier_folder, head=None)
    with pytest.raises(CheckpointError, match="classification head that the config does not mention"):
        load_model(classifier_folder)
    change_config(folder, head=head)
    with pytest.raises(CheckpointError, match="They lack the classification head"):
        load_model(folder)


def test_other_shapes_are_named(folder: Path) -> None:
    change_config(folder, config=tiny_config(d_inner=64).to_dict())
    with pytest.raises(
        CheckpointError,
        match=r"layers\.0\.mlp\.fc1\.weight is \(128, 32\), expected \(64, 32\).*different models",
    ):
        load_model(folder)
