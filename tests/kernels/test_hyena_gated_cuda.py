"""`hyena_gated` in CUDA C++: the same source compiled for a CPU, and on a GPU."""

from functools import partial

import pytest
import torch

from genomix_kernels.dispatch import choose
from genomix_kernels.hyena_gated import (
    HyenaState,
    Modes,
    Taps,
    fir_cuda,
    hyena_gated,
    hyena_gated_extend,
    modal_cuda,
)
from genomix_kernels.hyena_gated.cuda_backend import hyena_gated_cuda, why_not
from genomix_kernels.hyena_gated.reference import hyena_gated_reference
from genomix_kernels.testing import assert_close_to_reference, check_against_reference
from tests.kernels.conftest import Emulate
from tests.kernels.hyena_gated_cases import (
    FORMS,
    Form,
    Size,
    check,
    check_backend,
    check_growing_modes,
    check_pieces,
    filters,
    make_inputs,
    output_of,
    through_the_face,
    zero_state,
)


@pytest.fixture
def on_cpu(emulate: Emulate) -> None:
    emulate(modal_cuda, fir_cuda)


@pytest.mark.usefixtures("on_cpu")
class TestOnACpu:
    @pytest.mark.parametrize(
        ("kind", "dtype", "size", "form"),
        [
            # one lane's tokens; several rows of a warp; a tile and a half; a group that does not fill a product
            ("LI", torch.float16, Size(3, 5, 5, 8), FORMS[0]),
            ("LI", torch.bfloat16, Size(1, 9, 9, 1000), FORMS[1]),
            ("LI", torch.float16, Size(1, 5, 5, 6152), FORMS[0]),
            ("LI-rounded", torch.float16, Size(1, 5, 5, 136), FORMS[3]),
            ("MR", torch.float16, Size(2, 16, 2, 8), FORMS[0]),
            ("MR", torch.float16, Size(1, 15, 1, 72), FORMS[3]),
            # stretches of 512 tokens, with steps before and after them
            ("MR", torch.bfloat16, Size(1, 24, 1, 2600), FORMS[0]),
        ],
        ids=str,
    )
    def test_output_and_gradients(self, kind: str, dtype: torch.dtype, size: Size, form: Form) -> None:
        check(hyena_gated_cuda, kind, form, size, dtype)

    @pytest.mark.parametrize("seqlen", [72, 200])
    def test_modes_that_grow(self, seqlen: int) -> None:
        """Within the sequence all is finite; over a whole tile of 4096 tokens these modes would not be."""
        check_growing_modes(hyena_gated_cuda, Size(3, 9, 9, seqlen), torch.float16)

    @pytest.mark.parametrize("n_taps", [9, 33, 66])
    def test_numbers_of_taps(self, n_taps: int) -> None:
        """One, two and three blocks of past inputs; with 128 taps there are four."""
        inputs = make_inputs("MR", Size(1, 16, 2, 1096), torch.float16)
        inputs["taps"] = torch.randn(2, n_taps, generator=torch.Generator().manual_seed(0)).half()
        kernel, reference = (
            output_of(each, "MR", FORMS[2]) for each in (hyena_gated_cuda, hyena_gated_reference)
        )
        check_against_reference(kernel, reference, inputs, dtype=torch.float16)

    @pytest.mark.parametrize("n_taps", [1, 2])
    @pytest.mark.parametrize("kind", ["LI", "MR"])
    def test_shorter_featurizers(self, kind: str, n_taps: int) -> None:
        inputs = make_inputs(kind, Size(1, 16, 2, 136), torch.float16)
        inputs["featurizer"] = inputs["featurizer"][:, :n_taps].contiguous()
        kernel, reference = (
            output_of(each, kind, FORMS[0]) for each in (hyena_gated_cuda, hyena_gated_reference)
        )
        check_against_reference(kernel, reference, inputs, dtype=torch.float16)

    @pytest.mark.parametrize("kind", ["LI", "MR"])
    def test_a_state_continues(self, kind: str) -> None:
        check_pieces(hyena_gated_cuda, kind, FORMS[1], Size(1, 16, 2, 1360), torch.float16, [8, 64, 1232, 56])

    @pytest.mark.parametrize("kind", ["LI", "MR"])
    def test_a_later_token_changes_nothing_earlier(self, kind: str) -> None:
        inputs = make_inputs(kind, Size(1, 16, 2, 1088), torch.float16)
        call = output_of(hyena_gated_cuda, kind, FORMS[0])
        before = call(**inputs)
        inputs["p"][..., 600:] = 20.0
        assert torch.equal(call(**inputs)[..., :600], before[..., :600])

    @pytest.mark.parametrize("kind", ["LI", "MR"])
    def test_a_row_is_the_same_alone_and_in_a_batch(self, kind: str) -> None:
        inputs = make_inputs(kind, Size(3, 16, 2, 1088), torch.bfloat16)
        call = output_of(hyena_gated_cuda, kind, FORMS[0])
        together = call(**inputs)
        assert torch.equal(call(**inputs | {"p": inputs["p"][2:]}), together[2:])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
class TestOnTheGpu:
    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
    @pytest.mark.parametrize(
        ("size", "form"),
        [
            (Size(1, 480, 30, 8192), FORMS[0]),
            (Size(2, 480, 32, 1000), FORMS[1]),
            (Size(1, 256, 16, 12_296), FORMS[3]),
        ],
        ids=str,
    )
    @pytest.mark.parametrize("kind", ["LI", "LI-rounded", "MR"])
    def test_output_and_gradients(self, kind: str, size: Size, form: Form, dtype: torch.dtype) -> None:
        check_backend("cuda", kind, form, size, dtype, "cuda")

    @pytest.mark.parametrize("kind", ["LI", "MR"])
    def test_a_row_is_the_same_alone_and_in_a_batch(self, kind: str) -> None:
        size = Size(17, 256, 16, 8200)
        inputs = make_inputs(kind, size, torch.bfloat16, "cuda")
        featurizer, inner = filters(kind, FORMS[0], inputs)
        start = zero_state(kind, size, inputs)
        call = partial(hyena_gated_extend, featurizer=featurizer, inner=inner, backend="cuda")
        p = inputs["p"]
        y, after = call(p, state=start)
        assert torch.equal(hyena_gated(p, featurizer, inner, backend="cuda"), y)
        at = slice(16, 17)
        alone, end = call(p[at], state=HyenaState(start.featurizer[at], start.inner[at]))
        assert torch.equal(alone, y[at])
        assert torch.equal(end.inner, after.inner[at])

    @pytest.mark.parametrize("kind", ["LI", "MR"])
    def test_gradients_are_the_same_bits_again(self, kind: str) -> None:
        inputs = make_inputs(kind, Size(1, 256, 16, 8200), torch.bfloat16, "cuda")
        found = []
        for _ in range(2):
            ours = {name: x.clone().requires_grad_() for name, x in inputs.items()}
            torch.autograd.backward(
                output_of(through_the_face("cuda"), kind, FORMS[0])(**ours).square().sum()
            )
            found.append([x.grad for x in ours.values()])
        assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))

    @pytest.mark.parametrize("kind", ["MR", "LI"])
    def test_more_elements_than_an_int_counts(self, kind: str) -> None:
        """The last channel stands behind 2^31 elements, of which float64 is taken alone."""
        channels, groups, seqlen = 256, 16, (1 << 21) + (1 << 20)
        assert 3 * channels * seqlen > 1 << 31
        inputs = make_inputs(kind, Size(1, channels, groups, 1), torch.bfloat16, "cuda")
        inputs["p"] = torch.randn(1, 3 * channels, seqlen, device="cuda", dtype=torch.bfloat16)
        with torch.no_grad():
            y = output_of(through_the_face("cuda"), kind, FORMS[0])(**inputs)
        n = channels // groups
        rows = {"p": 3 * n, "featurizer": 3 * n, "taps": 1}
        theirs = {
            name: (x[:, -rows[name] :] if name == "p" else x[-rows.get(name, n) :]).double()
            for name, x in inputs.items()
        }
        expected = output_of(through_the_face("composed"), kind, FORMS[0])(**theirs)
        assert_close_to_reference(y[:, -n:], expected)


def test_it_says_why_not() -> None:
    inputs = make_inputs("MR", Size(1, 16, 2, 64), torch.float16)
    featurizer, taps = filters("MR", FORMS[0], inputs)
    assert isinstance(taps, Taps)
    p = inputs["p"]
    assert why_not(p, featurizer, taps) == "the tensors are on the CPU"
    assert why_not(p, featurizer, Taps(torch.zeros(2, 129))) == "129 taps are not between 9 and 128"
    assert (
        why_not(p, featurizer, Taps(torch.zeros(4, 20))) == "4 channels that share a filter are fewer than 8"
    )
    assert why_not(p, Taps(torch.zeros(48, 4)), taps) == "the featurizer has 4 taps, more than 3"
    few = Modes(torch.zeros(16, 4), torch.zeros(16, 4))
    assert why_not(p, featurizer, few) == (
        "16 channels are fewer than 256: a channel's tokens are better split"
    )
    many = Modes(torch.zeros(16, 17), torch.zeros(16, 17))
    assert why_not(p, featurizer, many) == "17 modes are more than 16"
    assert choose("hyena_gated", "auto", p, featurizer, taps, True, None, False).name == "composed"
    with pytest.raises(ValueError, match="cuda: the tensors are on the CPU"):
        hyena_gated(p, featurizer, taps, backend="cuda")


def test_lengths_and_strides_that_it_cannot_load() -> None:
    from genomix_kernels.hyena_gated.modal_cuda import why_not_vectors

    x = torch.zeros(2, 3, 24, dtype=torch.bfloat16)
    assert why_not_vectors(x) is None
    assert why_not_vectors(x[..., :23]) == "23 tokens are not a multiple of 8"
    assert "not aligned to 8 elements" in (why_not_vectors(x[..., 1:17]) or "")
    assert "not aligned to 8 elements" in (
        why_not_vectors(x.transpose(1, 2)[..., :0]) or "aligned to 8 elements not"
    )
