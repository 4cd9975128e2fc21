"""A few rows times a large matrix, alone and as the first half of a gated MLP."""

import pytest
import torch
from torch import Tensor

from genomix_kernels.dispatch import choose
from genomix_kernels.skinny_linear import Activation, gated_pair, skinny_linear
from genomix_kernels.skinny_linear.reference import gated_pair_reference, skinny_linear_reference
from genomix_kernels.skinny_linear.tiles import LINEAR, Tiles, tiles_for
from genomix_kernels.testing import assert_close_to_reference

pytest.importorskip("triton")
from genomix_kernels.skinny_linear.triton_kernels import gated_pair_triton, skinny_linear_triton

ROWS = [1, 2, 3, 8, 16]
SHAPES = [(40, 512), (21, 700), (64, 2048), (5, 24), (1, 1)]
DEVICES = [
    pytest.param("cpu", id="interpreted"),
    pytest.param("cuda", marks=pytest.mark.gpu, id="compiled"),
]


@pytest.fixture(params=DEVICES)
def runner(request: pytest.FixtureRequest) -> str:
    """Where the Triton kernels run: interpreted on a machine without a GPU, or compiled on one."""
    name: str = request.param
    if name == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device on this machine")
    if name == "cpu" and torch.cuda.is_available():
        pytest.skip("kernels are compiled on this machine, not interpreted")
    return name


def make_inputs(n_rows: int, n_outputs: int, n_inputs: int, device: str) -> dict[str, Tensor]:
    dtype = torch.bfloat16 if device == "cuda" else torch.float16
    generator = torch.Generator().manual_seed(n_rows + n_inputs)
    shapes = {
        "x": (n_rows, n_inputs),
        "weight": (n_outputs, n_inputs),
        "second": (n_outputs, n_inputs),
        "bias": (n_outputs,),
        "residual": (n_rows, n_outputs),
    }
    scale = {"weight": n_inputs**-0.5, "second": n_inputs**-0.5}
    return {
        name: (torch.randn(*shape, generator=generator) * scale.get(name, 1.0)).to(dtype).to(device)
        for name, shape in shapes.items()
    }


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("n_rows", ROWS)
def test_linear_against_the_reference(runner: str, n_rows: int, shape: tuple[int, int]) -> None:
    inputs = make_inputs(n_rows, *shape, runner)
    x, w, bias, residual = (inputs[name] for name in ("x", "weight", "bias", "residual"))
    exact = [each.double() for each in (x, w, bias, residual)]
    assert_close_to_reference(skinny_linear_triton(x, w), skinny_linear_reference(*exact[:2]))
    assert_close_to_reference(skinny_linear_triton(x, w, bias, residual), skinny_linear_reference(*exact))


@pytest.mark.parametrize("activation", ["gelu", "identity"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("n_rows", ROWS)
def test_pair_against_the_reference(
    runner: str, n_rows: int, shape: tuple[int, int], activation: Activation
) -> None:
    inputs = make_inputs(n_rows, *shape, runner)
    x, w1, w2 = (inputs[name] for name in ("x", "weight", "second"))
    expected = gated_pair_reference(x.double(), w1.double(), w2.double(), activation)
    assert_close_to_reference(gated_pair_triton(x, w1, w2, activation), expected)


@pytest.mark.parametrize(
    "tiles",
    [
        Tiles(kernel="multiply", block_n=8, block_k=256, num_warps=1),
        Tiles(kernel="dot", block_n=64, block_k=64, num_warps=4, num_stages=3),
    ],
    ids=lambda tiles: tiles.kernel,
)
def test_other_tiles_give_the_same_product(runner: str, tiles: Tiles) -> None:
    inputs = make_inputs(2, 70, 600, runner)
    y = skinny_linear_triton(inputs["x"], inputs["weight"], tiles=tiles)
    assert_close_to_reference(y, skinny_linear_reference(inputs["x"].double(), inputs["weight"].double()))


@pytest.mark.parametrize("n_rows", [2, 7])
def test_a_row_does_not_depend_on_the_others(runner: str, n_rows: int) -> None:
    inputs = make_inputs(n_rows, 40, 700, runner)
    x, w, w2 = inputs["x"], inputs["weight"], inputs["second"]
    linear, pair = skinny_linear_triton(x, w), gated_pair_triton(x, w, w2, "gelu")
    others = x.clone()
    others[1:] = 100.0
    assert torch.equal(skinny_linear_triton(others, w)[0], linear[0])
    assert torch.equal(gated_pair_triton(others, w, w2, "gelu")[0], pair[0])


def test_rows_of_x_and_of_the_residual_may_stand_apart(runner: str) -> None:
    inputs = make_inputs(3, 40, 512, runner)
    wide = torch.cat([inputs["x"], inputs["x"]], dim=1)[:, :512]
    assert wide.stride(0) == 1024
    assert torch.equal(
        skinny_linear_triton(wide, inputs["weight"]), skinny_linear_triton(inputs["x"], inputs["weight"])
    )


def test_the_smallest_bucket_that_holds_the_rows_is_taken() -> None:
    assert [tiles_for(n_rows, LINEAR).kernel for n_rows in (1, 2, 3, 16)] == [
        "multiply",
        "multiply",
        "dot",
        "dot",
    ]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_the_face_sums_in_fp32_and_rounds_once(dtype: torch.dtype, device: str) -> None:
    inputs = {name: each.to(dtype) for name, each in make_inputs(3, 40, 512, device).items()}
    x, w, second, bias, residual = inputs.values()
    y = skinny_linear(x, w, bias, residual=residual)
    assert y.dtype is dtype
    exact = [each.double() for each in (x, w, bias, residual)]
    assert_close_to_reference(y, skinny_linear_reference(*exact))
    pair = gated_pair(x, w, second, "gelu")
    assert_close_to_reference(pair, gated_pair_reference(exact[0], exact[1], second.double(), "gelu"))


def test_what_triton_does_not_serve_goes_to_the_reference(device: str) -> None:
    inputs = make_inputs(17, 40, 64, device)
    x, w = inputs["x"], inputs["weight"]
    assert choose("skinny_linear", "auto", x, w, None, None).name == "reference"
    reason = "the tensors are on the CPU" if device == "cpu" else "1 to 16 rows; x has 17"
    with pytest.raises(ValueError, match=reason):
        skinny_linear(x, w, backend="triton")
    if device == "cuda":
        assert choose("skinny_linear", "auto", x[:16], w, None, None).name == "triton"
        assert (
            choose("skinny_linear", "auto", x[:16], w.clone().requires_grad_(), None, None).name
            == "reference"
        )


def test_shapes_that_do_not_fit_are_named() -> None:
    x, w = torch.zeros(2, 8), torch.zeros(5, 8)
    with pytest.raises(ValueError, match=r"do not fit: \(2, 8\) and \(5, 7\)"):
        skinny_linear(x, w[:, :7])
    with pytest.raises(ValueError, match=r"bias has shape \(4,\); expected \(5,\)"):
        skinny_linear(x, w, torch.zeros(4))
    with pytest.raises(ValueError, match=r"residual has shape \(5,\); expected \(2, 5\)"):
        skinny_linear(x, w, residual=torch.zeros(5))
    with pytest.raises(ValueError, match=r"one shape; they are \(5, 8\) and \(4, 8\)"):
        gated_pair(x, w, w[:4], "gelu")
    with pytest.raises(ValueError, match="unknown activation 'tanh'"):
        gated_pair(x, w, w, "tanh")  # type: ignore[arg-type]
