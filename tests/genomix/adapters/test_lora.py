"""Adapters change nothing at first, train alone, and leave the plain model when merged; in both families."""

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from genomix.adapters.lora import (
    LoraConfig,
    adapter_state,
    add_adapters,
    linear_names,
    load_adapter_state,
    merge_adapters,
)
from genomix.models.families import AnyLanguageModel
from genomix.models.hyenadna.model import HyenaDNA
from genomix.models.stripedhyena2.model import StripedHyena2
from genomix_data.errors import ConfigError
from tests.genomix.golden import tiny_config
from tests.genomix.stripedhyena2_golden import CONFIG


def hyenadna() -> AnyLanguageModel:
    return HyenaDNA(tiny_config())


def stripedhyena2() -> AnyLanguageModel:
    return StripedHyena2(CONFIG)


MODELS = [pytest.param(hyenadna, id="hyenadna"), pytest.param(stripedhyena2, id="stripedhyena2")]
TARGETS = {"hyenadna": "*.in_proj", "stripedhyena2": "*.projections"}
Build = Callable[[], AnyLanguageModel]


def build(make: Build) -> AnyLanguageModel:
    torch.manual_seed(0)
    return make().eval()


def tokens(model: AnyLanguageModel) -> Tensor:
    n_rows = 12 if isinstance(model, HyenaDNA) else model.config.vocab_size
    return torch.randint(0, n_rows, (2, 50), generator=torch.Generator().manual_seed(1))


def train_a_little(model: nn.Module, ids: Tensor) -> None:
    model.train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        torch.autograd.backward(model(ids).float().square().mean())
        optimizer.step()
    model.eval()


@pytest.mark.parametrize("make", MODELS)
def test_new_adapters_change_nothing_bit_for_bit(make: Build) -> None:
    model = build(make)
    ids = tokens(model)
    with torch.no_grad():
        before = model(ids)
        state = model.init_state(2)
        stepped, _ = model.extend(ids, state)
        names = add_adapters(model, LoraConfig(rank=4, dropout=0.5))
        assert torch.equal(model(ids), before)
        again, _ = model.extend(ids, model.init_state(2))
    assert torch.equal(again, stepped)
    assert any(name.endswith("mixer.out_proj") for name in names)
    assert not any("implicit_filter" in name for name in names)


@pytest.mark.parametrize("make", MODELS)
def test_merged_equals_unmerged_and_has_the_published_names(make: Build) -> None:
    model = build(make)
    ids = tokens(model)
    names, shapes = list(model.state_dict()), {k: v.shape for k, v in model.state_dict().items()}
    classes = [type(module) for module in model.modules()]
    with torch.no_grad():
        untrained = model(ids)
    add_adapters(model, LoraConfig(rank=3, alpha=6, dropout=0.1))
    train_a_little(model, ids)
    with torch.no_grad():
        unmerged = model(ids)
        merge_adapters(model)
        merged = model(ids)
    assert not torch.allclose(unmerged, untrained, atol=1e-4), "training changed something"
    assert torch.equal(merged, unmerged)
    state = model.state_dict()
    assert sorted(state) == sorted(names)
    assert {key: tensor.shape for key, tensor in state.items()} == shapes
    assert [type(module) for module in model.modules()] == classes
    plain = build(make)
    plain.load_state_dict(state, strict=True)
    with torch.no_grad():
        assert torch.equal(plain(ids), unmerged)


@pytest.mark.parametrize("make", MODELS)
def test_only_adapters_get_gradients_and_all_of_them_do(make: Build) -> None:
    model = build(make)
    before = deepcopy(model.state_dict())
    names = add_adapters(model, LoraConfig(rank=2))
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trainable == {f"{name}.parametrizations.weight.0.{part}" for name in names for part in "ab"}
    train_a_little(model, tokens(model))
    for name, parameter in model.named_parameters():
        has_gradient = parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)
        assert has_gradient == (name in trainable), name
    for name in names:
        original = model.get_parameter(f"{name}.parametrizations.weight.original")
        assert torch.equal(original, before[f"{name}.weight"])


@pytest.mark.parametrize("make", MODELS)
def test_adapters_are_kept_apart_and_put_on_again(make: Build) -> None:
    model = build(make)
    ids = tokens(model)
    config = LoraConfig(rank=2, targets=("*.out_proj",))
    names = add_adapters(model, config)
    train_a_little(model, ids)
    state = adapter_state(model)
    assert sorted(state) == sorted(f"{name}.lora_{part}" for name in names for part in "ab")
    fresh = build(make)
    add_adapters(fresh, config)
    load_adapter_state(fresh, state)
    with torch.no_grad():
        assert torch.equal(fresh(ids), model(ids))
    other = build(make)
    add_adapters(other, LoraConfig(rank=3, targets=("*.out_proj",)))
    with pytest.raises(ConfigError, match="not those of the model"):
        load_adapter_state(other, state)
    with pytest.raises(ConfigError, match="has an adapter already"):
        add_adapters(model, config)


@pytest.mark.parametrize("make", MODELS)
def test_targets_are_chosen_by_name(make: Build, request: pytest.FixtureRequest) -> None:
    model = build(make)
    pattern = TARGETS[request.node.callspec.id]
    names = add_adapters(model, LoraConfig(targets=(pattern,)))
    assert names == tuple(name for name in linear_names(model) if name.endswith(pattern[1:]))
    with pytest.raises(ConfigError, match=r"no linear map .* like '\*\.in_porj'; there are"):
        add_adapters(build(make), LoraConfig(targets=(pattern, "*.in_porj")))


def test_the_mlp_of_a_filter_can_be_a_target_and_its_cache_follows() -> None:
    model = build(hyenadna)
    ids = tokens(model)
    add_adapters(model, LoraConfig(rank=2, targets=("*implicit_filter*",)))
    with torch.no_grad():
        first = model(ids)
    train_a_little(model, ids)
    with torch.no_grad():
        cached = model(ids)
    assert not torch.equal(cached, first)
    torch.testing.assert_close(model(ids), cached, atol=1e-6, rtol=1e-6)


def test_low_precision_weights_are_changed_in_fp32_and_rounded_once() -> None:
    linear = nn.Linear(8, 8, bias=False).bfloat16()
    model = nn.Sequential(linear)
    frozen = linear.weight.detach().clone()
    add_adapters(model, LoraConfig(rank=2))
    assert torch.equal(linear.weight, frozen)
    state = adapter_state(model)
    assert {tensor.dtype for tensor in state.values()} == {torch.float32}
    torch.nn.init.normal_(state["0.lora_b"])
    expected = (frozen.float() + 8.0 * (state["0.lora_b"] @ state["0.lora_a"])).to(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(linear.weight, expected)
    assert not torch.equal(expected, frozen)


def test_dropout_hides_input_features_in_training_only() -> None:
    linear = nn.Linear(64, 4, bias=False)
    model = nn.Sequential(linear)
    frozen = linear.weight.detach().clone()
    add_adapters(model, LoraConfig(rank=2, alpha=2, dropout=0.5))
    with torch.no_grad():
        adapter_state(model)["0.lora_b"].fill_(1.0)
        torch.manual_seed(0)
        linear.train()
        hidden = (linear.weight == frozen).all(dim=0)
        assert 16 < int(hidden.sum()) < 48
        linear.eval()
        assert not (linear.weight == frozen).all(dim=0).any()
        full = linear.weight.clone()
        linear.train()
        merge_adapters(model)
    assert torch.equal(linear.weight, full), "merged without dropout"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rank": 0}, "rank of the adapters is 0"),
        ({"alpha": 0.0}, "alpha of the adapters is 0"),
        ({"alpha": float("nan")}, "alpha of the adapters is nan"),
        ({"dropout": 1.0}, "dropout of the adapters is 1.0"),
        ({"targets": ()}, "no targets"),
    ],
)
def test_impossible_adapters_are_refused(changes: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LoraConfig(**changes)  # type: ignore[arg-type]
