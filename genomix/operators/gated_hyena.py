"""The Hyena mixers of StripedHyena 2: project, featurize, gate, filter, gate, project.

``p = W_p x``; ``z`` = a short causal filter of each of its 3D channels; ``q, k, v`` = the three streams of ``z``;
``y = q * (h * m + D m)`` with ``m = k v``; out = ``W_o y + b_o``. Hyena-SE has a short explicit ``h``, Hyena-MR one of
medium length, Hyena-LI one of unlimited length that is a sum of exponentials. Source: Ku et al. 2025, Systems and
Algorithms for Convolutional Multi-Hybrid Language Models at Scale, arXiv:2503.01868.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from genomix.operators.fp8 import ScaledLinear
from genomix.operators.precision import KeepsPrecision
from genomix.operators.state import MixerState, append_tail
from genomix_kernels.causal_fir import causal_fir
from genomix_kernels.modal_conv import modal_conv

TapOrder = Literal["convolution", "cross_correlation"]
"""``convolution``: the first stored tap weighs the current token. ``cross_correlation``: the last one does."""


class ShortFeaturizer(nn.Module):
    """A short causal depthwise filter of the projected channels, computed in fp32."""

    def __init__(self, channels: int, filter_len: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, filter_len).uniform_(-(3**-0.5), 3**-0.5))

    def taps(self) -> Float[Tensor, "C K"]:
        """Return the taps, the one of the current token first; stored in cross-correlation order."""
        return self.weight.flip(-1)


class ExplicitFilter(nn.Module):
    """Taps shared by groups of neighbouring channels, with an optional skip gain."""

    def __init__(
        self, channels: int, n_groups: int, filter_len: int, *, tap_order: TapOrder, has_skip: bool
    ) -> None:
        super().__init__()
        self.channels = channels
        self.tap_order = tap_order
        bound = 3**-0.5 if tap_order == "cross_correlation" else 0.0
        initial = torch.empty(n_groups, filter_len).uniform_(-bound, bound)
        if tap_order == "convolution":
            initial = torch.randn(n_groups, filter_len) * 1e-5
        self.h = nn.Parameter(initial)
        self.D = nn.Parameter(torch.randn(channels)) if has_skip else None

    @property
    def filter_len(self) -> int:
        """Number of taps."""
        return self.h.shape[1]

    def taps(self) -> Float[Tensor, "G K"]:
        """Return each group's taps, the one of the current token first."""
        return self.h if self.tap_order == "convolution" else self.h.flip(-1)

    def init_state(self, batch_size: int, *, device: torch.device, dtype: torch.dtype) -> MixerState:
        """Return the inputs before the first token: zeros."""
        return {
            "inner": torch.zeros(batch_size, self.channels, self.filter_len - 1, device=device, dtype=dtype)
        }

    def forward(
        self, m: Float[Tensor, "B D L"], state: MixerState
    ) -> tuple[Float[Tensor, "B D L"], MixerState]:
        """Return ``h * m + D m`` and the state after it."""
        y, tail = _filtered(m, self.taps(), state["inner"])
        if self.D is not None:
            y = torch.addcmul(y, self.D.to(y.dtype)[:, None], m)
        return y, {"inner": tail}


class ModalFilter(KeepsPrecision):
    """``h[t] = sum_n residues[n] exp(log_poles[n] t)`` for each channel, with a skip gain.

    Poles and residues stay in fp32 whatever the model's dtype: a relative error of bf16 in ``log_poles`` is an error of
    order one after some hundred tokens.
    """

    precise = ("log_poles", "residues")

    def __init__(self, channels: int, n_modes: int, *, rounds_before_skip: bool) -> None:
        super().__init__()
        gamma = torch.empty(channels, n_modes).uniform_(0.01, 0.1)
        self.log_poles = nn.Parameter(-gamma * torch.exp(torch.tensor(-1.0)))
        self.residues = nn.Parameter(0.1 * torch.randn(channels, n_modes) / 4)
        self.D = nn.Parameter(torch.randn(channels))
        self.rounds_before_skip = rounds_before_skip

    def init_state(self, batch_size: int, *, device: torch.device, dtype: torch.dtype) -> MixerState:
        """Return the modes before the first token: zeros, in fp32 or above."""
        precise = torch.promote_types(dtype, torch.float32)
        return {"modes": torch.zeros(batch_size, *self.log_poles.shape, device=device, dtype=precise)}

    def forward(
        self, m: Float[Tensor, "B D L"], state: MixerState
    ) -> tuple[Float[Tensor, "B D L"], MixerState]:
        """Return ``h * m + D m`` and the state after it."""
        if (
            self.rounds_before_skip
        ):  # as the published runtime: the filtered part is rounded to the activations' dtype
            y, modes = modal_conv(m, self.log_poles, self.residues, state=state["modes"])
            y = y + self.D.to(m.dtype)[:, None] * m
        else:
            y, modes = modal_conv(m, self.log_poles, self.residues, self.D, state=state["modes"])
        return y, {"modes": modes}


class GatedHyena(nn.Module):
    """A Hyena mixer around one inner filter; a `Mixer`.

    Args:
        d_model: Width of input and output.
        inner: `ExplicitFilter` (Hyena-SE, -MR) or `ModalFilter` (Hyena-LI).
        featurizer_len: Taps of the short filter on the projections.
        is_interleaved: Channel ``c`` of the three streams stands at ``3c, 3c+1, 3c+2``; else in three thirds.
        has_out_bias: Whether the output projection has a bias.
        has_fp8_scales: Whether the input projection holds the scales that it was trained with in 8 bits.
    """

    def __init__(
        self,
        d_model: int,
        inner: ExplicitFilter | ModalFilter,
        *,
        featurizer_len: int,
        is_interleaved: bool,
        has_out_bias: bool,
        has_fp8_scales: bool = False,
    ) -> None:
        super().__init__()
        self.d_model = d_model
        self.is_interleaved = is_interleaved
        self.projections: nn.Linear = (
            ScaledLinear(d_model, 3 * d_model)
            if has_fp8_scales
            else nn.Linear(d_model, 3 * d_model, bias=False)
        )
        self.featurizer = ShortFeaturizer(3 * d_model, featurizer_len)
        self.filter = inner
        self.out_proj = nn.Linear(d_model, d_model, bias=has_out_bias)

    def forward(self, x: Float[Tensor, "B L D"]) -> Float[Tensor, "B L D"]:
        """Return the mixed sequence."""
        y, _ = self.extend(x, self.init_state(x.shape[0], device=x.device, dtype=x.dtype))
        return y

    def init_state(
        self, batch_size: int, *, device: torch.device, dtype: torch.dtype, max_len: int | None = None
    ) -> MixerState:
        """Return the state before the first token; its size does not depend on ``max_len``."""
        channels, filter_len = self.featurizer.weight.shape
        tail = torch.zeros(batch_size, channels, filter_len - 1, device=device, dtype=dtype)
        return {"featurizer": tail, **self.filter.init_state(batch_size, device=device, dtype=dtype)}

    def extend(
        self, x: Float[Tensor, "B L D"], state: MixerState, keep: Bool[Tensor, "B L"] | None = None
    ) -> tuple[Float[Tensor, "B L D"], MixerState]:
        """Return the outputs at L more tokens and the state after them.

        Args:
            x: The new inputs.
            state: Of `init_state` or an earlier `extend`; left unchanged.
            keep: False at padding before the first token of a sequence, which then counts for nothing.
        """
        p = self._project(x)
        if keep is not None:
            p = p * keep[:, None]
        z, tail = _filtered(p, self.featurizer.taps(), state["featurizer"])
        q, k, v = self._streams(z)
        y, inner = self.filter(k * v, state)
        out: Tensor = self.out_proj((q * y).transpose(1, 2))
        return out, {"featurizer": tail, **inner}

    def step(self, x: Float[Tensor, "B 1 D"], state: MixerState) -> Float[Tensor, "B 1 D"]:
        """Return the output at one more token; the state is changed in place, as a CUDA graph needs it."""
        y, after = self.extend(x, state)
        for name, tensor in after.items():
            state[name].copy_(tensor)
        return y

    def _project(self, x: Float[Tensor, "B L D"]) -> Float[Tensor, "B C L"]:
        if type(self.projections) is nn.Linear:
            # written channels first by the product itself, as the filters read it
            return torch.matmul(self.projections.weight, x.transpose(1, 2))
        projected: Tensor = self.projections(x)
        return projected.transpose(1, 2)

    def _streams(self, z: Float[Tensor, "B C L"]) -> tuple[Tensor, Tensor, Tensor]:
        if self.is_interleaved:
            q, k, v = torch.unflatten(z, 1, (self.d_model, 3)).unbind(2)
        else:
            q, k, v = torch.unflatten(z, 1, (3, self.d_model)).unbind(1)
        return q, k, v


FEW_TOKENS = 4
"""Up to so many new tokens are summed directly; a kernel for whole sequences would compute outputs that are known."""


def _filtered(
    new: Float[Tensor, "B D L"], taps: Float[Tensor, "G K"], tail: Float[Tensor, "B D T"]
) -> tuple[Float[Tensor, "B D L"], Float[Tensor, "B D T"]]:
    """Return the filtered new inputs and the tail for the time after."""
    joined, after = append_tail(tail, new)
    if new.shape[-1] > FEW_TOKENS:
        return causal_fir(joined, taps)[..., tail.shape[-1] :], after
    precise = torch.promote_types(new.dtype, torch.float32)
    windows = joined.unfold(-1, taps.shape[1], 1)  # (B, D, L, K), oldest input first
    grouped = torch.unflatten(windows, 1, (taps.shape[0], -1))
    y = (grouped.to(precise) * taps.flip(-1)[:, None, None].to(precise)).sum(-1)
    return y.flatten(1, 2).to(new.dtype), after
