import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from genomix.operators.implicit_filter import ImplicitFilter, decay_rates
from genomix.operators.positional import PositionalFeatures
from genomix_data.errors import SequenceTooLongError
from tests.genomix.golden import assert_close, tensors, values

VARIANTS: dict[str, dict[str, Any]] = values("filters_meta.json")
OFFICIAL_NAMES = {"order": "filter_order", "num_inner_mlps": "n_inner_mlps", "target": "decay_target"}
LENGTHS = (1026, 16386, 32770, 160002, 450002, 1000002)


def make_filter(variant: str) -> tuple[ImplicitFilter, dict[str, Tensor]]:
    stored = {key.removeprefix(f"{variant}__"): value for key, value in tensors("filters.npz").items()}
    stored = {key: value for key, value in stored.items() if not key.startswith(("repo_", "standalone_"))}
    settings = dict(VARIANTS[variant])
    settings.pop("impl")
    n_filters, l_max = settings.pop("d_model"), settings.pop("seq_len")
    settings["shift"] = settings.pop("shift_default", settings.get("shift", 0.0))
    options = {OFFICIAL_NAMES.get(key, key): value for key, value in settings.items()}
    filters = ImplicitFilter(n_filters, l_max, **options)
    official = {
        key.removeprefix("param__"): value for key, value in stored.items() if key.startswith("param__")
    }
    own = filters.state_dict()
    filters.load_state_dict({key: official[key] for key in own}, strict=True)
    assert set(official) - set(own) <= {
        "pos_emb.z",
        "pos_emb.t",
        "modulation.deltas",
        "implicit_filter.3.freq",
        "implicit_filter.5.freq",
    }
    return filters, stored


@pytest.mark.parametrize("variant", VARIANTS)
def test_against_official_filters(variant: str, device: str) -> None:
    filters, stored = make_filter(variant)
    filters = filters.to(device)
    lengths = [int(key.removeprefix("k_L")) for key in stored if key.startswith("k_L")]
    assert len(lengths) == 3
    for length in lengths:
        assert_close(filters(length).cpu(), stored[f"k_L{length}"][0].T)


@pytest.mark.parametrize("variant", VARIANTS)
def test_against_official_filters_in_float64(variant: str) -> None:
    filters, stored = make_filter(variant)
    key = next(key for key in stored if key.startswith("k64_L"))
    expected = stored[key][0].T
    actual = filters.double()(expected.shape[1])
    assert actual.dtype is torch.float64
    torch.testing.assert_close(actual, expected, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("l_max", LENGTHS)
def test_positions_of_the_published_lengths(l_max: int) -> None:
    stored = tensors("pos_emb_real_lengths.npz")
    z, t = PositionalFeatures(5, l_max)(l_max, dtype=torch.float32, device=torch.device("cpu"))
    torch.testing.assert_close(z[:8], stored[f"z_head_{l_max}"], atol=1e-6, rtol=0)
    torch.testing.assert_close(z[-8:], stored[f"z_tail_{l_max}"], atol=1e-6, rtol=0)
    torch.testing.assert_close(t[-8:], stored[f"t_tail_{l_max}"], atol=1e-6, rtol=0)


def test_phases_are_rounded_as_published_on_every_device(device: str) -> None:
    """Of some hundred radians: a last digit of one is two units of the fourth decimal of a filter."""
    z, _ = PositionalFeatures(33, 100)(100, dtype=torch.float32, device=torch.device(device))
    turns = (np.float32(2 * math.pi) * np.arange(100, dtype=np.float32) / np.float32(100)).astype(np.float32)
    phase = torch.from_numpy(turns)[:, None] * torch.linspace(1e-4, 15, 16)
    assert phase.max() > 90
    expected = torch.cat([phase.double().cos(), -phase.double().sin()], dim=1)
    torch.testing.assert_close(z[:, 1:].double().cpu(), expected, atol=3e-7, rtol=0)


@pytest.mark.parametrize("n_filters", [128, 256])
def test_decay_rates_of_the_published_widths(n_filters: int) -> None:
    rates = decay_rates(
        n_filters, fast_decay_pct=0.3, slow_decay_pct=1.5, decay_target=1e-2, device=torch.device("cpu")
    )
    expected = tensors("pos_emb_real_lengths.npz")[f"deltas_{n_filters}"]
    torch.testing.assert_close(rates, expected, atol=0, rtol=0)
    assert math.exp(rates[0].item()) == pytest.approx(0.0464, abs=1e-4)


def test_a_shorter_filter_is_a_prefix() -> None:
    filters, _ = make_filter("repo_default")
    torch.testing.assert_close(filters(100), filters(256)[:, :100], atol=1e-6, rtol=1e-5)


def test_autocast_and_half_parameters_leave_it_in_fp32() -> None:
    filters, _ = make_filter("standalone_default")
    expected = filters(64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = filters(64)
    assert inside.dtype is torch.float32
    torch.testing.assert_close(inside, expected, atol=0, rtol=0)
    rounded = filters.bfloat16()(64)
    assert rounded.dtype is torch.float32
    assert rounded.isfinite().all()


def test_one_frequency_is_held_once_and_every_layer_uses_it() -> None:
    filters, _ = make_filter("repo_default")
    assert [name for name in filters.state_dict() if "freq" in name] == ["implicit_filter.1.freq"]
    with torch.no_grad():
        filters.get_parameter("implicit_filter.1.freq").zero_()
    # sin(0) at every layer: only a frequency that all of them share silences the filter
    assert filters(32).abs().max() == 0


def test_trainable_positions_are_a_parameter_and_others_are_nowhere() -> None:
    trainable, stored = make_filter("repo_lr_pos_emb")
    assert trainable.pos_emb.z is not None
    assert torch.equal(trainable.pos_emb.z.detach(), stored["param__pos_emb.z"])
    torch.autograd.backward(trainable(10).sum())
    assert trainable.pos_emb.z.grad is not None
    assert trainable.pos_emb.z.grad[0, :10].abs().sum() > 0
    fixed, _ = make_filter("repo_default")
    assert not list(fixed.buffers())
    assert not [name for name in fixed.state_dict() if "pos_emb" in name]


def test_filters_of_a_million_positions_cost_nothing_to_build() -> None:
    filters = ImplicitFilter(256, 1_000_002)
    assert sum(parameter.numel() for parameter in filters.parameters()) < 30_000
    assert filters(100).shape == (256, 100)


def test_fewer_taps_are_the_first_ones() -> None:
    filters, _ = make_filter("repo_default")
    whole = filters(256)
    filters.filter_len = 40
    assert torch.equal(filters.cached(256), filters(256))
    assert filters(30).shape[1] == 30
    torch.testing.assert_close(filters(256), whole[:, :40], atol=1e-6, rtol=1e-5)
    parts = torch.cat([filters(32, start=start) for start in range(0, 256, 32)], dim=1)
    torch.testing.assert_close(parts, whole[:, :40], atol=1e-6, rtol=1e-5)


def test_longer_sequences_have_no_more_taps() -> None:
    torch.manual_seed(0)
    filters = ImplicitFilter(4, 64, extended_len=200)
    for evaluate in (filters, filters.cached):
        assert torch.equal(evaluate(200), evaluate(64))
    with pytest.raises(SequenceTooLongError, match=r"201 tokens .* end at l_max = 64 \(extended_len = 200\)"):
        filters(201)


def test_a_copy_is_made_without_the_filters_that_are_kept() -> None:
    filters = ImplicitFilter(4, 64)
    kept = filters.cached(64)
    again = copy.deepcopy(filters)
    assert again._cache is None
    assert filters.cached(64).data_ptr() == kept.data_ptr()
    assert torch.equal(again.cached(64), kept)


def test_the_filter_ends_at_l_max() -> None:
    with pytest.raises(SequenceTooLongError, match=r"the sequence has 65 tokens .* end at l_max = 64"):
        ImplicitFilter(4, 64)(65)


def test_parts_are_the_same_tensors_until_a_parameter_changes() -> None:
    filters = ImplicitFilter(4, 64)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            first = filters.cached_parts(40, torch.unbind)
            assert filters.cached_parts(40, torch.unbind) is first
            filters.cached(30)  # a piece of a sequence takes nothing away
            assert filters.cached_parts(40, torch.unbind) is first
    assert not first[0].is_inference()
    assert torch.equal(torch.stack(filters.cached_parts(50, torch.unbind)), filters.cached(50))
    with torch.no_grad():
        filters.get_parameter("implicit_filter.0.weight").mul_(1.5)
    changed = filters.cached_parts(50, torch.unbind)
    assert torch.equal(torch.stack(changed), filters(50))
    assert copy.deepcopy(filters)._parts is None
