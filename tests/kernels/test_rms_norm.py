from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from genomix_kernels.dispatch import choose
from genomix_kernels.rms_norm import add_rms_norm, rms_norm
from genomix_kernels.rms_norm.reference import add_rms_norm_reference, rms_norm_reference
from genomix_kernels.testing import assert_close_to_reference, check_against_reference

pytest.importorskip("triton")

SHAPES = [(1, 2), (3, 5), (1, 64), (2, 63, 16), (5, 100), (2, 3, 129), (1, 1000), (70, 24)]
LARGE = [(8192, 4096), (2, 1000, 1920), (300, 8192), (100_000, 64), (3, 4095)]
SETTINGS = [pytest.param(True, id="eps-outside"), pytest.param(False, id="eps-inside")]


def make_inputs(shape: tuple[int, ...], dtype: torch.dtype, device: str = "cpu") -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(3)
    x, residual = (torch.randn(shape, generator=generator).to(device, dtype) for _ in range(2))
    scale = torch.randn(shape[-1], generator=generator).to(device, dtype)
    return {"x": x, "residual": residual, "scale": scale}


def both(function: Callable[..., tuple[Tensor, Tensor]], **settings: object) -> Callable[..., Tensor]:
    """Both outputs as one tensor, so that a cotangent reaches each."""

    def run(**inputs: Tensor) -> Tensor:
        return torch.stack(function(**inputs, **settings))

    return run


def check(shape: tuple[int, ...], dtype: torch.dtype, device: str, *, eps_outside_root: bool) -> None:
    from genomix_kernels.rms_norm.triton_backend import add_rms_norm_triton, rms_norm_triton

    settings = {"eps": 1e-6, "eps_outside_root": eps_outside_root}
    inputs = make_inputs(shape, dtype, device)
    check_against_reference(
        both(add_rms_norm_triton, **settings),
        both(add_rms_norm_reference, **settings),
        # the sum is rounded before it is normed: let it be exact
        {name: tensor if name == "scale" else (4 * tensor).round() for name, tensor in inputs.items()},
        dtype=dtype,
    )
    del inputs["residual"]
    check_against_reference(
        partial(rms_norm_triton, eps=1e-6, eps_outside_root=eps_outside_root),
        partial(rms_norm_reference, eps=1e-6, eps_outside_root=eps_outside_root),
        inputs,
        dtype=dtype,
    )


@pytest.mark.parametrize("eps_outside_root", SETTINGS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_triton_output_and_gradients(
    shape: tuple[int, ...], dtype: torch.dtype, triton_device: str, eps_outside_root: bool
) -> None:
    check(shape, dtype, triton_device, eps_outside_root=eps_outside_root)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@pytest.mark.parametrize("eps_outside_root", SETTINGS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", SHAPES + LARGE, ids=str)
def test_triton_at_large_sizes(shape: tuple[int, ...], dtype: torch.dtype, eps_outside_root: bool) -> None:
    check(shape, dtype, "cuda", eps_outside_root=eps_outside_root)


@pytest.mark.parametrize("eps_outside_root", SETTINGS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_the_reference_rounds_once(dtype: torch.dtype, device: str, eps_outside_root: bool) -> None:
    inputs = make_inputs((40, 96), dtype, device)
    del inputs["residual"]
    reference = partial(rms_norm, eps=1e-6, eps_outside_root=eps_outside_root, backend="reference")
    check_against_reference(reference, reference, inputs, dtype=dtype)


@pytest.mark.parametrize("eps", [1e-6, 0.5])
def test_it_is_the_equation(eps: float) -> None:
    inputs = make_inputs((7, 12), torch.float64)
    x, scale = inputs["x"], inputs["scale"]
    mean_square = x.square().mean(-1, keepdim=True)
    for outside, root in ((True, mean_square.sqrt() + eps), (False, (mean_square + eps).sqrt())):
        assert_close_to_reference(rms_norm(x, scale, eps=eps, eps_outside_root=outside), scale * x / root)
    residual = inputs["residual"]
    normed, s = add_rms_norm(x, residual, scale, eps=eps, eps_outside_root=True)
    assert torch.equal(s, x + residual)
    assert torch.equal(normed, rms_norm(s, scale, eps=eps, eps_outside_root=True))


@pytest.mark.parametrize("eps_outside_root", SETTINGS)
def test_gradcheck(eps_outside_root: bool) -> None:
    inputs = [tensor.requires_grad_() for tensor in make_inputs((2, 3, 7), torch.float64).values()]
    assert torch.autograd.gradcheck(
        lambda x, residual, scale: add_rms_norm(
            x, residual, scale, eps=1e-3, eps_outside_root=eps_outside_root
        ),
        inputs,
    )


@pytest.mark.parametrize("eps_outside_root", SETTINGS)
def test_a_row_of_zeros_has_finite_gradients(triton_device: str, eps_outside_root: bool) -> None:
    from genomix_kernels.rms_norm.triton_backend import rms_norm_triton

    gradients = []
    for function in (rms_norm_triton, rms_norm_reference):
        inputs = make_inputs((3, 16), torch.float32, triton_device)
        x, scale = inputs["x"], inputs["scale"].requires_grad_()
        x[1] = 0
        x.requires_grad_()
        y = function(x, scale, eps=1e-2, eps_outside_root=eps_outside_root)
        gradients.append(torch.autograd.grad(y.sum(), (x, scale)))
    for ours, theirs in zip(*gradients, strict=True):
        assert_close_to_reference(ours, theirs)


def test_dtypes_of_a_residual_stream_in_fp32(triton_device: str) -> None:
    from genomix_kernels.rms_norm.triton_backend import add_rms_norm_triton

    inputs = make_inputs((4, 10), torch.float32, triton_device)
    inputs["residual"] = inputs["residual"].half()  # of a mixer under autocast
    tensors = [tensor.requires_grad_() for tensor in inputs.values()]
    results = []
    for function in (add_rms_norm_triton, add_rms_norm_reference):
        normed, s = function(*tensors, eps=1e-6, eps_outside_root=True)
        results.append((normed, s, *torch.autograd.grad(normed.sum() + s.square().sum(), tensors)))
    for ours, theirs in zip(*results, strict=True):
        assert ours.dtype is theirs.dtype
        assert_close_to_reference(ours, theirs)


def test_only_one_output_used(triton_device: str) -> None:
    from genomix_kernels.rms_norm.triton_backend import add_rms_norm_triton

    inputs = make_inputs((4, 10), torch.float32, triton_device)
    tensors = [tensor.requires_grad_() for tensor in inputs.values()]
    normed, s = add_rms_norm_triton(*tensors, eps=1e-6, eps_outside_root=True)
    dx, dresidual = torch.autograd.grad(s.sum(), tensors[:2], retain_graph=True)
    assert torch.equal(dx, torch.ones_like(dx))
    assert torch.equal(dresidual, dx)
    alone = torch.autograd.grad(normed.square().sum(), tensors)
    expected, _ = add_rms_norm_reference(*tensors, eps=1e-6, eps_outside_root=True)
    for ours, theirs in zip(alone, torch.autograd.grad(expected.square().sum(), tensors), strict=True):
        assert_close_to_reference(ours, theirs)


def test_strides_are_free(triton_device: str) -> None:
    from genomix_kernels.rms_norm.triton_backend import rms_norm_triton

    x = make_inputs((6, 5, 8), torch.float32, triton_device)["x"].permute(1, 2, 0)
    scale = torch.linspace(-1, 1, 12, device=triton_device)[::2]
    y = rms_norm_triton(x, scale, eps=1e-6, eps_outside_root=True)
    assert_close_to_reference(y, rms_norm_reference(x, scale, eps=1e-6, eps_outside_root=True))


def test_triton_says_why_not() -> None:
    settings = {"eps": 1e-6, "eps_outside_root": True}
    x, scale = torch.zeros(2, 4), torch.ones(4)
    assert choose("rms_norm", "auto", x, scale, **settings).name == "reference"
    with pytest.raises(ValueError, match="triton: the tensors are on the CPU"):
        rms_norm(x, scale, eps=1e-6, eps_outside_root=True, backend="triton")
    with pytest.raises(ValueError, match="rows of 8193 are longer than the 8192"):
        choose("rms_norm", "triton", torch.zeros(1, 8193), torch.ones(8193), **settings)


def test_shapes_that_do_not_fit_are_named() -> None:
    with pytest.raises(ValueError, match=r"it got \(2, 4\) and \(3,\)"):
        rms_norm(torch.zeros(2, 4), torch.ones(3), eps=1e-6, eps_outside_root=True)
    with pytest.raises(ValueError, match=r"residual has shape \(4,\); expected \(2, 4\)"):
        add_rms_norm(torch.zeros(2, 4), torch.zeros(4), torch.ones(4), eps=1e-6, eps_outside_root=True)


@pytest.mark.parametrize("eps_outside_root", SETTINGS)
def test_the_result_may_have_another_dtype(triton_device: str, eps_outside_root: bool) -> None:
    from genomix_kernels.rms_norm.triton_backend import add_rms_norm_triton, rms_norm_triton

    settings: dict[str, Any] = {"eps": 1e-6, "eps_outside_root": eps_outside_root}
    inputs = make_inputs((9, 33), torch.float32, triton_device)
    rounded = inputs | {"residual": inputs["residual"].half()}
    alone = {name: inputs[name] for name in ("x", "scale")}
    cases: list[tuple[Callable[..., Tensor], dict[str, Tensor]]] = [
        (rms_norm_triton, alone),
        (rms_norm_reference, alone),
        (lambda **each: add_rms_norm_triton(**each)[0], rounded),
        (lambda **each: add_rms_norm_reference(**each)[0], rounded),
    ]
    for function, tensors in cases:
        gradients = []
        for at_once in (True, False):
            leaves = {name: x.clone().requires_grad_() for name, x in tensors.items()}
            y = function(**leaves, **settings, out_dtype=torch.float16 if at_once else None).half()
            weights = torch.arange(33, device=y.device, dtype=y.dtype)
            gradients.append((y, *torch.autograd.grad((y * weights).sum(), list(leaves.values()))))
        assert function(**tensors, **settings, out_dtype=torch.float16).dtype is torch.float16
        assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))
    _, s = add_rms_norm(
        inputs["x"], rounded["residual"], inputs["scale"], **settings, out_dtype=torch.float16
    )
    assert s.dtype is torch.float32
