"""The fewest bytes that an operation must move, and the milliseconds that a copy of so many takes.

Every activation is read or written once: the forward pass reads the input (and the gates, or the three streams of
`hyena_gated`) and writes the output; the backward pass reads the output's gradient and the inputs again, and writes the
inputs' gradients. Of the filters only those of `fftconv` count, which are as long as the sequence. They are counted in
the dtype of the activations, although they are held in fp32: an operation could be given them so.
"""

from genomix_kernels.bench.cases import Case


def floor_bytes(case: Case, mode: str) -> int:
    """Return the fewest bytes of one pass (``fwd``), or of a forward and a backward one (``fwdbwd``)."""
    size = case.torch_dtype.itemsize
    n_inputs = _n_inputs(case)
    per_element = n_inputs + 1
    n_filter_passes = 1
    if mode == "fwdbwd":
        per_element += 1 + 2 * n_inputs  # dy; the inputs again, and a gradient of each
        n_filter_passes += 2  # the filter again, and its gradient
    filter_bytes = case.channels * case.seqlen * size if case.op == "fftconv" else 0
    elements = case.batch * case.channels * case.seqlen
    return elements * per_element * size + n_filter_passes * filter_bytes


def floor_ms(case: Case, mode: str, copy_gb_s: float) -> float:
    """Return the milliseconds that `floor_bytes` take at a copy rate in GB/s (bytes read and written)."""
    return floor_bytes(case, mode) / copy_gb_s / 1e6


def _n_inputs(case: Case) -> int:
    if case.op == "hyena_gated":
        return 3
    return 3 if case.is_gated else 1
