"""Any chunking of any mixer gives what it gives on the whole, and padding in front of a sequence counts for nothing."""

import pytest
import torch
from torch import nn

from genomix.operators.attention import RotaryAttention
from genomix.operators.gated_hyena import WHOLE_VECTORS, ExplicitFilter, GatedHyena, ModalFilter
from genomix.operators.hyena import HyenaOperator
from genomix.operators.state import map_state, select_rows, state_bytes

D_MODEL, SEQLEN = 16, 260

AnyMixer = HyenaOperator | GatedHyena | RotaryAttention


def _gated(inner: ExplicitFilter | ModalFilter) -> GatedHyena:
    return GatedHyena(D_MODEL, inner, featurizer_len=3, is_interleaved=True, has_out_bias=True)


def _mixers() -> dict[str, AnyMixer]:
    torch.manual_seed(0)
    mixers: dict[str, AnyMixer] = {
        "hyena-order-2": HyenaOperator(D_MODEL, 300),
        "hyena-order-3-repo": HyenaOperator(D_MODEL, 300, 3, channel_layout="repo"),
        "hyena-order-3-standalone": HyenaOperator(D_MODEL, 300, 3, channel_layout="standalone"),
        "hyena-5-taps": HyenaOperator(D_MODEL, 300, short_filter_order=5),
        "hyena-truncated": HyenaOperator(D_MODEL, 300, filter_len=37),
        "hyena-extended": HyenaOperator(D_MODEL, 100, 3, extended_len=300),
        "se": _gated(ExplicitFilter(D_MODEL, 4, 7, tap_order="cross_correlation", has_skip=False)),
        "mr": _gated(ExplicitFilter(D_MODEL, 4, 128, tap_order="convolution", has_skip=True)),
        "li": _gated(ModalFilter(D_MODEL, 8, rounds_before_skip=True)),
        "attention": RotaryAttention(
            D_MODEL, 2, rope_base=1e4, position_scale=4.0, has_qkv_bias=False, has_out_bias=True
        ),
    }
    for mixer in mixers.values():
        for parameter in mixer.parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=0.3)
    for modal in (module for mixer in mixers.values() for module in mixer.modules()):
        if isinstance(modal, ModalFilter):
            nn.init.uniform_(modal.log_poles, -2.0, -1e-4)
    return {name: mixer.double().eval() for name, mixer in mixers.items()}


MIXERS = _mixers()
CHUNKINGS = {
    "by-1": [1] * SEQLEN,
    "by-7": [7] * 37 + [1],
    "by-128": [128, 128, 4],
    "whole": [SEQLEN],
    "uneven": [5, 1, 200, 1, 1, 52],
    "2-then-rest": [2, 258],
}


@pytest.fixture(params=sorted(MIXERS))
def mixer(request: pytest.FixtureRequest) -> AnyMixer:
    name: str = request.param
    return MIXERS[name]


def _run(mixer: AnyMixer, x: torch.Tensor, chunks: list[int], room: int | None = None) -> torch.Tensor:
    state = mixer.init_state(len(x), device=x.device, dtype=x.dtype, max_len=room)
    outputs, begin = [], 0
    for length in chunks:
        y, state = mixer.extend(x[:, begin : begin + length], state)
        outputs.append(y)
        begin += length
    return torch.cat(outputs, dim=1)


@pytest.mark.parametrize("chunks", CHUNKINGS.values(), ids=CHUNKINGS)
@torch.inference_mode()
def test_extend_is_forward_in_any_chunking(mixer: AnyMixer, chunks: list[int]) -> None:
    x = torch.randn(2, SEQLEN, D_MODEL, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    whole = mixer(x)
    torch.testing.assert_close(_run(mixer, x, chunks), whole, rtol=0, atol=1e-10)
    torch.testing.assert_close(_run(mixer, x, chunks, room=SEQLEN), whole, rtol=0, atol=1e-10)


@pytest.mark.parametrize("seed", range(5))
@torch.inference_mode()
def test_random_chunkings(mixer: AnyMixer, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(1, SEQLEN, D_MODEL, dtype=torch.float64, generator=generator)
    cuts = sorted(torch.randperm(SEQLEN - 1, generator=generator)[:9].add(1).tolist())
    chunks = [b - a for a, b in zip([0, *cuts], [*cuts, SEQLEN], strict=True)]
    torch.testing.assert_close(_run(mixer, x, chunks), mixer(x), rtol=0, atol=1e-10)


@torch.inference_mode()
def test_a_later_input_changes_nothing_earlier(mixer: AnyMixer) -> None:
    x = torch.randn(1, 100, D_MODEL, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    changed = x.clone()
    changed[:, 60] += 1.0
    before, after = mixer(x), mixer(changed)
    torch.testing.assert_close(after[:, :60], before[:, :60], rtol=0, atol=1e-10)
    assert (after[:, 60] - before[:, 60]).abs().max() > 1e-3


@torch.inference_mode()
def test_uneven_prompts_in_one_batch(mixer: AnyMixer) -> None:
    x = torch.randn(2, 90, D_MODEL, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    short = 3
    batch = torch.full(
        (2, 50, D_MODEL), 7.0, dtype=torch.float64
    )  # what stands in the padding must not matter
    keep = torch.ones(2, 50, dtype=torch.bool)
    keep[1, : 50 - short] = False
    batch[0], batch[1, 50 - short :] = x[0, :50], x[1, :short]
    state = mixer.init_state(2, device=x.device, dtype=x.dtype)
    first, state = mixer.extend(batch[:, :20], state, keep[:, :20])
    second, state = mixer.extend(batch[:, 20:], state, keep[:, 20:])
    third, _ = mixer.extend(torch.stack([x[0, 50:60], x[1, short : short + 10]]), state)
    whole = mixer(x)
    torch.testing.assert_close(torch.cat([first, second], 1)[0], whole[0, :50], rtol=0, atol=1e-10)
    torch.testing.assert_close(second[1, -short:], whole[1, :short], rtol=0, atol=1e-10)
    torch.testing.assert_close(third[0], whole[0, 50:60], rtol=0, atol=1e-10)
    torch.testing.assert_close(third[1], whole[1, short : short + 10], rtol=0, atol=1e-10)


@torch.inference_mode()
def test_one_prefix_continued_in_two_ways(mixer: AnyMixer) -> None:
    x = torch.randn(2, 40, D_MODEL, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    x[1, :30] = x[0, :30]
    _, prefix = mixer.extend(x[:1, :30], mixer.init_state(1, device=x.device, dtype=x.dtype, max_len=64))
    both, _ = mixer.extend(x[:, 30:], select_rows(prefix, torch.tensor([0, 0])))
    torch.testing.assert_close(both, mixer(x)[:, 30:], rtol=0, atol=1e-10)
    for row in (0, 1):
        alone, _ = mixer.extend(x[row : row + 1, 30:], map_state(prefix, torch.clone))
        torch.testing.assert_close(alone[0], both[row], rtol=0, atol=1e-12)


@pytest.mark.parametrize("multiple", [1, 8], ids=["as-on-cpu", "as-on-cuda"])
@pytest.mark.parametrize("name", ["se", "mr", "li", "attention"])
@pytest.mark.parametrize(("old", "new"), [(0, 5), (1, 1), (30, 8), (40, 63), (130, 17)])
@torch.inference_mode()
def test_what_finishes_goes_on_from_any_sequence(
    name: str, old: int, new: int, multiple: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many may go on from one sequence of a state, which stays as it was."""
    monkeypatch.setitem(WHOLE_VECTORS, "cpu", multiple)
    mixer = MIXERS[name]
    assert isinstance(mixer, GatedHyena | RotaryAttention)
    generator = torch.Generator().manual_seed(6)
    x = torch.randn(2, old, D_MODEL, dtype=torch.float64, generator=generator)
    state = mixer.init_state(2, device=x.device, dtype=x.dtype, max_len=old + 3)
    if old:
        _, state = mixer.extend(x, state)
    before = map_state(state, torch.clone)
    rows = torch.tensor([1, 0, 1])
    more = torch.randn(3, new, D_MODEL, dtype=torch.float64, generator=generator)
    whole = mixer(torch.cat([x[rows], more], dim=1))[:, old:]
    torch.testing.assert_close(mixer.finish(more, state, rows), whole, rtol=0, atol=1e-10)
    each = mixer.finish(more[1:], map_state(state, lambda tensor: tensor.flip(0)), torch.tensor([1, 0]))
    torch.testing.assert_close(each, whole[1:], rtol=0, atol=1e-10)
    own = mixer.finish(more[[1, 0]], state)
    torch.testing.assert_close(own, whole[[1, 0]], rtol=0, atol=1e-10)
    for key, tensor in state.items():
        assert torch.equal(tensor, before[key]), key


@torch.inference_mode()
def test_padded_prompts_finish() -> None:
    mixer = MIXERS["attention"]
    assert isinstance(mixer, RotaryAttention)
    x = torch.randn(2, 30, D_MODEL, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    keep = torch.ones(2, 20, dtype=torch.bool)
    keep[0, :4] = False
    _, state = mixer.extend(x[:, :20], mixer.init_state(2, device=x.device, dtype=x.dtype), keep)
    y = mixer.finish(x[:, 20:], state, torch.tensor([1, 0]))
    expected, _ = mixer.extend(x[:, 20:], select_rows(state, torch.tensor([1, 0])))
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", ["se", "mr", "li"])
@pytest.mark.parametrize("seqlen", [1, 13, 16])
def test_whole_vectors_change_no_output_and_no_gradient(
    name: str, seqlen: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixer = MIXERS[name]
    x = torch.randn(2, seqlen, D_MODEL, dtype=torch.float64, generator=torch.Generator().manual_seed(8))
    found = []
    for multiple in (1, 8):
        monkeypatch.setitem(WHOLE_VECTORS, "cpu", multiple)
        inputs = x.clone().requires_grad_()
        y = mixer(inputs)
        found.append((y, *torch.autograd.grad(y.square().sum(), [inputs, *mixer.parameters()])))
    for plain, padded in zip(*found, strict=True):
        torch.testing.assert_close(padded, plain, rtol=0, atol=1e-10)


@torch.inference_mode()
def test_state_of_a_filter_with_fewer_taps_ends_with_them() -> None:
    mixer = MIXERS["hyena-truncated"]
    state = mixer.init_state(1, device=torch.device("cpu"), dtype=torch.float64, max_len=260)
    for length in (37, 1, 150, 1, 60, 11):
        _, state = mixer.extend(torch.randn(1, length, D_MODEL, dtype=torch.float64), state)
        assert state["past_0"].shape == (1, D_MODEL, 37)
        assert state["past_0"].untyped_storage().nbytes() <= 2 * 37 * D_MODEL * 8


@torch.inference_mode()
def test_state_of_short_and_modal_filters_does_not_grow() -> None:
    for name in ("se", "mr", "li"):
        mixer = MIXERS[name]
        state = mixer.init_state(1, device=torch.device("cpu"), dtype=torch.float64)
        before = state_bytes(state)
        for _ in range(3):
            _, state = mixer.extend(torch.randn(1, 50, D_MODEL, dtype=torch.float64), state)
        assert state_bytes(state) == before
