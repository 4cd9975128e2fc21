"""Implicit filters: in Triton's interpreter on a CPU, compiled on a GPU."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from genomix_kernels.dispatch import choose
from genomix_kernels.implicit_filter import sine_filter
from genomix_kernels.implicit_filter.reference import sine_filter_reference
from genomix_kernels.testing import check_against_reference, relative_rms_error

triton = pytest.importorskip("triton")
tl = triton.language
sine_and_cosine = pytest.importorskip("genomix_kernels.implicit_filter.triton_kernels").sine_and_cosine

# filters, positions, features, sines a layer, inner layers
SHAPES = [
    (5, 1, 3, 4, 0),
    (70, 63, 5, 64, 2),
    (256, 130, 5, 64, 2),
    (3, 1000, 7, 24, 1),
    (300, 257, 5, 16, 2),
]
LONG = [1, 1000, 160_000, 1_000_000]
Call = Callable[..., Tensor]


@pytest.fixture
def triton_device(triton_device: str) -> str:
    if triton_device == "cuda" and torch.cuda.get_device_capability()[0] != 9:
        pytest.skip("the kernels are made for compute capability 9.x")
    return triton_device


def in_triton(*args: Any, **window: Any) -> Tensor:
    from genomix_kernels.implicit_filter.triton_backend import sine_filter_triton

    return sine_filter_triton(*args, **window)


def make_inputs(
    n_filters: int,
    seqlen: int,
    n_features: int,
    width: int,
    n_inner: int,
    *,
    freq: float,
    device: str = "cpu",
) -> dict[str, Tensor]:
    """Weights by layer; angles are some radians times ``freq / 3``."""
    generator = torch.Generator().manual_seed(7)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    inputs = {"z": normal(seqlen, n_features), "freq": freq + 0.1 * freq * normal(width)}
    inputs |= {"weight_0": 0.3 * normal(width, n_features), "bias_0": 0.1 * normal(width)}
    for layer in range(1, n_inner + 1):
        inputs[f"weight_{layer}"] = 0.2 / width**0.5 * normal(width, width)
        inputs[f"bias_{layer}"] = 0.1 * normal(width)
    inputs["last"] = normal(n_filters, width) / width**0.5
    return {name: tensor.to(device) for name, tensor in inputs.items()}


def by_name(function: Call, *, has_window: bool = True) -> Call:
    """The operation on inputs by name."""

    def run(z: Tensor, freq: Tensor, last: Tensor, **layers: Tensor) -> Tensor:
        n_layers = len(layers) // 2
        weights = (*(layers[f"weight_{layer}"] for layer in range(n_layers)), last)
        biases = tuple(layers[f"bias_{layer}"] for layer in range(n_layers))
        window: dict[str, Any] = {"t": None, "decay": None, "shift": 0.0}
        if has_window:
            decay = torch.linspace(3, 15, last.shape[0], device=z.device).to(z.dtype)
            t = (torch.arange(z.shape[0], device=z.device) / z.shape[0]).to(z.dtype)
            window = {"t": t, "decay": decay, "shift": 0.05}
        return function(z, weights, biases, freq, **window)

    return run


def with_gradients(function: Call, inputs: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    leaves = {name: tensor.detach().to(dtype).requires_grad_() for name, tensor in inputs.items()}
    k = by_name(function)(**leaves)
    generator = torch.Generator().manual_seed(5)
    torch.autograd.backward(k, torch.randn(k.shape, generator=generator).to(k))
    gradients = {name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}
    assert gradients.keys() == inputs.keys()
    return {"k": k.detach()} | gradients


@pytest.mark.parametrize("has_window", [True, False], ids=["window", "no-window"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_triton_against_the_reference(shape: tuple[int, ...], has_window: bool, triton_device: str) -> None:
    check_against_reference(
        by_name(in_triton, has_window=has_window),
        by_name(sine_filter_reference, has_window=has_window),
        make_inputs(*shape, freq=3.0, device=triton_device),
        dtype=torch.float32,
    )


def test_angles_of_many_turns_lose_no_more_than_in_pytorch(triton_device: str) -> None:
    inputs = make_inputs(64, 200, 5, 64, 2, freq=30.0, device=triton_device)
    exact = with_gradients(sine_filter_reference, inputs, torch.float64)
    theirs = with_gradients(sine_filter_reference, inputs, torch.float32)
    ours = with_gradients(in_triton, inputs, torch.float32)
    for name, expected in exact.items():
        assert relative_rms_error(ours[name], expected) <= 4 * relative_rms_error(theirs[name], expected), (
            name
        )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@pytest.mark.parametrize("seqlen", LONG)
def test_long_filters(seqlen: int) -> None:
    inputs = make_inputs(256, seqlen, 5, 64, 2, freq=10.0, device="cuda")
    exact = with_gradients(sine_filter_reference, inputs, torch.float64)
    theirs = with_gradients(sine_filter_reference, inputs, torch.float32)
    ours = with_gradients(partial(sine_filter, backend="triton"), inputs, torch.float32)
    again = with_gradients(partial(sine_filter, backend="triton"), inputs, torch.float32)
    for name, expected in exact.items():
        bound = max(1e-5 if name == "k" else 1e-4, 3 * relative_rms_error(theirs[name], expected))
        assert relative_rms_error(ours[name], expected) <= bound, name
        assert torch.equal(ours[name], again[name]), f"{name} differs from one run to the next"


@pytest.mark.parametrize("factor", [2.0**-70, 2.0**60])
def test_gradients_of_any_scale(factor: float, triton_device: str) -> None:
    inputs = make_inputs(20, 40, 5, 16, 1, freq=3.0, device=triton_device)
    leaves = {name: tensor.requires_grad_() for name, tensor in inputs.items()}
    k = by_name(in_triton)(**leaves)
    dk = torch.randn(k.shape, generator=torch.Generator().manual_seed(2)).to(k)
    usual = torch.autograd.grad(k, list(leaves.values()), dk, retain_graph=True)
    scaled = torch.autograd.grad(k, list(leaves.values()), factor * dk, retain_graph=True)
    for one, other in zip(usual, scaled, strict=True):
        assert torch.equal(factor * one, other)
    zeros = torch.autograd.grad(k, list(leaves.values()), torch.zeros_like(k))
    assert all(bool((gradient == 0).all()) for gradient in zeros)


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # of the interpreter
def test_what_is_not_a_number_is_seen(triton_device: str) -> None:
    inputs = make_inputs(20, 40, 5, 16, 1, freq=3.0, device=triton_device)
    leaves = {name: tensor.requires_grad_() for name, tensor in inputs.items()}
    k = by_name(in_triton)(**leaves)
    dk = torch.ones_like(k)
    dk[3, 7] = torch.nan
    gradients = torch.autograd.grad(k, list(leaves.values()), dk)
    assert all(bool(gradient.isnan().any()) for gradient in gradients)
    with torch.no_grad():
        inputs["weight_0"][2, 1] = torch.inf
        assert bool(by_name(in_triton)(**inputs).isnan().any())


def test_a_gradient_that_is_one_number_everywhere(triton_device: str) -> None:
    inputs = make_inputs(20, 40, 5, 16, 1, freq=3.0, device=triton_device)
    summed = {name: tensor.detach().clone().requires_grad_() for name, tensor in inputs.items()}
    torch.autograd.backward(by_name(in_triton)(**summed).sum())
    written = {name: tensor.detach().clone().requires_grad_() for name, tensor in inputs.items()}
    k = by_name(in_triton)(**written)
    torch.autograd.backward(k, torch.ones_like(k))
    for name in inputs:
        torch.testing.assert_close(summed[name].grad, written[name].grad, atol=0, rtol=0)


@triton.jit  # type: ignore[untyped-decorator]
def _sine_and_cosine_kernel(x_ptr, sine_ptr, cosine_ptr, N: tl.constexpr):  # type: ignore[no-untyped-def, name-defined]
    from_kernel = sine_and_cosine(tl.load(x_ptr + tl.arange(0, N)))
    tl.store(sine_ptr + tl.arange(0, N), from_kernel[0])
    tl.store(cosine_ptr + tl.arange(0, N), from_kernel[1])


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # of the interpreter
def test_sines_are_those_of_a_library(triton_device: str) -> None:
    quarters = torch.pi / 4 * torch.arange(-1000, 1000, device=triton_device)
    spread = torch.linspace(-12_000, 12_000, 2**16 - 2000, device=triton_device)
    x = torch.cat([quarters, spread])
    sine, cosine = torch.empty_like(x), torch.empty_like(x)
    _sine_and_cosine_kernel[(1,)](x, sine, cosine, N=2**16)
    assert (sine.double() - x.double().sin()).abs().max() < 1.3e-7
    assert (cosine.double() - x.double().cos()).abs().max() < 1.3e-7
    beyond = torch.tensor([1e8, -1e30, torch.nan, torch.inf] * 4, device=triton_device)
    sine, cosine = torch.empty_like(beyond), torch.empty_like(beyond)
    _sine_and_cosine_kernel[(1,)](beyond, sine, cosine, N=16)
    assert (sine[:2].abs() <= 1).all()
    assert sine[2:4].isnan().all()


def test_the_reference_is_the_equation(device: str) -> None:
    inputs = make_inputs(3, 6, 5, 4, 1, freq=2.0, device=device)
    t, decay = torch.rand(6, device=device), torch.rand(3, device=device)
    weights = inputs["weight_0"], inputs["weight_1"], inputs["last"]
    biases = inputs["bias_0"], inputs["bias_1"]
    k = sine_filter(inputs["z"], weights, biases, inputs["freq"], t=t, decay=decay, shift=0.1)
    for n in range(6):
        hidden = inputs["z"][n]
        for weight, bias in zip(weights, biases, strict=False):
            hidden = torch.sin(inputs["freq"] * (weight @ hidden + bias))
        expected = (weights[-1] @ hidden) * (torch.exp(-decay * t[n]) + 0.1)
        torch.testing.assert_close(k[:, n], expected, atol=1e-5, rtol=1e-5)
    linear = sine_filter(inputs["z"], [inputs["weight_0"]], [])
    torch.testing.assert_close(linear, (inputs["z"] @ inputs["weight_0"].T).T)
    with torch.autocast(device, dtype=torch.bfloat16):
        assert sine_filter(inputs["z"], weights, biases, inputs["freq"]).dtype is torch.float32


def reason(**changes: Any) -> str:
    inputs = make_inputs(4, 10, 5, 16, 2, freq=2.0)
    weights = [inputs["weight_0"], inputs["weight_1"], inputs["weight_2"], inputs["last"]]
    arguments: dict[str, Any] = {"z": inputs["z"], "weights": weights, "freq": inputs["freq"]}
    arguments |= {"biases": [inputs[f"bias_{layer}"] for layer in range(3)]} | changes
    with pytest.raises(ValueError) as refusal:  # noqa: PT011
        sine_filter(**arguments, backend="triton")
    return str(refusal.value)


def test_what_the_kernels_refuse_and_why() -> None:
    wide = {"weights": [torch.zeros(65, 5), torch.zeros(4, 65)], "biases": [torch.zeros(65)]}
    deep = {"weights": [torch.zeros(16, 5), *[torch.zeros(16, 16)] * 4], "biases": [torch.zeros(16)] * 4}
    window = {"t": torch.zeros(10), "decay": torch.zeros(4, requires_grad=True)}
    many = {"z": torch.zeros(10, 17), "weights": [torch.zeros(16, 17), torch.zeros(4, 16)]}
    assert "no sine layer" in reason(weights=[torch.zeros(4, 5)], biases=[], freq=None)
    assert "3 inner layers are more than 2" in reason(**deep)
    assert "layers of 65 sines are wider" in reason(**wide, freq=torch.zeros(65))
    assert "17 features are more than 15" in reason(**many, biases=[torch.zeros(16)])
    assert "nothing to compute" in reason(z=torch.zeros(0, 5))
    assert "float32 only" in reason(freq=torch.zeros(16, dtype=torch.float64))
    assert "window has no gradient" in reason(**window)
    assert "tensors are on the CPU" in reason()


def test_a_cpu_takes_pytorch() -> None:
    weights = torch.zeros(3, 5), torch.zeros(4, 3)
    arguments = (torch.zeros(2, 5), weights, (torch.zeros(3),), torch.zeros(3))
    chosen = choose("sine_filter", "auto", *arguments, t=None, decay=None, shift=0.0)
    assert chosen.name == "reference"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"z": torch.zeros(10)}, r"takes z \(L, E\)"),
        ({"weights": []}, "at least those of the last layer"),
        ({"z": torch.zeros(10, 4)}, r"weights\[0\] has shape \(16, 5\); expected 4 columns"),
        ({"biases": []}, r"expected 3 of \(16,\)"),
        ({"freq": torch.zeros(15)}, r"freq has shape \(15,\); expected \(16,\)"),
        ({"decay": torch.zeros(4)}, r"a window takes decay \(4,\) and t \(10,\)"),
        ({"decay": torch.zeros(3), "t": torch.zeros(10)}, r"got \(3,\) and \(10,\)"),
    ],
    ids=["z", "weights", "features", "biases", "freq", "t", "decay"],
)
def test_shapes_that_do_not_fit(changes: dict[str, Any], message: str) -> None:
    inputs = make_inputs(4, 10, 5, 16, 2, freq=2.0)
    weights = [inputs["weight_0"], inputs["weight_1"], inputs["weight_2"], inputs["last"]]
    arguments: dict[str, Any] = {"z": inputs["z"], "weights": weights, "freq": inputs["freq"]}
    arguments |= {"biases": [inputs[f"bias_{layer}"] for layer in range(3)]} | changes
    with pytest.raises(ValueError, match=message):
        sine_filter(**arguments)
