"""Random inputs of a case as a model would give them, and how one filter group of them is cut out.

Activations are standard normal; explicit taps and skip gains are held in the model's dtype, poles and residues in fp32,
initialised as `genomix.operators.gated_hyena` does. The long filters of `fftconv` are noise that decays, as the
initial ones of HyenaDNA do, in fp32.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from genomix_kernels.bench.cases import Case

FEATURIZER_LEN = 3
# how many rows (channels, axis 1 of activations and axis 0 of filters) belong to one channel of the output
_STREAMS = {"p": 3, "featurizer": 3}
_ACTIVATIONS = {"u", "p", "y", "pre_gate", "post_gate", "dy"}


def make_inputs(case: Case, device: str, *, seed: int = 0) -> dict[str, Tensor]:
    """Return the tensors of a case by name.

    ``causal_fir``: u, taps; ``modal_conv``: u, log_poles, residues, skip; ``fftconv``: u, h, skip; with gates pre_gate
    and post_gate; ``hyena_gated``: p, featurizer, skip, and taps or log_poles and residues.
    """
    draw = _Draw(device, case.torch_dtype, seed)
    shape = (case.batch, case.channels, case.seqlen)
    inputs: dict[str, Tensor] = {}
    if case.op == "hyena_gated":
        inputs["p"] = draw.normal(case.batch, 3 * case.channels, case.seqlen)
        bound = FEATURIZER_LEN**-0.5
        inputs["featurizer"] = draw.uniform(-bound, bound, 3 * case.channels, FEATURIZER_LEN).to(draw.dtype)
    else:
        inputs["u"] = draw.normal(*shape)
        if case.is_gated:
            inputs["pre_gate"], inputs["post_gate"] = draw.normal(*shape), draw.normal(*shape)
    if case.n_modes is not None:
        gamma = draw.uniform(0.01, 0.1, case.channels, case.n_modes)
        inputs["log_poles"] = -gamma * math.exp(-1.0)
        inputs["residues"] = 0.1 * draw.normal(case.channels, case.n_modes, dtype=torch.float32) / 4
    elif case.filter_len is not None:
        taps = draw.normal(case.n_groups or case.channels, case.filter_len, dtype=torch.float32)
        inputs["taps"] = (taps / math.sqrt(case.filter_len)).to(draw.dtype)
    else:
        inputs["h"] = _decaying_noise(case, draw)
    if case.op == "fftconv":
        inputs["skip"] = draw.normal(case.channels, dtype=torch.float32)
    elif case.op != "causal_fir":
        inputs["skip"] = draw.normal(case.channels)
    return inputs


def cut_group(tensors: Mapping[str, Tensor], case: Case, group: int) -> dict[str, Tensor]:
    """Return what belongs to the channels of one filter, as views; ``y`` and ``dy`` are cut like ``u``."""
    per_filter = case.channels_per_filter
    first = group * per_filter
    cut: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        axis = 1 if name in _ACTIVATIONS else 0
        streams = _STREAMS.get(name, 1)
        if name == "taps":
            cut[name] = tensor.narrow(axis, group, 1)
        else:
            cut[name] = tensor.narrow(axis, streams * first, streams * per_filter)
    return cut


def _decaying_noise(case: Case, draw: "_Draw") -> Tensor:
    h = draw.normal(case.channels, case.seqlen, dtype=torch.float32)
    slow, fast = math.log(100) / 1.5, math.log(100) / 0.3
    rates = torch.linspace(slow, fast, case.channels, device=h.device)
    positions = torch.linspace(0, 1, case.seqlen, device=h.device)
    h *= torch.exp(-rates[:, None] * positions)
    h /= torch.linalg.vector_norm(h, dim=1, keepdim=True)
    return h


class _Draw:
    def __init__(self, device: str, dtype: torch.dtype, seed: int) -> None:
        self.device, self.dtype = device, dtype
        self.generator = torch.Generator(device=device).manual_seed(seed)

    def normal(self, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        return torch.randn(shape, generator=self.generator, device=self.device, dtype=dtype or self.dtype)

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        drawn = torch.rand(shape, generator=self.generator, device=self.device, dtype=torch.float32)
        return low + (high - low) * drawn
