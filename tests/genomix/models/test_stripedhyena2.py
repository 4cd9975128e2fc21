"""StripedHyena 2 gives what the official code gives: forward, operators, cached decoding, layouts."""

from functools import partial

import pytest
import torch
from torch.nn import functional as F

from genomix.inference.likelihood import token_log_likelihood
from genomix.models.stripedhyena2 import model as stripedhyena2_model
from genomix.models.stripedhyena2.config import StripedHyena2Config
from genomix.models.stripedhyena2.model import StripedHyena2
from genomix.models.stripedhyena2.sizes import SIZES
from genomix.models.stripedhyena2.state_dict import (
    detect_layout,
    from_savanna,
    from_vortex,
    to_savanna,
    to_vortex,
)
from genomix.operators.attention import RotaryAttention
from genomix.operators.gated_hyena import GatedHyena
from genomix_data.errors import CheckpointError, ConfigError
from tests.genomix.stripedhyena2_golden import (
    CONFIG,
    LOGITS,
    OPERATORS,
    arrays,
    assert_close,
    official_block,
    official_model,
    tensors,
)

PUBLISHED_PARAMETERS = {  # billions, as the specification of the published models counts them
    "evo2/1b_base": 1.108,
    "evo2/7b_base": 6.481,
    "evo2/7b_262k": 6.481,
    "evo2/7b": 6.582,
    "evo2/20b": 19.74,
    "evo2/40b_base": 40.33,
    "evo2/40b": 41.12,
}


def _remember(
    seen: dict[str, torch.Tensor], name: str, _module: object, _inputs: object, output: torch.Tensor
) -> None:
    seen[name] = output


@torch.inference_mode()
def test_logits_and_activations() -> None:
    golden = arrays("tiny_forward.npz")
    model = official_model()
    seen: dict[str, torch.Tensor] = {}
    hooks = [
        block.register_forward_hook(partial(_remember, seen, f"act.block_{index}"))
        for index, block in enumerate(model.blocks)
    ]
    logits = model(golden["input_ids"])
    for hook in hooks:
        hook.remove()
    assert_close(logits[:, golden["positions"]], golden["logits_at_positions"], LOGITS)
    for name, activation in seen.items():
        assert_close(activation[:, golden["act_positions"]], golden[name], LOGITS)
    log_probs = token_log_likelihood(model, golden["input_ids"].long())
    assert_close(log_probs, golden["logprob_next"], LOGITS)


@pytest.mark.parametrize(("kind", "block"), [("hcs", 0), ("hcm", 1), ("hcl", 2)])
@torch.inference_mode()
def test_hyena_operators_between_their_projections(kind: str, block: int) -> None:
    golden = arrays("tiny_operators.npz")
    mixer = official_block(block).mixer
    assert isinstance(mixer, GatedHyena)
    bare = GatedHyena(64, mixer.filter, featurizer_len=3, is_interleaved=True, has_out_bias=False).eval()
    bare.featurizer = mixer.featurizer
    bare.projections = torch.nn.Identity()  # type: ignore[assignment]  # the fixture holds what it returns
    bare.out_proj = torch.nn.Identity()  # type: ignore[assignment]
    state = bare.init_state(2, device=torch.device("cpu"), dtype=torch.float32)
    y, _ = bare.extend(golden[f"{kind}.u"], state)
    assert_close(y, golden[f"{kind}.y"], OPERATORS)


@torch.inference_mode()
def test_attention() -> None:
    golden = arrays("tiny_operators.npz")
    mixer = official_block(3).mixer
    assert isinstance(mixer, RotaryAttention)
    torch.testing.assert_close(mixer.inv_freq, golden["attn.inv_freq"], rtol=0, atol=0)
    assert_close(mixer(golden["attn.u"]), golden["attn.y"], OPERATORS)


@pytest.mark.parametrize("block", [0, 1])
@torch.inference_mode()
def test_only_the_first_mlp_has_a_gelu(block: int) -> None:
    golden = arrays("tiny_operators.npz")
    expected = golden["mlp.layer0_gelu" if block == 0 else "mlp.layer1_identity"]
    assert_close(official_block(block).mlp(golden["mlp.u"]), expected, OPERATORS)


@torch.inference_mode()
def test_rms_norm_adds_eps_outside_the_root() -> None:
    golden = arrays("tiny_operators.npz")
    matches = [
        torch.allclose(norm(golden["rms.u"]), golden["rms.y"], atol=1e-6)
        for index in range(8)
        for norm in (official_block(index).pre_norm, official_block(index).post_norm)
    ]
    assert any(matches)


@torch.inference_mode()
def test_prefill_and_steps_from_its_state() -> None:
    golden = arrays("tiny_cached_T200.npz")
    model, ids = official_model(), golden["input_ids"]
    hidden, state = model.extend(ids[:, :200], model.init_state(2, max_len=260))
    assert_close(model.logits(hidden)[:, -1], golden["prefill_last_logits"], LOGITS)
    for block, kind in enumerate(["hcs", "hcm", "hcl", None, "hcs", "hcm", "hcl", None]):
        if kind is not None:
            prefix = f"state_after_prefill.{kind}"
            assert_close(state[block]["featurizer"], golden[f"{prefix}.fir_state.{block}"], OPERATORS)
            inner = f"{prefix}.state.{block}" if kind == "hcl" else f"{prefix}.fir_inner_state.{block}"
            assert_close(state[block]["modes" if kind == "hcl" else "inner"], golden[inner], OPERATORS)
    for step in range(60):
        hidden, state = model.extend(ids[:, 200 + step : 201 + step], state)
        assert_close(model.logits(hidden)[:, 0], golden["step_logits"][:, step], LOGITS)


@pytest.mark.parametrize("chunk", [1, 7, 128, 1000])
@pytest.mark.parametrize("prompt", [1, 2, 3, 4, 5, 150])
@torch.inference_mode()
def test_any_prompt_and_any_chunk_is_the_whole_forward(prompt: int, chunk: int) -> None:
    ids = arrays("tiny_forward.npz")["input_ids"]
    model = official_model()
    whole = model(ids)
    hidden, state = model.extend(ids[:, :prompt], model.init_state(2))
    pieces = [hidden]
    for begin in range(prompt, ids.shape[1], chunk):
        hidden, state = model.extend(ids[:, begin : begin + chunk], state)
        pieces.append(hidden)
    assert_close(model.logits(torch.cat(pieces, dim=1)), whole, LOGITS)


@torch.inference_mode()
def test_bf16_stays_near_fp32_as_the_official_policy_does() -> None:
    golden = arrays("tiny_bf16_forward.npz")
    model = StripedHyena2(CONFIG)
    model.load_state_dict(official_model().state_dict())
    poles = {name: value.clone() for name, value in model.state_dict().items() if "log_poles" in name}
    model = model.eval().to(torch.bfloat16)
    for name, value in model.state_dict().items():
        if name in poles:
            assert value.dtype == torch.float32, f"{name} must stay in fp32"
            torch.testing.assert_close(value, poles[name], rtol=0, atol=0)
    logits = model(golden["input_ids"])[:, golden["positions"]].float()
    exact = official_model()(golden["input_ids"])[:, golden["positions"]]
    ours, theirs = (logits - exact).abs().mean(), (golden["logits_at_positions"] - exact).abs().mean()
    assert ours < 1.5 * theirs, f"mean |dlogit| {ours:.3f}, official bf16 {theirs:.3f}"


@torch.inference_mode()
def test_norms_that_round_for_products_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    model = StripedHyena2(CONFIG).eval()
    ids = arrays("tiny_forward.npz")["input_ids"][:, :70].long()
    dtypes = []
    model.get_submodule("blocks.0.pre_norm").register_forward_hook(
        lambda _module, _inputs, y: dtypes.append(y.dtype)
    )
    with torch.autocast("cpu", torch.bfloat16):
        rounded_at_once = model(ids)
        monkeypatch.setattr(stripedhyena2_model, "_dtype_of_products", lambda x: None)
        rounded_by_products = model(ids)
    assert dtypes == [torch.bfloat16, torch.float32]
    assert torch.equal(rounded_at_once, rounded_by_products)


def test_vortex_layout_and_back_is_the_same_bit_for_bit() -> None:
    vortex = tensors("tiny_vortex_state_dict.safetensors")
    assert detect_layout(vortex) == "vortex"
    back = to_vortex(from_vortex(vortex, CONFIG), CONFIG)
    assert back.keys() == vortex.keys()
    assert all(torch.equal(back[key], vortex[key]) for key in vortex)


def test_savanna_layout_is_the_same_model() -> None:
    savanna = tensors("tiny_savanna_state_dict.safetensors")
    assert detect_layout(savanna) == "savanna"
    ours = from_savanna(savanna, CONFIG)
    expected = from_vortex(tensors("tiny_vortex_state_dict.safetensors"), CONFIG)
    assert ours.keys() == expected.keys()
    for key, tensor in expected.items():
        torch.testing.assert_close(ours[key], tensor, rtol=1e-6, atol=0)


def test_savanna_and_back_gives_the_same_filters() -> None:
    native = from_vortex(tensors("tiny_vortex_state_dict.safetensors"), CONFIG)
    savanna = to_savanna(native, CONFIG)
    assert savanna.keys() == tensors("tiny_savanna_state_dict.safetensors").keys()
    again = from_savanna(savanna, CONFIG)
    for key, tensor in native.items():
        torch.testing.assert_close(again[key], tensor, rtol=1e-6, atol=0)


def test_a_pole_that_grows_has_no_savanna_form() -> None:
    native = from_vortex(tensors("tiny_vortex_state_dict.safetensors"), CONFIG)
    native["blocks.2.mixer.filter.log_poles"] = native["blocks.2.mixer.filter.log_poles"].abs()
    with pytest.raises(CheckpointError, match="block 2 has a pole that does not decay"):
        to_savanna(native, CONFIG)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: size.name)
def test_parameter_counts(size: object) -> None:
    row = next(each for each in SIZES if each is size)
    with torch.device("meta"):
        built = sum(parameter.numel() for parameter in StripedHyena2(row.config).parameters())
    assert built == row.config.n_parameters
    if row.name in PUBLISHED_PARAMETERS:
        assert built / 1e9 == pytest.approx(PUBLISHED_PARAMETERS[row.name], rel=5e-4)


def test_gradients_reach_every_parameter() -> None:
    model = StripedHyena2(CONFIG)
    ids = arrays("tiny_forward.npz")["input_ids"][:, :70].long()
    loss = F.cross_entropy(model(ids)[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    torch.autograd.backward(loss)
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pattern": "SMX"}, "pattern is 'SMX'"),
        ({"n_groups": 5}, "n_groups is 5; it must be a divisor of d_model"),
        ({"n_heads": 3}, "n_heads is 3"),
        ({"weights_precision": "int4"}, "weights_precision is 'int4'"),
        ({"d_modell": 64}, "Did you mean 'd_model'"),
    ],
)
def test_bad_configs(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        StripedHyena2Config.from_dict({**CONFIG.to_dict(), **changes})
