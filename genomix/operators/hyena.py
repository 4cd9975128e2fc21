"""The Hyena operator: gates and long convolutions in turn.

Order 2, as all published models: ``y = x0 * (conv(k, x1 * v) + bias * (x1 * v))``, where ``x0, x1, v`` are short
causal filters of a linear map of the input. Source: Poli et al. 2023, Hyena Hierarchy, arXiv:2302.10866.
"""

from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from genomix.operators.implicit_filter import ImplicitFilter
from genomix.operators.state import MixerState, append_tail, write_past
from genomix_kernels.causal_fir import causal_fir
from genomix_kernels.fftconv import fftconv


class HyenaOperator(nn.Module):
    """Hyena of any order >= 2 with implicit filters; a `Mixer`.

    Args:
        d_model: Width of input and output.
        l_max: Longest sequence, and the time scale of the filters.
        order: Number of gates and values less one: ``order - 1`` long convolutions.
        short_filter_order: Taps of the short filters.
        channel_layout: See `HyenaDNAConfig`; matters for ``order > 2`` only.
        **filter_options: For `ImplicitFilter`.
    """

    def __init__(
        self,
        d_model: int,
        l_max: int,
        order: int = 2,
        *,
        short_filter_order: int = 3,
        channel_layout: Literal["repo", "standalone"] = "repo",
        **filter_options: Any,
    ) -> None:
        super().__init__()
        width = (order + 1) * d_model
        self.d_model = d_model
        self.order = order
        self.channel_layout = channel_layout
        self.in_proj = nn.Linear(d_model, width)
        self.out_proj = nn.Linear(d_model, d_model)
        # holds the parameters under their published names and initial values; the filter itself is `causal_fir`
        self.short_filter = nn.Conv1d(width, width, short_filter_order, groups=width)
        self.filter_fn = ImplicitFilter(d_model * (order - 1), l_max, **filter_options)

    def forward(self, x: Float[Tensor, "B L D"]) -> Float[Tensor, "B L D"]:
        """Return the mixed sequence.

        Raises:
            SequenceTooLongError: if the input is longer than ``l_max``.
        """
        filters = self._split_filters(self.filter_fn(x.shape[1]))
        skips = self._split_filters(self.filter_fn.bias)
        first_gate, *gates, v = self._featurize(x).chunk(self.order + 1, dim=1)
        for gate, k, skip in zip(reversed(gates), filters, skips, strict=True):
            v = fftconv(v * gate, k, skip)
        y: Tensor = self.out_proj((v * first_gate).transpose(1, 2))
        return y

    def init_state(
        self, batch_size: int, *, device: torch.device, dtype: torch.dtype, max_len: int | None = None
    ) -> MixerState:
        """Return the state before the first token: the inputs of the short and of each long filter, none yet.

        An implicit filter reaches back to the first token, so its inputs are kept, with room for ``max_len`` of them.
        """
        channels, _, taps = self.short_filter.weight.shape
        past = torch.zeros(batch_size, self.d_model, max_len or 0, device=device, dtype=dtype)
        return {
            "featurizer": torch.zeros(batch_size, channels, taps - 1, device=device, dtype=dtype),
            "length": torch.zeros(batch_size, dtype=torch.long, device=device),
            **{f"past_{index}": past.clone() for index in range(self.order - 1)},
        }

    def extend(
        self, x: Float[Tensor, "B L D"], state: MixerState, keep: Bool[Tensor, "B L"] | None = None
    ) -> tuple[Float[Tensor, "B L D"], MixerState]:
        """Return the outputs at L more tokens and the state after them.

        Args:
            x: The new inputs.
            state: Of `init_state` or an earlier `extend`. Its tensors may be written to beyond its length, so
                copy it first (`map_state` with ``clone``) to continue it in more than one way.
            keep: False at padding before the first token of a sequence, which then counts for nothing.

        Raises:
            SequenceTooLongError: if old and new tokens together, padding included, exceed ``l_max``.
        """
        old, new = int(state["length"][0]), x.shape[1]
        evaluate = self.filter_fn if torch.is_grad_enabled() else self.filter_fn.cached
        filters = self._split_filters(evaluate(old + new))
        skips = self._split_filters(self.filter_fn.bias)
        u = self._project(x)
        u = u if keep is None else u * keep[:, None]
        joined, tail = append_tail(state["featurizer"], u)
        features = self._short_filter(joined)[..., tail.shape[-1] :]
        features = features if keep is None else features * keep[:, None]
        after: MixerState = {"featurizer": tail, "length": state["length"] + new}
        first_gate, *gates, v = torch.split(features, self.d_model, dim=1)
        for index, (gate, k, skip) in enumerate(zip(reversed(gates), filters, skips, strict=True)):
            name = f"past_{index}"
            after[name] = write_past(state[name], v * gate, old)
            v = _continued(after[name][..., : old + new], k, skip, new)
        y: Tensor = self.out_proj((v * first_gate).transpose(1, 2))
        return y, after

    def _featurize(self, x: Float[Tensor, "B L D"]) -> Float[Tensor, "B C L"]:
        return self._short_filter(self._project(x))

    def _project(self, x: Float[Tensor, "B L D"]) -> Float[Tensor, "B C L"]:
        # the transposed product is written by the matrix multiplication itself, channels first, as the filters want it
        weight = self.in_proj.weight.expand(len(x), -1, -1)
        return torch.baddbmm(self.in_proj.bias[:, None], weight, x.transpose(1, 2))

    def _short_filter(self, u: Float[Tensor, "B C L"]) -> Float[Tensor, "B C L"]:
        taps = self.short_filter.weight[:, 0]
        return causal_fir(u, taps, self.short_filter.bias, tap_order="cross_correlation")

    def _split_filters(self, channels: Float[Tensor, "C *L"]) -> tuple[Tensor, ...]:
        n_convolutions = self.order - 1
        if self.channel_layout == "repo":
            by_convolution = channels.reshape(self.d_model, n_convolutions, *channels.shape[1:]).transpose(
                0, 1
            )
        else:
            by_convolution = channels.reshape(n_convolutions, self.d_model, *channels.shape[1:])
        return torch.unbind(by_convolution)


FEW_TOKENS = 8
"""Up to so many new tokens are summed directly over their past; a transform of the whole past costs more."""


def _continued(
    past: Float[Tensor, "B D T"], k: Float[Tensor, "D T"], skip: Float[Tensor, " D"], new: int
) -> Float[Tensor, "B D L"]:
    """Return the last ``new`` outputs of the convolution of everything so far."""
    if new > FEW_TOKENS:
        return fftconv(past, k, skip)[..., past.shape[-1] - new :]
    dtype = torch.promote_types(torch.promote_types(past.dtype, k.dtype), torch.float32)
    signal, backwards = past.to(dtype), k.to(dtype).flip(-1)
    seqlen = past.shape[-1]
    outputs = []
    for reach in range(seqlen - new + 1, seqlen + 1):
        window = signal[..., :reach]
        y = torch.einsum("bdt,dt->bd", window, backwards[:, seqlen - reach :])
        outputs.append(y + skip.to(dtype) * window[..., -1])
    return torch.stack(outputs, dim=-1).to(past.dtype)
