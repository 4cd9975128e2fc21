"""One-pass long convolutions by clusters of blocks: the CUDA source on a CPU, with small blocks, and on a GPU."""

from functools import partial
from typing import Any

import pytest
import torch

from genomix_kernels.fftconv import fftconv, onepass_cuda, split_cuda, split_passes, split_rows
from genomix_kernels.fftconv.cuda_backend import fftconv_cuda
from genomix_kernels.fftconv.onepass_cuda import Split
from genomix_kernels.fftconv.split_plan import Plan
from genomix_kernels.testing import relative_rms_error
from tests.kernels.conftest import Emulate
from tests.kernels.onepass_cases import (
    BOUND,
    BOUND_OF_CLUSTER,
    Shape,
    check,
    check_autograd,
    check_batch_invariance,
    check_loud_token,
    check_repeats,
    check_zeros,
    computed,
    expected,
    make_case,
)


# blocks that take two slices of a row each, or half a slice
@pytest.fixture(params=[2, 8], ids=lambda blocks: f"{blocks} blocks")
def on_cpu(request: pytest.FixtureRequest, emulate: Emulate, monkeypatch: pytest.MonkeyPatch) -> int:
    """Share the shortest rows that several blocks can share, and return how many tokens they have."""
    emulate(onepass_cuda)
    split = Split(4, 4, request.param)
    size = 256 * split.points * split.warps * split.cluster
    monkeypatch.setitem(onepass_cuda.SPLIT, size, split)
    return size


def test_output_and_gradients_on_the_cpu(on_cpu: int) -> None:
    is_short = on_cpu == 8192
    shape: Shape = (2 if is_short else 1, 1, on_cpu - 96, on_cpu // 3)
    check(make_case(shape, torch.float16 if is_short else torch.bfloat16), BOUND_OF_CLUSTER)


def test_zeros_loud_tokens_and_batch_invariance_on_the_cpu(on_cpu: int) -> None:
    if on_cpu > 8192:
        pytest.skip("two blocks show it")
    check_zeros(on_cpu, "cpu")
    check_loud_token(on_cpu, "cpu")
    # no multiple of four tokens: they are loaded one by one
    check_batch_invariance(make_case((2, 1, on_cpu - 1, 17), torch.bfloat16, gates=False))


@pytest.mark.parametrize("gates", [False, True], ids=["plain", "gated"])
@pytest.mark.parametrize("batch", [1, 2])
def test_it_goes_back_in_pieces_on_the_cpu(
    batch: int, gates: bool, emulate: Emulate, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulate(onepass_cuda, split_cuda, split_passes)
    monkeypatch.setitem(onepass_cuda.SPLIT, 8192, Split(4, 4, 2))
    monkeypatch.setattr(split_cuda, "SHORTEST", 8000)
    monkeypatch.setattr(split_cuda, "plan_for", lambda seqlen: Plan(2, Split(4, 4)))
    monkeypatch.setattr(onepass_cuda, "LONGEST", 4096)
    monkeypatch.setattr(split_rows, "BLOCKS_OF_GPU", 0)
    used = []
    backward = split_cuda.backward

    def count(*arguments: Any) -> onepass_cuda.Gradients:
        used.append(arguments)
        return backward(*arguments)

    monkeypatch.setattr(split_cuda, "backward", count)
    check_autograd(make_case((batch, 1, 8100, 5000), torch.float16, gates=gates), fftconv_cuda)
    assert used


LENGTHS = [16385, 32768, 50000, 65536, 131071, 131072, 200000, 262144]


@pytest.mark.gpu
@pytest.mark.usefixtures("clusters")
class TestOnAGpu:
    @pytest.mark.parametrize("gates", [False, True], ids=["plain", "gated"])
    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
    @pytest.mark.parametrize("seqlen", LENGTHS)
    def test_output_and_gradients(self, seqlen: int, dtype: torch.dtype, gates: bool) -> None:
        for batch, filter_len in ((1, seqlen), (3, seqlen // 3), (9, seqlen)):
            check(make_case((batch, 3, seqlen, filter_len), dtype, "cuda", gates=gates), BOUND_OF_CLUSTER)

    @pytest.mark.parametrize("gates", [False, True], ids=["plain", "gated"])
    @pytest.mark.parametrize("channels", [3, 250])  # few, and so many that blocks take the rows of a batch
    @pytest.mark.parametrize("seqlen", [16385, 32768, 65536])
    def test_it_goes_back_in_pieces(self, seqlen: int, channels: int, gates: bool) -> None:
        for batch in (1, 3):
            case = make_case((batch, channels, seqlen, seqlen), torch.bfloat16, "cuda", gates=gates)
            check_autograd(case, partial(fftconv, backend="cuda_cluster"))

    @pytest.mark.parametrize("seqlen", LENGTHS)
    def test_a_row_is_the_same_alone_and_in_a_batch(self, seqlen: int) -> None:
        check_batch_invariance(make_case((33, 3, seqlen, seqlen), torch.bfloat16, "cuda"))

    @pytest.mark.parametrize("gates", [False, True], ids=["plain", "gated"])
    @pytest.mark.parametrize("seqlen", [32768, 65536, 131072, 262144])
    def test_results_are_the_same_each_time(self, seqlen: int, gates: bool) -> None:
        case = make_case(((1 << 22) // seqlen, 64, seqlen, seqlen), torch.bfloat16, "cuda", gates=gates)
        check_repeats(lambda: computed(case).values())

    @pytest.mark.parametrize("seqlen", [20000, 65536, 131072, 262144])
    def test_zeros_and_a_loud_token(self, seqlen: int) -> None:
        check_zeros(seqlen, "cuda")
        check_loud_token(seqlen, "cuda")

    def test_the_face_takes_it_by_name(self) -> None:
        case = make_case((1, 2, 20000, 20000), torch.bfloat16, "cuda", gates=False)
        inputs = {name: case[name].requires_grad_() for name in ("u", "h", "skip")}
        y = fftconv(inputs["u"], inputs["h"], inputs["skip"], backend="cuda_cluster")
        torch.autograd.backward(y, case["dy"])
        wanted = expected(case | {name: x.detach() for name, x in inputs.items()})
        assert relative_rms_error(y, wanted["y"]) < BOUND[torch.bfloat16]
        for name, x in inputs.items():
            assert x.grad is not None, name
            assert relative_rms_error(x.grad, wanted[name]) < BOUND[torch.bfloat16], name


def test_it_says_what_it_cannot_take() -> None:
    h, skip = torch.zeros(1, 8), torch.zeros(1)
    for seqlen, said in ((16384, "not between 16385 and 262144"), (262145, "not between"), (20000, "CPU")):
        u = torch.zeros(1, 1, seqlen, dtype=torch.bfloat16)
        with pytest.raises(ValueError, match=said):
            fftconv(u, h, skip, backend="cuda_cluster")
