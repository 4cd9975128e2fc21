"""One-pass long convolutions: the CUDA source on a CPU (slow, small), and on a GPU where there is one."""

import pytest
import torch

from genomix_kernels.fftconv import onepass_cuda
from tests.kernels.conftest import Emulate
from tests.kernels.onepass_cases import (
    Shape,
    check,
    check_batch_invariance,
    check_loud_token,
    check_zeros,
    computed,
    make_case,
    needs_gpu,
)


@pytest.fixture
def on_cpu(emulate: Emulate) -> None:
    emulate(onepass_cuda)


SMALL = [
    ((3, 2, 63, 17), torch.bfloat16),
    ((2, 1, 1000, 1000), torch.float16),
    ((2, 1, 4096, 4000), torch.bfloat16),
]


@pytest.mark.usefixtures("on_cpu")
@pytest.mark.parametrize(("shape", "dtype"), SMALL, ids=str)
def test_output_and_gradients_on_the_cpu(shape: Shape, dtype: torch.dtype) -> None:
    check(make_case(shape, dtype))


@pytest.mark.usefixtures("on_cpu")
def test_zeros_and_batch_invariance_on_the_cpu() -> None:
    check_zeros(300, "cpu")
    check_batch_invariance(make_case((3, 1, 300, 300), torch.bfloat16, gates=False))


LENGTHS = [1, 2, 63, 64, 250, 256, 512, 1000, 1024, 1025, 2048, 3000, 4096, 5000, 8192, 10001, 16383, 16384]


@needs_gpu
@pytest.mark.parametrize("gates", [False, True], ids=["plain", "gated"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("seqlen", LENGTHS)
def test_output_and_gradients(seqlen: int, dtype: torch.dtype, gates: bool) -> None:
    for batch, filter_len in ((1, seqlen), (3, max(1, seqlen // 3)), (17, seqlen)):
        channels = 3 if seqlen > 64 else 64  # enough values for an average error
        check(make_case((batch, channels, seqlen, filter_len), dtype, "cuda", gates=gates))


@needs_gpu
@pytest.mark.parametrize("seqlen", LENGTHS)
def test_a_row_is_the_same_alone_and_in_a_batch(seqlen: int) -> None:
    check_batch_invariance(make_case((33, 3, seqlen, seqlen), torch.bfloat16, "cuda"))


@needs_gpu
@pytest.mark.parametrize("seqlen", [1000, 4096, 16384])
def test_gradients_are_deterministic(seqlen: int) -> None:
    case = make_case((9, 4, seqlen, seqlen), torch.bfloat16, "cuda")
    first, second = computed(case), computed(case)
    assert all(torch.equal(first[name], second[name]) for name in first)


@needs_gpu
@pytest.mark.parametrize("seqlen", [1000, 16384])
def test_a_loud_token_leaks_no_more_than_the_tolerance(seqlen: int) -> None:
    check_loud_token(seqlen, "cuda")


@needs_gpu
def test_zeros() -> None:
    check_zeros(300, "cuda")


@needs_gpu
def test_rows_of_any_strides() -> None:
    case = make_case((2, 3, 1003, 1003), torch.bfloat16, "cuda")
    wide = torch.empty(2, 9, 1100, device="cuda", dtype=torch.bfloat16)
    for i, name in enumerate(("u", "pre_gate", "post_gate")):
        wide[:, 3 * i : 3 * i + 3, 5:1008] = case[name]
        case[name] = wide[:, 3 * i : 3 * i + 3, 5:1008]
    check(case)


def test_it_says_what_it_cannot_take() -> None:
    assert "CPU" in str(onepass_cuda.why_not(torch.zeros(1, 1, 8)))
