"""The Hyena mixers of StripedHyena 2: project, featurize, gate, filter, gate, project.

``p = W_p x``; ``z`` = a short causal filter of each of its 3D channels; ``q, k, v`` = the three streams of ``z``;
``y = q * (h * m + D m)`` with ``m = k v``; out = ``W_o y + b_o``. Hyena-SE has a short explicit ``h``, Hyena-MR one of
medium length, Hyena-LI one of unlimited length that is a sum of exponentials. What lies between the projections is one
operation, `genomix_kernels.hyena_gated`. Source: Ku et al. 2025, Systems and Algorithms for Convolutional Multi-Hybrid
Language Models at Scale, arXiv:2503.01868.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from genomix.operators.fp8 import ScaledLinear
from genomix.operators.precision import KeepsPrecision
from genomix.operators.state import MixerState
from genomix_kernels.channel_major import from_channels, to_channels
from genomix_kernels.hyena_gated import HyenaState, Modes, TapOrder, Taps, hyena_gated, hyena_gated_extend
from genomix_kernels.hyena_step import hyena_step
from genomix_kernels.skinny_linear import skinny_linear

WHOLE_VECTORS = {"cuda": 8}
"""Tokens, by device, of which the length of channels-first rows is made a multiple: of other rows the fast kernels of
matrix products and filters, which load 16 bytes at a time, cannot take most."""


class ShortFeaturizer(nn.Module):
    """A short causal depthwise filter of the projected channels, computed in fp32."""

    def __init__(self, channels: int, filter_len: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, filter_len).uniform_(-(3**-0.5), 3**-0.5))

    def taps(self) -> Taps:
        """Return the taps, as they are stored."""
        return Taps(self.weight, order="cross_correlation")


class ExplicitFilter(nn.Module):
    """Taps shared by groups of neighbouring channels, with an optional skip gain.

    ``tap_order``: ``convolution``: the first stored tap weighs the current token; ``cross_correlation``: the last.
    """

    state_name = "inner"

    def __init__(
        self, channels: int, n_groups: int, filter_len: int, *, tap_order: TapOrder, has_skip: bool
    ) -> None:
        super().__init__()
        self.channels = channels
        self.tap_order: TapOrder = tap_order
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

    def filter(self) -> Taps:
        """Return what describes the filter to a kernel."""
        return Taps(self.h, self.D, self.tap_order)

    def init_state(self, batch_size: int, *, device: torch.device, dtype: torch.dtype) -> Tensor:
        """Return the inputs before the first token: zeros."""
        return torch.zeros(batch_size, self.channels, self.filter_len - 1, device=device, dtype=dtype)


class ModalFilter(KeepsPrecision):
    """``h[t] = sum_n residues[n] exp(log_poles[n] t)`` for each channel, with a skip gain.

    Poles and residues stay in fp32 whatever the model's dtype: a relative error of bf16 in ``log_poles`` is an error of
    order one after some hundred tokens. With ``rounds_before_skip`` the filtered part is rounded to the activations'
    dtype before the skip term is added, as the published runtime does.
    """

    precise = ("log_poles", "residues")
    state_name = "modes"

    def __init__(self, channels: int, n_modes: int, *, rounds_before_skip: bool) -> None:
        super().__init__()
        gamma = torch.empty(channels, n_modes).uniform_(0.01, 0.1)
        self.log_poles = nn.Parameter(-gamma * torch.exp(torch.tensor(-1.0)))
        self.residues = nn.Parameter(0.1 * torch.randn(channels, n_modes) / 4)
        self.D = nn.Parameter(torch.randn(channels))
        self.rounds_before_skip = rounds_before_skip

    def filter(self) -> Modes:
        """Return what describes the filter to a kernel."""
        return Modes(self.log_poles, self.residues, self.D, self.rounds_before_skip)

    def init_state(self, batch_size: int, *, device: torch.device, dtype: torch.dtype) -> Tensor:
        """Return the modes before the first token: zeros, in fp32 or above."""
        precise = torch.promote_types(dtype, torch.float32)
        return torch.zeros(batch_size, *self.log_poles.shape, device=device, dtype=precise)


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
        return self._mixed(x, None)

    def init_state(
        self, batch_size: int, *, device: torch.device, dtype: torch.dtype, max_len: int | None = None
    ) -> MixerState:
        """Return the state before the first token; its size does not depend on ``max_len``."""
        channels, filter_len = self.featurizer.weight.shape
        tail = torch.zeros(batch_size, channels, filter_len - 1, device=device, dtype=dtype)
        inner = self.filter.init_state(batch_size, device=device, dtype=dtype)
        return {"featurizer": tail, self.filter.state_name: inner}

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
        y, after = hyena_gated_extend(
            p,
            self.featurizer.taps(),
            self.filter.filter(),
            self._known(state),
            is_interleaved=self.is_interleaved,
        )
        return self._merge(y), {"featurizer": after.featurizer, self.filter.state_name: after.inner}

    def finish(
        self, x: Float[Tensor, "N L D"], state: MixerState, rows: Int[Tensor, " N"] | None = None
    ) -> Float[Tensor, "N L D"]:
        """As in `FinishingMixer`."""
        known = self._known(state)
        if rows is not None:
            known = HyenaState(*(tensor.index_select(0, rows) for tensor in known))
        return self._mixed(x, known)

    def step(self, x: Float[Tensor, "B 1 D"], state: MixerState) -> Float[Tensor, "B 1 D"]:
        """Return the output at one more token; the state is changed in place, as a CUDA graph needs it."""
        weight = self._plain_weight()
        p = self.projections(x[:, 0]) if weight is None else skinny_linear(x[:, 0], weight)
        y = hyena_step(
            p,
            self.featurizer.taps(),
            self.filter.filter(),
            self._known(state),
            is_interleaved=self.is_interleaved,
        )
        return skinny_linear(y, self.out_proj.weight, self.out_proj.bias)[:, None]

    def _mixed(self, x: Float[Tensor, "B L D"], before: HyenaState | None) -> Float[Tensor, "B L D"]:
        seqlen = x.shape[1]
        # a causal filter makes nothing of what comes later
        missing = -seqlen % WHOLE_VECTORS.get(x.device.type, 1)
        p = self._project(F.pad(x, (0, 0, 0, missing)) if missing else x)
        y = hyena_gated(
            p,
            self.featurizer.taps(),
            self.filter.filter(),
            is_interleaved=self.is_interleaved,
            state=before,
        )
        mixed = self._merge(y)
        return mixed[:, :seqlen] if missing else mixed

    def _known(self, state: MixerState) -> HyenaState:
        return HyenaState(state["featurizer"], state[self.filter.state_name])

    def _project(self, x: Float[Tensor, "B L D"]) -> Float[Tensor, "B C L"]:
        weight = self._plain_weight()
        if weight is not None:
            return to_channels(x, weight)
        projected: Tensor = self.projections(x)
        return projected.transpose(1, 2)

    def _plain_weight(self) -> Tensor | None:
        """Return the matrix of the input projection, unless it is more than a product with one."""
        runs_fp8 = isinstance(self.projections, ScaledLinear) and self.projections.runs_fp8
        return self.projections.weight if isinstance(self.projections, nn.Linear) and not runs_fp8 else None

    def _merge(self, y: Float[Tensor, "B D L"]) -> Float[Tensor, "B L D"]:
        # an adapted map is a class of its own; one that runs in 8 bits computes its product itself
        if isinstance(self.out_proj, nn.Linear) and not isinstance(self.out_proj, ScaledLinear):
            return from_channels(y, self.out_proj.weight, self.out_proj.bias)
        out: Tensor = self.out_proj(y.transpose(1, 2))
        return out
