"""How each of our operations is called with the inputs of a case, and when that is not worth the time."""

from collections.abc import Callable, Mapping

from torch import Tensor

from genomix_kernels.bench.cases import Case
from genomix_kernels.dispatch import Implementation

Call = Callable[[Mapping[str, Tensor]], Tensor]
_SLOW_WORK = 1 << 28
_SLOW_STEPS = 4096
_LONG = 65_536
_REFUSAL = "no backend can serve this call"


def own_call(case: Case, backend: str) -> Call:
    """Return a function of the inputs of a case that computes ``y`` by one backend of our own."""
    calls = {
        "fftconv": _fftconv,
        "modal_conv": _modal_conv,
        "causal_fir": _causal_fir,
        "hyena_gated": _hyena_gated,
    }
    call = calls[case.op]
    return lambda inputs: call(case, inputs, backend)


def why_not_served(error: ValueError) -> str | None:
    """Return the reason in a dispatcher's refusal of a call; None if the error is another one."""
    _, found, reason = str(error).partition(_REFUSAL)
    # "... of modal_conv: torch_step: 8 tokens are ..."
    return reason.split(": ", 2)[-1].rstrip(".") if found else None


def why_slow(case: Case, backend: Implementation) -> str | None:
    """Return why a backend is left out at this shape although it could serve, or None."""
    elements = case.batch * case.channels * case.seqlen
    steps_through_tokens = case.n_modes is not None
    if backend.name == "reference" and steps_through_tokens and case.seqlen > _SLOW_STEPS:
        return f"one step a token: too slow for {case.seqlen:,} tokens"
    if backend.name == "reference" and case.filter_len and elements * case.filter_len > _SLOW_WORK:
        return f"one pass over memory a tap: too slow for {elements:,} elements and {case.filter_len} taps"
    is_torch_scan = backend.name.startswith("torch") and case.op in ("modal_conv", "hyena_gated")
    if is_torch_scan and case.seqlen > _LONG:
        return f"plain torch is not measured above {_LONG:,} tokens"
    return None


def _gates(inputs: Mapping[str, Tensor]) -> tuple[Tensor | None, Tensor | None]:
    return inputs.get("pre_gate"), inputs.get("post_gate")


def _fftconv(case: Case, inputs: Mapping[str, Tensor], backend: str) -> Tensor:
    from genomix_kernels.fftconv import fftconv

    pre_gate, post_gate = _gates(inputs)
    return fftconv(
        inputs["u"], inputs["h"], inputs["skip"], pre_gate=pre_gate, post_gate=post_gate, backend=backend
    )


def _modal_conv(case: Case, inputs: Mapping[str, Tensor], backend: str) -> Tensor:
    from genomix_kernels.modal_conv import modal_conv

    names = ("u", "log_poles", "residues", "skip")
    pre_gate, post_gate = _gates(inputs)
    y, _ = modal_conv(
        *(inputs[name] for name in names), pre_gate=pre_gate, post_gate=post_gate, backend=backend
    )
    return y


def _causal_fir(case: Case, inputs: Mapping[str, Tensor], backend: str) -> Tensor:
    from genomix_kernels.causal_fir import causal_fir

    pre_gate, post_gate = _gates(inputs)
    return causal_fir(inputs["u"], inputs["taps"], pre_gate=pre_gate, post_gate=post_gate, backend=backend)


def _hyena_gated(case: Case, inputs: Mapping[str, Tensor], backend: str) -> Tensor:
    from genomix_kernels.hyena_gated import hyena_gated
    from genomix_kernels.hyena_gated.filters import Modes, TapOrder, Taps

    featurizer = Taps(inputs["featurizer"], order="cross_correlation")
    inner: Taps | Modes
    if case.variant == "li":
        inner = Modes(inputs["log_poles"], inputs["residues"], inputs["skip"])
    else:
        order: TapOrder = "cross_correlation" if case.variant == "se" else "convolution"
        inner = Taps(inputs["taps"], inputs["skip"], order)
    return hyena_gated(inputs["p"], featurizer, inner, backend=backend)
