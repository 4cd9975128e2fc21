"""Checkpoints of other programs become ours, give the official numbers, and go back bit for bit."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from genomix.checkpoint.convert import convert
from genomix.checkpoint.describe import Choices
from genomix.checkpoint.foreign import Layout, read_json
from genomix.checkpoint.native import load_model
from genomix.checkpoint.precision import PrecisionLossError
from genomix.checkpoint.unpickle import UnsafePickleError, load_foreign
from genomix.models.registry import build_model, get_model, hyenadna_config
from genomix.models.stripedhyena2.model import StripedHyena2
from genomix.models.stripedhyena2.state_dict import to_vortex
from genomix_data.errors import CheckpointError, ConfigError
from tests.genomix import golden
from tests.genomix import stripedhyena2_golden as sh2

HYENADNA = golden.FIXTURES
VORTEX = sh2.FIXTURES / "tiny_vortex_state_dict.safetensors"
SHIFTED = Choices(shift=0.0)

HYENADNA_SOURCES: list[tuple[str, Layout]] = [
    ("lm_repo.safetensors", "hyenadna-repo"),
    ("lm_repo_checkpointed.safetensors", "hyenadna-repo-checkpointed"),
    ("lightning_like.ckpt", "hyenadna-lightning"),
]


@pytest.mark.parametrize(("name", "layout"), HYENADNA_SOURCES)
def test_official_hyenadna_language_models(tmp_path: Path, name: str, layout: Layout) -> None:
    report = convert(HYENADNA / name, tmp_path / "m", choices=SHIFTED)
    assert report.source_layout == layout
    assert report.is_lossless, report.changed
    model = load_model(tmp_path / "m").language_model
    assert model.config == golden.tiny_config()
    arrays = golden.tensors("lm_repo_io.npz")
    # the training checkpoint's weights are one step of weight decay away from the others
    atol = 1e-2 if layout == "hyenadna-lightning" else golden.ATOL
    torch.testing.assert_close(
        model(arrays["ids_short"]), arrays["logits_short"], atol=atol, rtol=golden.RTOL
    )


def test_a_hugging_face_folder(tmp_path: Path) -> None:
    report = convert(HYENADNA / "hf_causal", tmp_path / "m")
    assert report.source_layout == "hyenadna-hf"
    assert any("from config.json" in note for note in report.notes)
    assert any("shift = 0.05 assumed" in note for note in report.notes)
    model = load_model(tmp_path / "m").language_model
    arrays = golden.tensors("hf_causal_io.npz")
    golden.assert_close(model(arrays["ids_short"]), arrays["logits_short"])
    # its positional features were computed on another machine: they come back to rounding, everything else exactly
    assert all(name.endswith("pos_emb.z") for name in report.changed)


def test_standalone_weights(tmp_path: Path) -> None:
    convert(HYENADNA / "standalone.safetensors", tmp_path / "m", choices=Choices(shift=0.05))
    model = load_model(tmp_path / "m").language_model
    arrays = golden.tensors("standalone_io.npz")
    golden.assert_close(model.hidden_states(arrays["ids_short"]), arrays["hidden_short"])


@pytest.mark.parametrize(
    "layout",
    [
        "hyenadna-repo",
        "hyenadna-repo-checkpointed",
        "hyenadna-lightning",
        "hyenadna-hf",
        "hyenadna-standalone",
    ],
)
def test_hyenadna_there_and_back(tmp_path: Path, layout: Layout) -> None:
    convert(HYENADNA / "lm_repo.safetensors", tmp_path / "a", choices=SHIFTED)
    there = convert(tmp_path / "a", tmp_path / "foreign.ckpt", to=layout)
    assert there.is_lossless, there.changed
    back = convert(tmp_path / "foreign.ckpt", tmp_path / "b", choices=SHIFTED)
    assert back.source_layout == layout
    assert back.is_lossless, back.changed
    assert load_model(tmp_path / "a").sha256 == load_model(tmp_path / "b").sha256


def test_a_fine_tuned_head_is_carried(tmp_path: Path) -> None:
    state = golden.tensors("lm_repo.safetensors")
    del state["lm_head.weight"]
    weight, bias = torch.randn(3, 32), torch.randn(3)
    lightning = {f"model.{name}": tensor for name, tensor in state.items()}
    lightning |= {"decoder.0.output_transform.weight": weight, "decoder.0.output_transform.bias": bias}
    torch.save({"state_dict": lightning, "epoch": 3}, tmp_path / "tuned.ckpt")
    report = convert(tmp_path / "tuned.ckpt", tmp_path / "m", choices=Choices(shift=0.0, pooling="last"))
    assert report.dropped == ["epoch"]
    classifier = load_model(tmp_path / "m", expect="classifier").classifier
    assert classifier.pooling == "last"
    assert torch.equal(classifier.head.output_transform.weight, weight)
    assert torch.equal(classifier.head.output_transform.bias, bias)
    back = convert(tmp_path / "m", tmp_path / "back.ckpt", to="hyenadna-lightning")
    assert back.is_lossless
    again = load_foreign(tmp_path / "back.ckpt")["state_dict"]
    assert again.keys() == lightning.keys()
    assert all(torch.equal(again[name], tensor) for name, tensor in lightning.items())


def test_a_head_without_bias_and_assumed_pooling(tmp_path: Path) -> None:
    convert(HYENADNA / "lm_repo.safetensors", tmp_path / "a", choices=SHIFTED)
    convert(tmp_path / "a", tmp_path / "hf", to="hyenadna-hf")
    tensors = load_file(tmp_path / "hf" / "model.safetensors")
    del tensors["lm_head.weight"]
    save_file({**tensors, "score.weight": torch.randn(2, 32)}, tmp_path / "hf" / "model.safetensors")
    report = convert(tmp_path / "hf", tmp_path / "m")
    assert any("pooling 'last' assumed" in note for note in report.notes)
    assert any("a bias of zeros was added" in note for note in report.notes)
    assert report.is_lossless, report.changed


def test_trained_positions_are_kept_and_said(tmp_path: Path) -> None:
    state = golden.tensors("lm_repo.safetensors")
    key = "backbone.layers.0.mixer.filter_fn.pos_emb.z"
    state[key] = state[key] + 0.01
    save_file(state, tmp_path / "trained.safetensors")
    report = convert(tmp_path / "trained.safetensors", tmp_path / "m", choices=SHIFTED)
    assert any("kept as trained" in note for note in report.notes)
    assert torch.equal(load_model(tmp_path / "m").language_model.get_parameter(key), state[key])


def test_other_decay_rates_are_recognized_or_refused(tmp_path: Path) -> None:
    model = build_model(golden.tiny_config(fast_decay_pct=0.2, slow_decay_pct=1.0))
    from genomix.models.hyenadna.state_dict import to_layout

    state = to_layout(model.state_dict(), "repo", model.config)
    save_file({name: tensor.clone() for name, tensor in state.items()}, tmp_path / "a.safetensors")
    convert(tmp_path / "a.safetensors", tmp_path / "m", choices=SHIFTED)
    config = load_model(tmp_path / "m").hyenadna.config
    assert config.fast_decay_pct == pytest.approx(0.2, rel=1e-5)
    assert config.slow_decay_pct == pytest.approx(1.0, rel=1e-5)
    for name in state:
        if name.endswith("deltas"):
            state[name] = state[name].square()
    save_file({name: tensor.clone() for name, tensor in state.items()}, tmp_path / "b.safetensors")
    with pytest.raises(CheckpointError, match="not evenly spaced"):
        convert(tmp_path / "b.safetensors", tmp_path / "n", choices=SHIFTED)


def test_published_sizes_are_recognized(tmp_path: Path) -> None:
    from genomix.models.hyenadna.state_dict import to_layout

    model = build_model(hyenadna_config("hyenadna/tiny-1k"))
    torch.save(
        {"state_dict": to_layout(model.state_dict(), "lightning", model.config)}, tmp_path / "weights.ckpt"
    )
    report = convert(tmp_path / "weights.ckpt", tmp_path / "m")
    assert report.matches == ["hyenadna/tiny-1k"]
    assert report.is_published_file is None
    assert load_model(tmp_path / "m").config == hyenadna_config("hyenadna/tiny-1k")


def test_official_evo2_layouts(tmp_path: Path) -> None:
    config = read_json(sh2.FIXTURES / "tiny_config.json")
    report = convert(VORTEX, tmp_path / "m", choices=Choices(settings=config))
    assert report.source_layout == "vortex"
    assert report.is_lossless, report.changed
    model = load_model(tmp_path / "m").language_model
    assert model.config == sh2.CONFIG
    arrays = sh2.arrays("tiny_forward.npz")
    with torch.inference_mode():
        logits = model(arrays["input_ids"][:, :64])
        sh2.assert_close(logits, sh2.official_model()(arrays["input_ids"][:, :64]), sh2.LOGITS)


def test_evo2_there_and_back_as_a_pickle_and_in_parts(tmp_path: Path) -> None:
    convert(VORTEX, tmp_path / "a")
    convert(tmp_path / "a", tmp_path / "evo.pt", to="vortex")
    assert load_foreign(tmp_path / "evo.pt").keys() == load_file(VORTEX).keys()
    whole = (tmp_path / "evo.pt").read_bytes()
    (tmp_path / "evo.pt").unlink()
    for number, begin in enumerate(range(0, len(whole), len(whole) // 3 + 1)):
        (tmp_path / f"evo.pt.part{number}").write_bytes(whole[begin : begin + len(whole) // 3 + 1])
    for number, name in enumerate(("evo.pt.part0", "evo.pt")):
        report = convert(tmp_path / name, tmp_path / f"b{number}")
        assert report.is_lossless
        assert load_model(tmp_path / f"b{number}").sha256 == load_model(tmp_path / "a").sha256
    assert not list(tmp_path.glob(".joined*"))


def test_savanna_nested_under_module_and_what_it_leaves_open(tmp_path: Path) -> None:
    state = {
        f"module.{name}": tensor
        for name, tensor in sh2.tensors("tiny_savanna_state_dict.safetensors").items()
    }
    torch.save({"module": state, "step": 7}, tmp_path / "savanna.pt")
    report = convert(tmp_path / "savanna.pt", tmp_path / "m")
    assert report.source_layout == "savanna"
    assert report.dropped == ["step"]
    assert not report.is_lossless
    assert all(name.endswith((".p", ".gamma", ".h", ".decay")) for name in report.changed)
    assert any("only their combinations matter" in note for note in report.notes)
    model = load_model(tmp_path / "m").language_model
    ids = sh2.arrays("tiny_forward.npz")["input_ids"][:, :100]
    with torch.inference_mode():
        sh2.assert_close(model(ids), sh2.official_model()(ids), sh2.LOGITS)


def _evo2(name: str, **changes: Any) -> dict[str, torch.Tensor]:
    """Weights of the shapes of a published size, on no device."""
    with torch.device("meta"):
        model = build_model(get_model(name).config, **changes)
    assert isinstance(model, StripedHyena2)
    return to_vortex(model.state_dict(), model.config)


def test_sizes_that_shapes_cannot_tell_apart_must_be_named() -> None:
    from genomix.checkpoint.describe import describe
    from genomix.checkpoint.foreign import Foreign
    from genomix.models.stripedhyena2.infer import fields_of_shapes

    state = _evo2("evo2/7b_base")
    del state["unembed.weight"]  # values cannot be compared on the meta device
    for key in state:
        if key.endswith("inv_freq"):
            state[key] = torch.full((64,), 0.5)
    foreign = Foreign(Path("x.pt"), "stripedhyena2", "vortex", state, None)
    with pytest.raises(ConfigError, match=r"evo2/7b_base and evo2/7b_262k.*position_scale.*--model"):
        describe(foreign, Choices())
    chosen = describe(foreign, Choices(model="evo2/7b_262k"))
    assert chosen.config == get_model("evo2/7b_262k").config
    wide = _evo2("evo2/7b")
    del wide["unembed.weight"]
    for key in wide:
        if key.endswith("inv_freq"):
            wide[key] = torch.full((64,), 0.5)
    alone = describe(Foreign(Path("x.pt"), "stripedhyena2", "vortex", wide, None), Choices())
    assert alone.config == get_model("evo2/7b").config
    assert any("position_scale = 128.0" in note for note in alone.notes)
    assert fields_of_shapes(state, "vortex")["d_inner"] == 11008


def test_scales_of_8_bit_projections_are_kept(tmp_path: Path) -> None:
    state: dict[str, Any] = sh2.tensors(VORTEX.name)
    for index, letter in enumerate("SMLASMLA"):
        if letter != "A":
            buffer = io.BytesIO()
            torch.save({"scale_fwd": torch.tensor([2.0 + index, 64.0, 1.0])}, buffer)
            buffer.seek(0)
            state[f"blocks.{index}.projections._extra_state"] = buffer
    torch.save(state, tmp_path / "fp8.pt")
    settings = {**read_json(sh2.FIXTURES / "tiny_config.json"), "use_fp8_input_projections": True}
    report = convert(tmp_path / "fp8.pt", tmp_path / "m", choices=Choices(settings=settings))
    assert any("scales of the 8-bit projections kept" in note for note in report.notes)
    with pytest.raises(PrecisionLossError, match="8-bit"):
        load_model(tmp_path / "m")
    model = load_model(tmp_path / "m", allow_precision_loss=True).language_model
    assert model.get_buffer("blocks.5.mixer.projections.input_scale") == 7.0
    assert model.get_buffer("blocks.5.mixer.projections.weight_scale") == 64.0
    back = convert(tmp_path / "m", tmp_path / "back.pt", to="vortex")
    assert any("left out: scales" in note for note in back.notes)
    assert not back.is_lossless


def test_what_published_files_hold_besides_is_left_out_and_never_opened(tmp_path: Path) -> None:
    state: dict[str, Any] = sh2.tensors(VORTEX.name)
    state["blocks.0.projections._extra_state"] = io.BytesIO(b"cos\nsystem\n(S'false'\ntR.")
    state["blocks.3.mixer.dense._extra_state"] = None
    state["blocks.2.mixer.mixer.filter.t"] = torch.arange(10)
    torch.save(state, tmp_path / "evo2.pt")
    report = convert(tmp_path / "evo2.pt", tmp_path / "m")
    assert report.is_lossless, report.changed
    assert sorted(report.dropped) == ["blocks.2.mixer.mixer.filter.t", "blocks.3.mixer.dense._extra_state"]
    assert any(
        "extra states of the projections, which this model does not need" in note for note in report.notes
    )
    settings = {**read_json(sh2.FIXTURES / "tiny_config.json"), "use_fp8_input_projections": True}
    with pytest.raises(UnsafePickleError, match=r"os\.system"):
        convert(tmp_path / "evo2.pt", tmp_path / "n", choices=Choices(settings=settings))


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    state = sh2.tensors(VORTEX.name)
    del state["blocks.5.mlp.l3.weight"]
    save_file(state, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match=r"missing: blocks\.5\.mlp\.l3\.weight"):
        convert(tmp_path / "a.safetensors", tmp_path / "m")
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("choices", "to", "message"),
    [
        (Choices(model="evo2/7b"), "native", "is no HyenaDNA model"),
        (
            Choices(model="hyenadna/tiny-1k"),
            "native",
            "have other shapes than its config gives",
        ),
        (Choices(), "vortex", "this is a HyenaDNA model; --to takes native"),
        (Choices(model="hyenadna/nope"), "native", "no model is named"),
    ],
)
def test_what_does_not_go_together(tmp_path: Path, choices: Choices, to: Layout, message: str) -> None:
    with pytest.raises((CheckpointError, ConfigError), match=message):
        convert(HYENADNA / "lm_repo.safetensors", tmp_path / "m", to=to, choices=choices)
    assert not (tmp_path / "m").exists()


def test_what_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        convert(tmp_path / "absent", tmp_path / "m")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="holds no weights"):
        convert(tmp_path / "empty", tmp_path / "m")
    save_file({"x": torch.ones(2)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match=r"in no layout that genomix knows .*it has x"):
        convert(tmp_path / "other.safetensors", tmp_path / "m")
    (tmp_path / "empty" / "a.pt").write_bytes(b"")
    (tmp_path / "empty" / "b.pt").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"several checkpoints: a\.pt, b\.pt"):
        convert(tmp_path / "empty", tmp_path / "m")
    with pytest.raises(ConfigError, match="is what is read"):
        convert(tmp_path / "other.safetensors", tmp_path / "other.safetensors")


def test_the_folder_says_where_it_is_from(tmp_path: Path) -> None:
    report = convert(VORTEX, tmp_path / "m")
    settings = json.loads((tmp_path / "m" / "config.json").read_text())
    assert settings["provenance"]["conversion"]["source_sha256"] == report.source_sha256
    assert "vortex layout" in (tmp_path / "m" / "README.md").read_text()
