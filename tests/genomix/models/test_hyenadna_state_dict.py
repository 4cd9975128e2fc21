import pytest
import torch
from torch import Tensor

from genomix.models.hyenadna.model import HyenaDNA
from genomix.models.hyenadna.state_dict import LAYOUTS, Layout, detect_layout, from_foreign, to_layout
from genomix_data.errors import CheckpointError
from tests.genomix.golden import tensors, tiny_config, values

FILES: dict[str, Layout] = {
    "lm_repo.safetensors": "repo",
    "lm_repo_checkpointed.safetensors": "repo_checkpointed",
    "standalone.safetensors": "standalone",
    "hf_causal/model.safetensors": "hf",
}


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


@pytest.mark.parametrize(("file", "layout"), FILES.items())
def test_published_layouts_load_strictly_and_are_written_back(file: str, layout: Layout) -> None:
    published = tensors(file)
    native, found = from_foreign(published)
    assert found == detect_layout(published) == layout
    config = tiny_config(tie_embeddings="lm_head.weight" not in native)
    HyenaDNA(config).load_state_dict(native, strict=True)
    written = to_layout(native, layout, config)
    if layout == "hf":
        # hub files hold the shared frequency once; the state dict of the model lists it three times
        assert set(written) == set(values("hf_meta.json")["keys_full"])
        assert published.keys() <= written.keys()
    else:
        assert written.keys() == published.keys()
    for key, tensor in published.items():
        if key.endswith("pos_emb.z"):
            torch.testing.assert_close(written[key], tensor, atol=1e-7, rtol=0)
        else:
            assert torch.equal(written[key], tensor), key


def test_all_layouts_of_the_same_weights_give_the_same_tensors() -> None:
    native = from_foreign(tensors("lm_repo.safetensors"))[0]
    assert "lm_head.weight" not in native
    assert same(from_foreign(tensors("lm_repo_checkpointed.safetensors"))[0], native)
    for layout in LAYOUTS:
        back, found = from_foreign(to_layout(native, layout, tiny_config()))
        assert found == layout
        assert same(back, native), layout


def test_lightning_state_dict_with_counters_and_a_decoder() -> None:
    native = from_foreign(tensors("lm_repo.safetensors"))[0]
    native["head.output_transform.weight"] = torch.ones(3, 32)
    native["head.output_transform.bias"] = torch.zeros(3)
    lightning = to_layout(native, "lightning", tiny_config())
    assert "decoder.0.output_transform.weight" in lightning
    assert "model.backbone.ln_f.weight" in lightning
    assert "model.lm_head.weight" not in lightning
    lightning["val_torchmetrics.num_tokens.count"] = torch.tensor(5)
    back, layout = from_foreign(lightning)
    assert layout == "lightning"
    assert same(back, native)


def test_hugging_face_classifier() -> None:
    native = from_foreign(tensors("standalone.safetensors"))[0]
    native["head.output_transform.weight"] = torch.ones(3, 32)
    native["head.output_transform.bias"] = torch.zeros(3)
    written = to_layout(native, "hf", tiny_config())
    assert written["score.weight"].shape == (3, 32)
    assert "score.bias" not in written
    back, _ = from_foreign(written)
    assert torch.equal(back["head.output_transform.weight"], torch.ones(3, 32))
    native["head.output_transform.bias"] = torch.ones(3)
    with pytest.raises(CheckpointError, match="Hugging Face classifier has no bias"):
        to_layout(native, "hf", tiny_config())


@pytest.mark.parametrize("kept", [1, 3, 5])
def test_the_shared_frequency_may_stand_under_any_of_its_numbers(kept: int) -> None:
    published = tensors("lm_repo.safetensors")
    some = {
        key: value for key, value in published.items() if not key.endswith("freq") or f".{kept}.freq" in key
    }
    assert same(from_foreign(some)[0], from_foreign(published)[0])


def test_frequencies_that_differ_are_refused() -> None:
    published = tensors("lm_repo.safetensors")
    key = "backbone.layers.1.mixer.filter_fn.implicit_filter.5.freq"
    published[key] = published[key] + 1
    with pytest.raises(CheckpointError, match=r"implicit_filter\.5\.freq' should be the same tensor as"):
        from_foreign(published)


def test_trainable_positions_are_kept_on_request() -> None:
    published = tensors("lm_repo.safetensors")
    native, _ = from_foreign(published, trainable_positions=True)
    assert native["backbone.layers.0.mixer.filter_fn.pos_emb.z"].shape == (1, 256, 5)
    HyenaDNA(tiny_config(lr_pos_emb=1e-5)).load_state_dict(native, strict=True)


def test_an_unknown_key_is_kept_for_strict_loading_to_name() -> None:
    native, _ = from_foreign({**tensors("lm_repo.safetensors"), "backbone.extra.weight": torch.zeros(1)})
    with pytest.raises(RuntimeError, match=r"Unexpected key.*backbone\.extra\.weight"):
        HyenaDNA(tiny_config()).load_state_dict(native, strict=True)


def test_another_model_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"not a HyenaDNA checkpoint: .* It has encoder\.weight"):
        from_foreign({"encoder.weight": torch.zeros(1)})
    with pytest.raises(CheckpointError, match="expected tensors under our own names, got layout 'repo'"):
        to_layout(tensors("lm_repo.safetensors"), "hf", tiny_config())
