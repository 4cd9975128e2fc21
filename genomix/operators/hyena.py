"""The Hyena operator: gates and long convolutions in turn.

Order 2, as all published models: ``y = x0 * (conv(k, x1 * v) + bias * (x1 * v))``, where ``x0, x1, v`` are short
causal filters of a linear map of the input. Source: Poli et al. 2023, Hyena Hierarchy, arXiv:2302.10866.
"""

from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from genomix.operators.implicit_filter import ImplicitFilter
from genomix.operators.state import MixerState, append_tail, write_past
from genomix_kernels.causal_fir import causal_fir
from genomix_kernels.causal_fir.biased import biased_causal_fir
from genomix_kernels.channel_major import from_channels, to_channels
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
        return from_channels(self.mix(x), self.out_proj.weight, self.out_proj.bias)

    def mix(self, x: Float[Tensor, "B L D"]) -> Float[Tensor, "B D L"]:
        """Return what the output projection is applied to.

        Raises:
            SequenceTooLongError: if the input is longer than ``l_max``.
        """
        filters, skips = self._filters(x.shape[1], is_whole=True)
        first_gate, *gates, v = self._featurize(x).chunk(self.order + 1, dim=1)
        post_gates = [*[None] * (self.order - 2), first_gate]
        keeps = self._is_frozen()
        for gate, post_gate, k, skip in zip(reversed(gates), post_gates, filters, skips, strict=True):
            v = fftconv(v, k, skip, pre_gate=gate, post_gate=post_gate, keeps_spectrum=keeps)
        return v

    def init_state(
        self, batch_size: int, *, device: torch.device, dtype: torch.dtype, max_len: int | None = None
    ) -> MixerState:
        """Return the state before the first token: the inputs of the short and of each long filter, none yet.

        An implicit filter reaches back to the first token, so its inputs are kept, with room for ``max_len`` of them;
        of a filter with fewer taps, no more inputs than those.
        """
        channels, _, taps = self.short_filter.weight.shape
        room = min(max_len or 0, self.filter_fn.filter_len)
        past = torch.zeros(batch_size, self.d_model, room, device=device, dtype=dtype)
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
        filters, skips = self._filters(old + new)
        u = self._project(x)
        u = u if keep is None else u * keep[:, None]
        joined, tail = append_tail(state["featurizer"], u)
        features = self._short_filter(joined)[..., tail.shape[-1] :]
        features = features if keep is None else features * keep[:, None]
        after: MixerState = {"featurizer": tail, "length": state["length"] + new}
        first_gate, *gates, v = torch.split(features, self.d_model, dim=1)
        for index, (gate, k, skip) in enumerate(zip(reversed(gates), filters, skips, strict=True)):
            name = f"past_{index}"
            after[name], reached = _remember(state[name], v * gate, old, self.filter_fn.filter_len)
            v = _continued(reached, k, skip, new)
        y: Tensor = self.out_proj((v * first_gate).transpose(1, 2))
        return y, after

    def trace(self, x: Float[Tensor, "B L D"]) -> tuple[Float[Tensor, "B L D"], MixerState]:
        """Return what `forward` does, and what `branch` needs to know of it: inputs and outputs of every filter."""
        filters, skips = self._filters(x.shape[1], is_whole=True)
        projected = self._project(x)
        trace: MixerState = {"projected": projected}
        first_gate, *gates, v = self._short_filter(projected).chunk(self.order + 1, dim=1)
        for index, (gate, k, skip) in enumerate(zip(reversed(gates), filters, skips, strict=True)):
            trace[f"input_{index}"] = v * gate
            v = fftconv(trace[f"input_{index}"], k, skip, keeps_spectrum=self._is_frozen())
            trace[f"output_{index}"] = v
        y: Tensor = self.out_proj((v * first_gate).transpose(1, 2))
        return y, trace

    def branch(
        self, x: Float[Tensor, "N L D"], trace: MixerState, rows: Int[Tensor, " N"], start: int
    ) -> Float[Tensor, "N L D"]:
        """Return the outputs at L tokens that follow the first ``start`` tokens of traced sequences.

        A convolution is linear: past its start a branch's output is that of the traced sequence plus the convolution
        of the difference of their inputs, which is zero before. So a branch costs its own tokens only, where
        `extend` transforms the whole past again.

        Args:
            x: Inputs from token ``start`` on; not beyond the end of the traced sequences.
            trace: Of `trace`; left unchanged.
            rows: Which traced sequence each branch leaves.
            start: Tokens that a branch shares with it.
        """
        new = x.shape[1]
        end = start + new
        filters, skips = self._filters(new)
        tail_len = self.short_filter.weight.shape[-1] - 1
        tail = trace["projected"][..., max(start - tail_len, 0) : start].index_select(0, rows)
        tail = F.pad(tail, (tail_len - tail.shape[-1], 0))
        joined, _ = append_tail(tail, self._project(x))
        first_gate, *gates, v = self._short_filter(joined)[..., tail_len:].chunk(self.order + 1, dim=1)
        for index, (gate, k, skip) in enumerate(zip(reversed(gates), filters, skips, strict=True)):
            known_input = trace[f"input_{index}"][..., start:end].index_select(0, rows)
            known_output = trace[f"output_{index}"][..., start:end].index_select(0, rows)
            precise = torch.promote_types(v.dtype, torch.float32)
            change = fftconv((v * gate).to(precise) - known_input, k, skip)
            v = (known_output + change).to(v.dtype)
        y: Tensor = self.out_proj((v * first_gate).transpose(1, 2))
        return y

    def _filters(
        self, seqlen: int, *, is_whole: bool = False
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Return the long filters at so many positions, and their skip gains.

        Those of frozen filters for a sequence that ``is_whole`` are the same tensors at every call. Pieces of a
        sequence have any length, and would leave a kept transform for each.
        """
        skips = self._split_filters(self.filter_fn.bias)
        if not self._is_frozen():
            return self._split_filters(self.filter_fn(seqlen)), skips
        if is_whole:
            return self.filter_fn.cached_parts(seqlen, self._split_filters), skips
        return self._split_filters(self.filter_fn.cached(seqlen)), skips

    def _is_frozen(self) -> bool:
        return not torch.is_grad_enabled() or self.filter_fn.is_frozen

    def _featurize(self, x: Float[Tensor, "B L D"]) -> Float[Tensor, "B C L"]:
        taps, bias = self.short_filter.weight[:, 0], self.short_filter.bias
        assert bias is not None
        projected = to_channels(x, self.in_proj.weight)
        return biased_causal_fir(projected, self.in_proj.bias, taps, bias, tap_order="cross_correlation")

    def _project(self, x: Float[Tensor, "B L D"]) -> Float[Tensor, "B C L"]:
        return to_channels(x, self.in_proj.weight, self.in_proj.bias)

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


def _remember(
    past: Float[Tensor, "B D M"], new: Float[Tensor, "B D L"], old: int, filter_len: int
) -> tuple[Float[Tensor, "B D N"], Float[Tensor, "B D T"]]:
    """Return what to keep of ``old`` and new inputs of a filter, and those that it reaches from the new ones."""
    kept, length = min(old, filter_len), new.shape[-1]
    if kept + length <= filter_len:
        past = write_past(past, new, kept)
        return past, past[..., : kept + length]
    reached = torch.cat([past[..., :kept], new.to(past.dtype)], dim=-1)
    last = reached[..., -filter_len:]
    return last if length <= filter_len else last.clone(), reached


def _continued(
    past: Float[Tensor, "B D T"], k: Float[Tensor, "D K"], skip: Float[Tensor, " D"], new: int
) -> Float[Tensor, "B D L"]:
    """Return the last ``new`` outputs of the convolution of everything that they reach."""
    if new > FEW_TOKENS:
        return fftconv(past, k, skip)[..., past.shape[-1] - new :]
    dtype = torch.promote_types(torch.promote_types(past.dtype, k.dtype), torch.float32)
    signal, backwards = past.to(dtype), k.to(dtype).flip(-1)
    seqlen, taps = past.shape[-1], k.shape[-1]
    outputs = []
    for end in range(seqlen - new + 1, seqlen + 1):
        start = max(0, end - taps)
        window = signal[..., start:end]
        y = torch.einsum("bdt,dt->bd", window, backwards[:, taps - (end - start) :])
        outputs.append(y + skip.to(dtype) * window[..., -1])
    return torch.stack(outputs, dim=-1).to(past.dtype)
