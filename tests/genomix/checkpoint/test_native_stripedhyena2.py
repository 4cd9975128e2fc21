"""StripedHyena 2 models as folders: precision, shards, and weights that must not run in another precision."""

import dataclasses
import json
import logging
from pathlib import Path

import pytest
import torch

from genomix.checkpoint import native
from genomix.checkpoint.native import load_model, save_model, write_folder
from genomix.checkpoint.precision import PrecisionLossError
from genomix.checkpoint.shards import read_tensors, write_tensors
from genomix.models.stripedhyena2.config import StripedHyena2Config
from genomix.models.stripedhyena2.model import StripedHyena2
from genomix_data.errors import CheckpointError
from genomix_data.tokenizers import ByteTokenizer
from tests.genomix.stripedhyena2_golden import official_model

SMALL = StripedHyena2Config(
    pattern="SMLA", d_model=16, n_heads=2, d_inner=32, context_len=64, n_groups=4, vocab_size=128
)


def save(model: StripedHyena2, folder: Path) -> Path:
    return save_model(model, folder, tokenizer=ByteTokenizer(), provenance={"seed": 1}, card="# A model\n")


@pytest.fixture
def small() -> StripedHyena2:
    torch.manual_seed(0)
    return StripedHyena2(SMALL).eval()


def test_the_official_weights_come_back_as_they_were(tmp_path: Path) -> None:
    model = official_model()
    loaded = load_model(save(model, tmp_path / "m"), expect="language_model")
    assert loaded.config == model.config
    assert loaded.tokenizer == ByteTokenizer()
    ids = torch.randint(65, 85, (2, 40))
    with torch.inference_mode():
        assert torch.equal(loaded.language_model(ids), model(ids))
    with pytest.raises(
        CheckpointError, match="is a stripedhyena2 model; this works with HyenaDNA models only"
    ):
        _ = loaded.hyenadna


def test_each_tensor_keeps_its_precision(small: StripedHyena2, tmp_path: Path) -> None:
    small.to(torch.bfloat16)
    dtypes = {name: tensor.dtype for name, tensor in small.state_dict().items()}
    assert {dtypes[f"blocks.2.mixer.filter.{name}"] for name in ("log_poles", "residues")} == {torch.float32}
    loaded = load_model(save(small, tmp_path / "m")).language_model
    assert {name: tensor.dtype for name, tensor in loaded.state_dict().items()} == dtypes
    ids = torch.randint(65, 85, (1, 20))
    assert torch.equal(loaded(ids), small(ids))
    in_fp32 = load_model(tmp_path / "m", dtype=torch.float32).language_model
    assert {tensor.dtype for tensor in in_fp32.state_dict().values()} == {torch.float32}


def test_precise_filters_beside_half_activations_run(small: StripedHyena2, tmp_path: Path) -> None:
    mixed = {
        name: tensor
        if ".filter." in name or "inv_freq" in name or name == "norm.scale"
        else tensor.bfloat16()
        for name, tensor in small.state_dict().items()
    }
    write_folder(
        tmp_path / "m",
        mixed.items(),
        config=SMALL,
        head_info=None,
        tokenizer=ByteTokenizer(),
        provenance={},
        card="",
    )
    loaded = load_model(tmp_path / "m").language_model
    assert loaded.get_parameter("blocks.1.mixer.filter.h").dtype is torch.float32
    assert loaded.get_parameter("norm.scale").dtype is torch.bfloat16
    assert loaded(torch.randint(65, 85, (1, 20))).dtype is torch.bfloat16


def test_shards_are_read_as_one(
    small: StripedHyena2, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = load_model(save(small, tmp_path / "whole"))
    monkeypatch.setattr(
        native, "write_tensors", lambda folder, tensors: write_tensors(folder, tensors, shard_bytes=8000)
    )
    save(small, tmp_path / "sharded")
    files = sorted(path.name for path in (tmp_path / "sharded").glob("model-*"))
    assert len(files) > 3
    assert files[0] == f"model-00001-of-{len(files):05d}.safetensors"
    sharded = load_model(tmp_path / "sharded")
    assert sharded.sha256 != whole.sha256
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(sharded.model.state_dict()[name], tensor)
    (tmp_path / "sharded" / files[1]).unlink()
    with pytest.raises(CheckpointError, match=f"lacks {files[1]}: copy the whole folder again"):
        load_model(tmp_path / "sharded")


def test_an_index_that_is_none_or_points_elsewhere(tmp_path: Path) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text("{}")
    with pytest.raises(CheckpointError, match="is not the index of a checkpoint"):
        read_tensors(tmp_path)
    index.write_text(json.dumps({"weight_map": {"a": "../elsewhere.safetensors"}}))
    with pytest.raises(CheckpointError, match=r"lacks \.\./elsewhere\.safetensors"):
        read_tensors(tmp_path)


@pytest.fixture
def fp8_folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model = StripedHyena2(dataclasses.replace(SMALL, weights_precision="fp8"))
    for name, buffer in model.named_buffers():
        if name.endswith("_scale"):
            buffer.fill_(8.0)
    return save(model, tmp_path / "fp8")


def test_weights_of_8_bits_are_refused_where_they_cannot_run(fp8_folder: Path) -> None:
    with pytest.raises(
        PrecisionLossError,
        match=r"trained with 8-bit projections.*need a CUDA GPU, and the device is cpu.*--allow-precision-loss",
    ):
        load_model(fp8_folder)


def test_unless_the_loss_is_allowed_which_is_logged(
    fp8_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    model = load_model(fp8_folder, allow_precision_loss=True).language_model
    assert any("runs without: they need a CUDA GPU" in message for message in caplog.messages)
    assert model(torch.randint(65, 85, (1, 20))).isfinite().all()
    assert model.get_buffer("blocks.0.mixer.projections.input_scale") == 8.0


def test_8_bit_weights_without_scales_say_so(tmp_path: Path) -> None:
    model = StripedHyena2(dataclasses.replace(SMALL, weights_precision="fp8"))
    with pytest.raises(PrecisionLossError, match="the checkpoint holds no scales for them"):
        load_model(save(model, tmp_path / "m"))


@pytest.mark.gpu
def test_8_bit_weights_run_where_the_gpu_can(tmp_path: Path) -> None:
    from genomix.operators.fp8 import scaled_linears, why_not_fp8

    reason = why_not_fp8("cuda")
    if reason is not None:
        pytest.skip(reason)
    torch.manual_seed(0)
    config = dataclasses.replace(SMALL, d_model=64, n_heads=4, d_inner=128, weights_precision="fp8")
    model = StripedHyena2(config).bfloat16()
    for name, buffer in model.named_buffers():
        if name.endswith("_scale"):
            buffer.fill_(100.0)
    loaded = load_model(save(model, tmp_path / "m"), device="cuda").language_model
    assert all(linear.runs_fp8 for linear in scaled_linears(loaded))
    ids = torch.randint(65, 85, (2, 37), device="cuda")
    with torch.inference_mode():
        plain = model.cuda()(ids)
        logits = loaded(ids)
    assert logits.isfinite().all()
    assert not torch.equal(logits, plain)
    assert (logits - plain).abs().mean() < 0.2 * plain.abs().mean()
