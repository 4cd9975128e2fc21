"""The mixers of both model families for sequences that are split over ranks.

Each is a child of the plain mixer that has the same parameters and another `forward`: ``x`` is this rank's part of the
sequence, and so is the result. What a rank needs of the others is

- of a filter with few taps, the tokens before its part that the filter reaches back to (`with_tokens_before`,
  `TokensBefore`);
- of a modal filter, the modes that the parts before leave behind: each rank filters its part from nothing, and a part
  of L tokens that is followed by others fades by ``exp(log_poles L)`` for each of them;
- of a long convolution and of attention, the whole sequence, and then only for some of the channels or heads: an
  exchange before and one after (all-to-all).
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from genomix.operators.attention import RotaryAttention, attend
from genomix.operators.attention_backends import attend_causally
from genomix.operators.gated_hyena import ExplicitFilter, GatedHyena, ModalFilter
from genomix.operators.hyena import HyenaOperator
from genomix.parallel.collectives import ContextGroup, Exchange, exchange, gather
from genomix.parallel.halo import TokensBefore, with_tokens_before
from genomix.parallel.streams import Streams, with_head_added
from genomix_data.errors import ConfigError
from genomix_kernels.causal_fir import causal_fir
from genomix_kernels.channel_major import to_channels
from genomix_kernels.fftconv import fftconv
from genomix_kernels.hyena_gated import hyena_gated
from genomix_kernels.hyena_gated.streams import streams_of
from genomix_kernels.modal_conv import modal_conv

ALIGNMENT = 64
"""Tokens before a part are fetched in multiples of this, so that what follows them stays aligned for the kernels."""


class ContextHyenaOperator(HyenaOperator):
    """`HyenaOperator` on a part of a sequence."""

    context: ContextGroup

    def mix(self, x: Float[Tensor, "B L D"]) -> Float[Tensor, "B D L"]:
        """Return what the output projection is applied to, of a part.

        The tokens before the part, and the filters after them, are on their way while the projections are taken. Each
        rank filters neighboring channels, so that with one window a batch what is sent is nowhere copied before.

        Raises:
            SequenceTooLongError: if all parts together are longer than ``l_max``.
        """
        context = self.context
        # on every rank, or the others would wait for ever
        self.filter_fn.check_length(context.size * x.shape[1])
        reach = self.short_filter.weight.shape[-1] - 1
        before = TokensBefore(x, reach, context)
        filters, skips = self._own_filters(x.shape[1])
        features = self._featurize(before.part)
        if reach:
            features = with_head_added(features, self._reached_by(before.finish(), x.shape[1]))
        streams = Streams(features, self.order + 1)
        v = streams.product_of_last()
        for gate, arriving, skip in zip(reversed(range(self.order - 1)), filters, skips, strict=True):
            u = Exchange(v, context, split=1, join=2)
            # before u: of the gradients, that of u is waited for first and sent first
            k = arriving.finish()[0]
            y = exchange(fftconv(u.finish(), k, skip), context, split=2, join=1)
            v = streams.times(gate, y)
        return v

    def _reached_by(self, before: Float[Tensor, "B N D"], seqlen: int) -> Float[Tensor, "B C M"]:
        """Return what the tokens before a part add to its first features, as many as their short filter reaches."""
        assert self.in_proj.bias is not None
        taps = self.short_filter.weight[:, 0]
        reached = min(taps.shape[1] - 1, seqlen)
        inputs = to_channels(before, self.in_proj.weight, self.in_proj.bias)
        outputs = causal_fir(F.pad(inputs, (0, reached)), taps, tap_order="cross_correlation")
        return outputs[..., before.shape[1] :]

    def _own_filters(self, seqlen: int) -> tuple[list[Exchange], list[Tensor]]:
        """Return this rank's channels of each filter at all positions, on their way, and their gains.

        Filters are functions of the position: each rank evaluates them at its own positions, for all channels, so that
        the work and what is kept of it is shared too.
        """
        context = self.context
        taps = self.filter_fn(seqlen, start=context.rank * seqlen)
        if taps.shape[1] < seqlen:  # the filter ends early, and parts are exchanged in one size
            taps = F.pad(taps, (0, seqlen - taps.shape[1]))
        filters = [Exchange(part[None], context, split=1, join=2) for part in self._split_filters(taps)]
        gains = self._split_filters(self.filter_fn.bias)
        return filters, [gain.chunk(context.size)[context.rank] for gain in gains]


class ContextGatedHyena(GatedHyena):
    """`GatedHyena` on a part of a sequence."""

    context: ContextGroup

    def forward(self, x: Float[Tensor, "B L D"]) -> Float[Tensor, "B L D"]:
        """Return the mixed part."""
        if isinstance(self.filter, ModalFilter):
            return self._merge(self._modal(x, self.filter))
        assert isinstance(self.filter, ExplicitFilter)
        reach = self.featurizer.weight.shape[1] + self.filter.filter_len - 2
        extended, before = with_tokens_before(x, _aligned(reach), self.context)
        y = hyena_gated(
            self._project(extended),
            self.featurizer.taps(),
            self.filter.filter(),
            is_interleaved=self.is_interleaved,
        )
        return self._merge(y[..., before:])

    def _modal(self, x: Float[Tensor, "B L D"], inner: ModalFilter) -> Float[Tensor, "B D L"]:
        poles, residues, skip, rounds_before_skip = inner.filter()
        taps = self.featurizer.taps()
        extended, before = with_tokens_before(x, _aligned(taps.h.shape[1] - 1), self.context)
        z = causal_fir(self._project(extended), taps.h, tap_order=taps.order)[..., before:]
        (q, k, v), _ = streams_of(z, self.is_interleaved)
        _, final = modal_conv(k, poles, residues, pre_gate=v)
        state = modes_before(final, poles, x.shape[1], self.context)
        if rounds_before_skip and skip is not None:
            y, _ = modal_conv(k, poles, residues, state=state, pre_gate=v)
            return q * (y + skip.to(y.dtype)[:, None] * (k * v))  # type: ignore[operator]  # q and v are there
        y, _ = modal_conv(k, poles, residues, skip, state=state, pre_gate=v, post_gate=q)
        return y


class ContextRotaryAttention(RotaryAttention):
    """`RotaryAttention` on a part of a sequence."""

    context: ContextGroup

    def forward(self, x: Float[Tensor, "B L D"]) -> Float[Tensor, "B L D"]:
        """Return the mixed part.

        Each rank attends with some of the heads to the whole sequence; where there are fewer heads than ranks, with all
        of them to the keys and values of the parts up to its own.
        """
        context, seqlen = self.context, x.shape[1]
        first = context.rank * seqlen
        q, k, v = self._project(x, torch.arange(first, first + seqlen, device=x.device)[None])
        if self.n_heads < context.size:
            keys, values = (_up_to_here(part, context) for part in (k, v))
            return self._merge(attend(q, keys, values))
        # heads of zeros where they cannot be dealt out evenly: they attend to nothing, and are cut off again
        missing = -self.n_heads % context.size
        if missing:
            q, k, v = (F.pad(part, (0, 0, 0, 0, 0, missing)) for part in (q, k, v))
        underway = [Exchange(part, context, split=1, join=2) for part in (q, k, v)]
        q, k, v = (part.finish() for part in underway)
        y = exchange(attend_causally(q, k, v), context, split=2, join=1)
        return self._merge(y[:, : self.n_heads])


def modes_before(
    final: Float[Tensor, "B D N"], log_poles: Float[Tensor, "D N"], seqlen: int, context: ContextGroup
) -> Float[Tensor, "B D N"]:
    """Return the modes that the parts before this rank's leave behind.

    Args:
        final: The modes after this rank's part, which began from nothing.
        log_poles: Of the filter.
        seqlen: Tokens of a part.
        context: The ranks.
    """
    everyone = gather(final, context)
    parts = torch.arange(context.size, device=final.device)
    tokens = ((context.rank - 1 - parts) * seqlen).clamp(min=0)
    fading = torch.exp(log_poles.to(final.dtype) * tokens.to(final.dtype)[:, None, None])
    # a product with zeros, and no selection: the first rank too has to take part in the backward pass
    seen = (parts < context.rank).to(final.dtype)[:, None, None]
    return torch.einsum("pdn,pbdn->bdn", fading * seen, everyone)


CONTEXT_MIXERS: dict[type[nn.Module], type[nn.Module]] = {
    HyenaOperator: ContextHyenaOperator,
    GatedHyena: ContextGatedHyena,
    RotaryAttention: ContextRotaryAttention,
}
"""For each mixer, what it becomes."""


def split_over_context(mixer: nn.Module, context: ContextGroup) -> None:
    """Turn a mixer into one that works on this rank's part of a sequence; its parameters stay as and where they are.

    Raises:
        ConfigError: if the channels cannot be dealt out to the ranks.
    """
    if isinstance(mixer, HyenaOperator) and mixer.d_model % context.size:
        raise ConfigError(
            f"the {mixer.d_model} channels of a Hyena operator cannot be dealt out to {context.size} ranks; take "
            "parallel.context that divides model.d_model."
        )
    # as torch.distributed.fsdp.fully_shard does: the module remains the one that others hold, hooks included
    mixer.__class__ = CONTEXT_MIXERS[type(mixer)]
    mixer.context = context  # type: ignore[assignment]


def _up_to_here(x: Float[Tensor, "B H L d"], context: ContextGroup) -> Float[Tensor, "B H M d"]:
    """Return the tokens of all parts up to and with this rank's."""
    everyone = gather(x, context).movedim(0, 2).flatten(2, 3)
    return everyone[:, :, : (context.rank + 1) * x.shape[2]]


def _aligned(n: int) -> int:
    return -(-n // ALIGNMENT) * ALIGNMENT
