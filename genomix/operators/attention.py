"""Causal attention with rotary positions, continued from a cache of keys and values.

Angles are ``(position / position_scale) inv_freq`` (`genomix_kernels.rotary`). ``inv_freq`` is part of a checkpoint,
not recomputed: published StripedHyena 2 weights were run with values rounded to bf16.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention.bias import causal_lower_right

from genomix.operators.attention_backends import (
    attend_causally,
    attend_to_past_and_self,
    why_not_in_two_parts,
)
from genomix.operators.precision import KeepsPrecision
from genomix.operators.state import MixerState, write_past
from genomix_kernels.rotary import rotary, rotary_tables
from genomix_kernels.skinny_linear import skinny_linear

QUERY_BLOCK = 1024
"""Queries that attend at a time to a cache: bounds the memory of the mask, ``QUERY_BLOCK x (cached + new)``."""
CPU_QUERY_BLOCK = 128
"""On a CPU no launch is saved by larger blocks, and what a block's last query does not see yet is not computed."""


class RotaryAttention(KeepsPrecision):
    """Multi-head causal attention; a `Mixer`.

    Args:
        d_model: Width of input and output.
        n_heads: Heads, of ``d_model / n_heads`` channels each.
        rope_base: ``inv_freq[j] = rope_base ** (-2 j / head_dim)`` where no checkpoint says otherwise.
        position_scale: Positions are divided by it (position interpolation); 1 leaves them.
        has_qkv_bias: Whether the input projection has a bias.
        has_out_bias: Whether the output projection has one.
    """

    precise = ("inv_freq",)
    inv_freq: Tensor

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        *,
        rope_base: float,
        position_scale: float,
        has_qkv_bias: bool,
        has_out_bias: bool,
    ) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.head_dim = d_model // n_heads
        self.position_scale = position_scale
        self.qkv = nn.Linear(d_model, 3 * d_model, bias=has_qkv_bias)  # rows ordered (head, q|k|v, channel)
        self.out_proj = nn.Linear(d_model, d_model, bias=has_out_bias)
        self.register_buffer("inv_freq", inverse_frequencies(self.head_dim, rope_base))

    def forward(self, x: Float[Tensor, "B L D"]) -> Float[Tensor, "B L D"]:
        """Return the mixed sequence."""
        q, k, v = self._project(x, torch.arange(x.shape[1], device=x.device)[None])
        return self._merge(attend_causally(q, k, v))

    def init_state(
        self, batch_size: int, *, device: torch.device, dtype: torch.dtype, max_len: int | None = None
    ) -> MixerState:
        """Return an empty cache with room for ``max_len`` tokens; it grows by doubling where that is not enough.

        Under autocast it has the dtype of keys and values there, and is for tokens that are run under it as well.
        """
        if torch.is_autocast_enabled(device.type) and dtype is torch.float32:
            dtype = torch.get_autocast_dtype(device.type)
        room = (batch_size, self.n_heads, max_len or 0, self.head_dim)
        zeros = torch.zeros(batch_size, dtype=torch.long, device=device)
        return {
            "keys": torch.zeros(room, device=device, dtype=dtype),
            "values": torch.zeros(room, device=device, dtype=dtype),
            "length": zeros,
            "start": zeros.clone(),
        }

    def extend(
        self, x: Float[Tensor, "B L D"], state: MixerState, keep: Bool[Tensor, "B L"] | None = None
    ) -> tuple[Float[Tensor, "B L D"], MixerState]:
        """Return the outputs at L more tokens and the cache after them.

        Args:
            x: The new inputs.
            state: Of `init_state` or an earlier `extend`. Its tensors may be written to beyond its length, so
                copy it first (`map_state` with ``clone``) to continue it in more than one way.
            keep: False at padding before the first token of a sequence; positions count from that token.
        """
        new = x.shape[1]
        old, has_padding = _filled(state)
        has_padding |= keep is not None
        start = state["start"] if keep is None else state["start"] + (~keep).sum(1)
        q, k, v = self._project(x, _positions(old, new, start, has_padding))
        keys = write_past(state["keys"], k, old, dim=2)
        values = write_past(state["values"], v, old, dim=2)
        # a cache from before autocast began has more digits
        seen = keys[:, :, : old + new].to(q.dtype), values[:, :, : old + new].to(q.dtype)
        y = attend(q, *seen, start if has_padding else None)
        after = {"keys": keys, "values": values, "length": state["length"] + new, "start": start}
        return self._merge(y), after

    def finish(
        self, x: Float[Tensor, "N L D"], state: MixerState, rows: Int[Tensor, " N"] | None = None
    ) -> Float[Tensor, "N L D"]:
        """As in `FinishingMixer`: what is filled of the cache is copied for ``rows``, and nothing is added to it."""
        old, has_padding = _filled(state)
        start, past = state["start"], (state["keys"][:, :, :old], state["values"][:, :, :old])
        if rows is not None:
            start, past = start[rows], (past[0].index_select(0, rows), past[1].index_select(0, rows))
        q, k, v = self._project(x, _positions(old, x.shape[1], start, has_padding))
        past = past[0].to(k.dtype), past[1].to(k.dtype)  # as in `extend`
        if not has_padding and old and why_not_in_two_parts(q, *past) is None:
            return self._merge(attend_to_past_and_self(q, *past, k, v))
        keys, values = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)
        return self._merge(attend(q, keys, values, start if has_padding else None))

    def step(self, x: Float[Tensor, "B 1 D"], state: MixerState) -> Float[Tensor, "B 1 D"]:
        """Return the output at one more token; the cache, which must have room, is changed in place.

        Nothing here depends on the value of a tensor, so that a CUDA graph can hold it: attention reads the whole room,
        and a mask leaves out what is not filled yet.
        """
        at = state["length"][:1]
        qkv = skinny_linear(x[:, 0], self.qkv.weight, self.qkv.bias)[:, None]
        q, k, v = self._rotated(qkv, (state["length"] - state["start"])[:, None])
        state["keys"].index_copy_(2, at, k.to(state["keys"].dtype))
        state["values"].index_copy_(2, at, v.to(state["values"].dtype))
        columns = torch.arange(state["keys"].shape[2], device=x.device)
        seen = (columns <= at) & (columns >= state["start"][:, None])
        y = F.scaled_dot_product_attention(q, state["keys"], state["values"], attn_mask=seen[:, None, None])
        state["length"].add_(1)
        return skinny_linear(y.flatten(1), self.out_proj.weight, self.out_proj.bias)[:, None]

    def _project(self, x: Tensor, positions: Int[Tensor, "b L"]) -> tuple[Tensor, Tensor, Tensor]:
        return self._rotated(self.qkv(x), positions)

    def _rotated(self, qkv: Tensor, positions: Int[Tensor, "b L"]) -> tuple[Tensor, Tensor, Tensor]:
        qkv = torch.unflatten(qkv, -1, (self.n_heads, 3, self.head_dim))
        cos, sin = rotary_tables(
            positions, self.inv_freq, position_scale=self.position_scale, dtype=qkv.dtype
        )
        return rotary(qkv, cos, sin)

    def _merge(self, y: Float[Tensor, "B H L d"]) -> Float[Tensor, "B L D"]:
        out: Tensor = self.out_proj(y.transpose(1, 2).flatten(2))
        return out


def inverse_frequencies(head_dim: int, rope_base: float) -> Float[Tensor, " half"]:
    """Return the angle a position of each pair of channels, ``rope_base ** (-2 j / head_dim)``, in radians; fp32."""
    exponents = torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim
    return rope_base**-exponents


def _filled(state: MixerState) -> tuple[int, bool]:
    """Return how much of a cache is filled, and whether a sequence has padding there; waits for the device once."""
    length, most_padding = torch.stack([state["length"][0], state["start"].max()]).tolist()
    return length, most_padding > 0


def _positions(old: int, new: int, start: Int[Tensor, " B"], has_padding: bool) -> Int[Tensor, "b L"]:
    """Return the positions of the tokens from ``old`` on: of all sequences, or of each where some have padding."""
    positions = torch.arange(old, old + new, device=start.device)[None]
    return (positions - start[:, None]).clamp(min=0) if has_padding else positions


def attend(
    q: Float[Tensor, "B H L d"],
    keys: Float[Tensor, "B H M d"],
    values: Float[Tensor, "B H M d"],
    start: Int[Tensor, " B"] | None = None,
) -> Float[Tensor, "B H L d"]:
    """Return causal attention of the last L of M positions; rows of padding (before ``start``) see only themselves."""
    new, everything = q.shape[2], keys.shape[2]
    if start is None and new == everything:
        return attend_causally(q, keys, values)
    if start is None and new == 1:
        return F.scaled_dot_product_attention(q, keys, values)
    old = everything - new
    if start is None and why_not_in_two_parts(q, keys, values) is None:
        past = keys[:, :, :old], values[:, :, :old]
        return attend_to_past_and_self(q, *past, keys[:, :, old:], values[:, :, old:])
    if start is None and q.is_cuda:  # flash attention takes this bias as it is; no mask exists
        return F.scaled_dot_product_attention(q, keys, values, attn_mask=causal_lower_right(new, everything))
    columns = torch.arange(everything, device=q.device)
    blocks = []
    size = QUERY_BLOCK if q.is_cuda else CPU_QUERY_BLOCK
    for begin in range(0, new, size):
        rows = torch.arange(old + begin, old + min(begin + size, new), device=q.device)
        seen = (columns <= rows[:, None])[None, None]
        if start is not None:
            after_start = columns >= start[:, None]
            itself = columns == rows[:, None]
            seen = seen & (after_start[:, None] | itself)[:, None]
        last = int(rows[-1]) + 1
        blocks.append(
            F.scaled_dot_product_attention(
                q[:, :, begin : begin + size],
                keys[:, :, :last],
                values[:, :, :last],
                attn_mask=seen[..., :last],
            )
        )
    return torch.cat(blocks, dim=2)
