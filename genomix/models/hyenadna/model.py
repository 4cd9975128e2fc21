"""HyenaDNA: a causal language model of DNA at single-nucleotide resolution.

``x = E[ids]``, then in each block ``x += mixer(norm1(x))``, ``x += mlp(norm2(x))``, then a last norm and logits by the
embedding matrix. Parameter names are those of the official code. Source: Nguyen et al. 2023, arXiv:2306.15794.
"""

import math
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from genomix.models.hyenadna.config import HyenaDNAConfig
from genomix.operators.hyena import HyenaOperator
from genomix.operators.recompute import Recompute, recomputed, settle
from genomix.operators.state import MixerState
from genomix_data.errors import SequenceTooLongError
from genomix_kernels.channel_major import from_channels
from genomix_kernels.gelu_mlp import gelu_mlp
from genomix_kernels.layer_norm import add_layer_norm, layer_norm

SAVED_BYTES = 50
"""What a block keeps for its backward pass, for each feature of each token under autocast (measured: 7.0 GB for 2^19
tokens, 128 features and 2 blocks)."""


class HyenaDNA(nn.Module):
    """Language model: token ids to logits of the next token."""

    def __init__(self, config: HyenaDNAConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = HyenaDNABackbone(config)
        if not config.tie_embeddings:
            self.lm_head = nn.Linear(config.d_model, config.padded_vocab_size, bias=False)
            nn.init.normal_(self.lm_head.weight, std=config.initializer_range)

    def forward(self, ids: Int[Tensor, "B L"]) -> Float[Tensor, "B L V"]:
        """Return the logits of the token after each position, over all `padded_vocab_size` rows.

        Raises:
            SequenceTooLongError: if there are more than ``l_max`` tokens.
        """
        return self.logits(self.hidden_states(ids))

    def hidden_states(self, ids: Int[Tensor, "B L"]) -> Float[Tensor, "B L D"]:
        """Return the embedding of each position, after the last norm."""
        hidden: Tensor = self.backbone(ids)
        return hidden

    @property
    def recompute(self) -> Recompute:
        """What the blocks compute again in the backward pass."""
        return self.backbone.recompute

    @recompute.setter
    def recompute(self, policy: Recompute) -> None:
        self.backbone.recompute = policy

    def logits(self, hidden: Float[Tensor, "*shape D"]) -> Float[Tensor, "*shape V"]:
        """Return the logits for any slice of `hidden_states`, so that those of long inputs need not all exist."""
        if self.config.tie_embeddings:
            return F.linear(hidden, self.backbone.embeddings.word_embeddings.weight)
        return F.linear(hidden, self.lm_head.weight)

    def init_state(self, batch_size: int, *, max_len: int | None = None) -> list[MixerState]:
        """Return the state before the first token.

        Args:
            batch_size: Sequences.
            max_len: Tokens that will come, if known; their room is then reserved at once.
        """
        weight = self.backbone.embeddings.word_embeddings.weight
        return [
            layer.mixer.init_state(batch_size, device=weight.device, dtype=weight.dtype, max_len=max_len)
            for layer in self.backbone.blocks()
        ]

    def extend(
        self, ids: Int[Tensor, "B L"], state: list[MixerState], keep: Bool[Tensor, "B L"] | None = None
    ) -> tuple[Float[Tensor, "B L D"], list[MixerState]]:
        """Return the hidden states at L more tokens, and the state after them.

        Args:
            ids: The new tokens, any number of at least one.
            state: Of `init_state` or an earlier `extend`, one a layer.
            keep: False at padding before the first token of a sequence; its outputs mean nothing.

        Raises:
            SequenceTooLongError: if old and new tokens together exceed ``l_max``.
        """
        x = self.backbone.embed(ids)
        after = []
        for layer, before in zip(self.backbone.blocks(), state, strict=True):
            x, remembered = layer.extend(x, before, keep)
            after.append(remembered)
        return self.backbone.normalize(x), after

    def trace(self, ids: Int[Tensor, "B L"]) -> tuple[Float[Tensor, "B L D"], list[MixerState]]:
        """Return the hidden states of all positions, and each mixer's trace for `branch`.

        Raises:
            SequenceTooLongError: if there are more than ``l_max`` tokens.
        """
        x = self.backbone.embed(ids)
        traces = []
        for layer in self.backbone.blocks():
            x, trace = layer.trace(x)
            traces.append(trace)
        return self.backbone.normalize(x), traces

    def branch(
        self, ids: Int[Tensor, "N L"], trace: list[MixerState], rows: Int[Tensor, " N"], start: int
    ) -> Float[Tensor, "N L D"]:
        """Return the hidden states at L tokens that follow the first ``start`` tokens of traced sequences.

        Args:
            ids: Tokens from position ``start`` on; not beyond the end of the traced sequences.
            trace: Of `trace`, one a layer; left unchanged.
            rows: Which traced sequence each branch leaves.
            start: Tokens that a branch shares with it.
        """
        x = self.backbone.embed(ids)
        for layer, known in zip(self.backbone.blocks(), trace, strict=True):
            x = layer.branch(x, known, rows, start)
        return self.backbone.normalize(x)


class HyenaDNABackbone(nn.Module):
    """Embedding, blocks and last norm: token ids to hidden states."""

    def __init__(self, config: HyenaDNAConfig) -> None:
        super().__init__()
        self.config = config
        self.recompute: Recompute = "auto"
        self.embeddings = Embeddings(config.padded_vocab_size, config.d_model)
        self.layers = nn.ModuleList(HyenaDNABlock(config) for _ in range(config.n_layers))
        self.ln_f = nn.LayerNorm(config.d_model, eps=config.layer_norm_eps)
        self.apply(self._initialize)
        if config.rescale_init:
            deviation = config.initializer_range / math.sqrt(2 * config.n_layers)
            for name, parameter in self.named_parameters():
                if name.endswith(("out_proj.weight", "fc2.weight")):
                    nn.init.normal_(parameter, std=deviation)

    def forward(self, ids: Int[Tensor, "B L"]) -> Float[Tensor, "B L D"]:
        """Return the hidden states after the last norm, in its dtype.

        Raises:
            SequenceTooLongError: if there are more than ``l_max`` tokens.
        """
        if ids.ndim != 2 or ids.shape[1] == 0:
            raise ValueError(f"ids have shape {tuple(ids.shape)}; expected (batch, length >= 1).")
        self._check_length(ids.shape[1])
        return self.run(self.embed(ids))

    def run(self, x: Float[Tensor, "B L D"]) -> Float[Tensor, "B L D"]:
        """Return the hidden states after the last norm, of embedded tokens or whatever stands in their place.

        Raises:
            SequenceTooLongError: if there are more than ``l_max`` positions.
        """
        self._check_length(x.shape[1])
        policies = settle(self.recompute, x, len(self.layers), SAVED_BYTES)
        if not (torch.is_grad_enabled() and x.is_cuda):
            for layer, policy in zip(self.layers, policies, strict=True):
                x = layer(x, policy)
            return self.normalize(x)
        update: Update | None = None
        for layer, policy in zip(self.layers, policies, strict=True):
            x, update = layer(x, policy, update, is_deferred=True)
        return self.normalize(x, update)

    def _check_length(self, seqlen: int) -> None:
        longest = self.config.longest_input
        if seqlen > longest:
            limit = "l_max" if self.config.extended_len is None else "extended_len"
            raise SequenceTooLongError(
                f"the input has {seqlen} tokens but this model was built for at most {longest} "
                f"({limit}). Take shorter windows, or a model of longer context (see `genomix models`)."
            )

    def blocks(self) -> "list[HyenaDNABlock]":
        """Return the blocks in order."""
        return [layer for layer in self.layers if isinstance(layer, HyenaDNABlock)]

    def embed(self, ids: Int[Tensor, "B L"]) -> Float[Tensor, "B L D"]:
        """Return the residual stream before the first block."""
        x: Tensor = self.embeddings(ids)
        if self.config.residual_in_fp32:
            x = x.to(torch.promote_types(x.dtype, torch.float32))
        return F.dropout(x, self.config.embed_dropout, self.training)

    def normalize(self, x: Float[Tensor, "B L D"], update: "Update | None" = None) -> Float[Tensor, "B L D"]:
        """Return the hidden states of a residual stream after the last block, whose update may still be to come."""
        norm = self.ln_f
        if update is None:
            normed: Tensor = norm(x.to(norm.weight.dtype))
            return normed
        weights = norm.weight, norm.bias
        hidden, _ = add_layer_norm(
            update.branch, x, *weights, x_bias=update.bias, eps=norm.eps, out_dtype=norm.weight.dtype
        )
        return hidden

    def _initialize(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=self.config.initializer_range)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)


class HyenaDNABlock(nn.Module):
    """Pre-norm block on a residual stream ``x``: a Hyena operator, then an MLP."""

    def __init__(self, config: HyenaDNAConfig) -> None:
        super().__init__()
        self.mixer = HyenaOperator(
            config.d_model,
            config.l_max,
            config.order,
            short_filter_order=config.short_filter_order,
            channel_layout=config.channel_layout,
            emb_dim=config.emb_dim,
            filter_order=config.filter_order,
            n_inner_mlps=config.n_inner_mlps,
            w=config.w,
            shift=config.shift,
            modulate=config.modulate,
            normalized=config.normalized,
            fast_decay_pct=config.fast_decay_pct,
            slow_decay_pct=config.slow_decay_pct,
            decay_target=config.decay_target,
            linear_mixer=config.linear_mixer,
            lr_pos_emb=config.lr_pos_emb,
            filter_len=config.filter_len,
            extended_len=config.extended_len,
        )
        self.norm1 = LayerNorm(config.d_model, eps=config.layer_norm_eps)
        self.mlp = MLP(config.d_model, config.d_inner)
        self.norm2 = LayerNorm(config.d_model, eps=config.layer_norm_eps)
        self.dropout = config.resid_dropout

    def forward(
        self,
        x: Float[Tensor, "B L D"],
        recompute: Recompute = "none",
        update: "Update | None" = None,
        *,
        is_deferred: bool = False,
    ) -> "Float[Tensor, 'B L D'] | tuple[Float[Tensor, 'B L D'], Update]":
        """Return the residual stream after the block.

        Args:
            x: The residual stream before it.
            recompute: What is computed again in the backward pass.
            update: What the block before has left to add to it.
            is_deferred: Leave the last addition to the next norm, which adds on the way: return the stream without
                it, and the `Update`.
        """
        run = partial(self._run, is_deferred=is_deferred)
        if recompute == "block":
            return recomputed(run, x, update, has_dropout=self.dropout > 0)
        return run(x, update, recompute)

    def _run(
        self, x: Tensor, update: "Update | None", recompute: Recompute = "none", *, is_deferred: bool
    ) -> "Tensor | tuple[Tensor, Update]":
        def mix(x: Tensor, update: "Update | None") -> "tuple[Tensor, Update]":
            if update is None:
                normed = self.norm1(x)
            else:
                normed, x = self.norm1(x, *update)
            if is_deferred:
                weights = self.mixer.out_proj.weight, self.mixer.out_proj.bias
                return x, self._update(from_channels(self.mixer.mix(normed), weights[0]), weights[1])
            return x, self._update(self.mixer(normed))

        def transform(normed: Tensor) -> "Update":
            if is_deferred:
                return self._update(self.mlp.unbiased(normed), self.mlp.fc2.bias)
            return self._update(self.mlp(normed))

        has_dropout = self.dropout > 0
        again = partial(recomputed, has_dropout=has_dropout)
        x, mixed = again(mix, x, update) if recompute == "mixer" else mix(x, update)
        normed, x = self.norm2(x, *mixed)
        change = again(transform, normed) if recompute == "mlp" else transform(normed)
        return (x, change) if is_deferred else x + change.branch

    def _update(self, branch: Tensor, bias: Tensor | None = None) -> "Update":
        if self.dropout == 0 or not self.training:
            return Update(branch, bias)
        return Update(F.dropout(branch if bias is None else branch + bias.to(branch.dtype), self.dropout))

    def extend(
        self, x: Float[Tensor, "B L D"], state: MixerState, keep: Bool[Tensor, "B L"] | None
    ) -> tuple[Float[Tensor, "B L D"], MixerState]:
        """Return the residual stream at L more tokens, and the mixer's state after them."""
        mixed, after = self.mixer.extend(self.norm1(x), state, keep)
        return self._mlp(x + F.dropout(mixed, self.dropout, self.training)), after

    def trace(self, x: Float[Tensor, "B L D"]) -> tuple[Float[Tensor, "B L D"], MixerState]:
        """Return the residual stream after the block, and the mixer's trace."""
        mixed, trace = self.mixer.trace(self.norm1(x))
        return self._mlp(x + F.dropout(mixed, self.dropout, self.training)), trace

    def branch(
        self, x: Float[Tensor, "N L D"], trace: MixerState, rows: Int[Tensor, " N"], start: int
    ) -> Float[Tensor, "N L D"]:
        """Return the residual stream at L tokens that follow the first ``start`` of traced sequences."""
        mixed = self.mixer.branch(self.norm1(x), trace, rows, start)
        return self._mlp(x + F.dropout(mixed, self.dropout, self.training))

    def _mlp(self, x: Float[Tensor, "B L D"]) -> Float[Tensor, "B L D"]:
        return x + F.dropout(self.mlp(self.norm2(x)), self.dropout, self.training)


class LayerNorm(nn.LayerNorm):
    """Layer norm before a part of a block, in the dtype that the part's first matrix product reads."""

    def forward(  # type: ignore[override]
        self,
        x: Float[Tensor, "*shape D"],
        branch: Float[Tensor, "*shape D"] | None = None,
        bias: Float[Tensor, " D"] | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Return the normed features; of ``x + branch + bias``, if there is a branch, and that sum."""
        kind = x.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else self.weight.dtype
        if branch is None:
            return layer_norm(x, self.weight, self.bias, eps=self.eps, out_dtype=dtype)
        weights = self.weight, self.bias
        return add_layer_norm(branch, x, *weights, x_bias=bias, eps=self.eps, out_dtype=dtype)


class Update(NamedTuple):
    """What is still to be added to a residual stream: a branch, and the bias of the linear map that made it."""

    branch: Tensor
    bias: Tensor | None = None


class MLP(nn.Module):
    """``fc2(gelu(fc1(x)))`` with the tanh form of GELU."""

    def __init__(self, d_model: int, d_inner: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(d_model, d_inner)
        self.fc2 = nn.Linear(d_inner, d_model)

    def forward(self, x: Float[Tensor, "*shape D"]) -> Float[Tensor, "*shape D"]:
        """Return the transformed features of each position."""
        y: Tensor = self.fc2(F.gelu(self.fc1(x), approximate="tanh"))
        return y

    def unbiased(self, x: Float[Tensor, "*shape D"]) -> Float[Tensor, "*shape D"]:
        """Return the same without the bias of ``fc2``; keeps less for the backward pass."""
        return gelu_mlp(x, self.fc1.weight, self.fc1.bias, self.fc2.weight)


class Embeddings(nn.Module):
    """Look-up of token ids; there is no position embedding."""

    def __init__(self, n_rows: int, d_model: int) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(n_rows, d_model)

    def forward(self, ids: Int[Tensor, "B L"]) -> Float[Tensor, "B L D"]:
        """Return one row for each id; ids of any integer type."""
        rows: Tensor = self.word_embeddings(ids.long())
        return rows
