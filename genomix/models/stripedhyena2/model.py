"""StripedHyena 2: blocks of Hyena-SE, Hyena-MR, Hyena-LI and attention, each followed by a gated MLP.

``x = E[ids]``; in each block ``x += mixer(norm(x))``, ``x += mlp(norm(x))``; a last norm; logits by the embedding.
Source: Ku et al. 2025, arXiv:2503.01868; Brixi et al. 2025 (Evo 2).
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from genomix.models.stripedhyena2.config import StripedHyena2Config
from genomix.operators.attention import RotaryAttention
from genomix.operators.gated_hyena import WHOLE_VECTORS, ExplicitFilter, GatedHyena, ModalFilter
from genomix.operators.parameter_rule import ParameterRule
from genomix.operators.recompute import Recompute, recomputed, settle
from genomix.operators.state import MixerState
from genomix_kernels.gated_product import Activation, gated_product
from genomix_kernels.rms_norm import add_rms_norm, rms_norm
from genomix_kernels.skinny_linear import gated_pair, skinny_linear

ModelState = list[MixerState]
"""The state of each block's mixer, in order."""

SAVED_BYTES = 40
"""What a block keeps for its backward pass, for each feature of each token under autocast (measured: 36 on average over
the 25 blocks of the 1B shape, 76.4 GB for 2^15 tokens less weights and optimizer)."""


class StripedHyena2(nn.Module):
    """Language model: token ids to logits of the next token."""

    def __init__(self, config: StripedHyena2Config) -> None:
        super().__init__()
        self.config = config
        self.recompute: Recompute = "auto"
        self.embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.blocks = nn.ModuleList(Block(config, index) for index in range(config.n_layers))
        self.norm = RMSNorm(config)
        if not config.tie_embeddings:
            self.unembedding = nn.Linear(config.d_model, config.vocab_size, bias=False)
        self._initialize()

    def forward(self, ids: Int[Tensor, "B L"]) -> Float[Tensor, "B L V"]:
        """Return the logits of the token after each position."""
        return self.logits(self.hidden_states(ids))

    def hidden_states(self, ids: Int[Tensor, "B L"]) -> Float[Tensor, "B L D"]:
        """Return the embedding of each position, after the last norm."""
        return self.run(self.embed(ids))

    def embed(self, ids: Int[Tensor, "B L"]) -> Float[Tensor, "B L D"]:
        """Return the residual stream before the first block."""
        x: Tensor = self.embedding(ids.long())
        return x

    def run(self, x: Float[Tensor, "B L D"]) -> Float[Tensor, "B L D"]:
        """Return the hidden states after the last norm, of embedded tokens or whatever stands in their place."""
        policies = settle(self.recompute, x, len(self.blocks), SAVED_BYTES)
        for block, policy in zip(self.blocks, policies, strict=True):
            x = block(x, policy)
        normed: Tensor = self.norm(x)
        return normed

    def parameter_rules(self) -> dict[str, ParameterRule]:
        """Return how the optimizer treats parameters: no weight decay on vectors (biases, norms, skip gains) and on
        the poles and residues of Hyena-LI, as Evo 2 was trained.
        """
        exempt = ("log_poles", "residues")
        return {
            name: ParameterRule(weight_decay=0.0)
            for name, parameter in self.named_parameters()
            if parameter.ndim < 2 or name.endswith(exempt)
        }

    def logits(self, hidden: Float[Tensor, "*shape D"]) -> Float[Tensor, "*shape V"]:
        """Return the logits for any slice of `hidden_states`, so that those of long inputs need not all exist."""
        matrix = self.embedding if self.config.tie_embeddings else self.unembedding
        return F.linear(hidden, matrix.weight)

    def init_state(self, batch_size: int, *, max_len: int | None = None) -> ModelState:
        """Return the state before the first token.

        Args:
            batch_size: Sequences.
            max_len: Tokens that will come, if known; attention then reserves its cache at once.
        """
        weight = self.embedding.weight
        return [
            block.mixer.init_state(batch_size, device=weight.device, dtype=weight.dtype, max_len=max_len)
            for block in self._blocks()
        ]

    def extend(
        self, ids: Int[Tensor, "B L"], state: ModelState, keep: Bool[Tensor, "B L"] | None = None
    ) -> tuple[Float[Tensor, "B L D"], ModelState]:
        """Return the hidden states at L more tokens and the state after them.

        Args:
            ids: The new tokens, any number of at least one.
            state: Of `init_state` or an earlier `extend`.
            keep: False at padding before the first token of a sequence; its outputs mean nothing.
        """
        stream, after = ResidualStream(self.embedding(ids.long())), []
        for block, before in zip(self._blocks(), state, strict=True):
            stream, remembered = block.extend(stream, before, keep)
            after.append(remembered)
        return stream.normed(self.norm)[0], after

    def finish(
        self, ids: Int[Tensor, "N L"], state: ModelState, rows: Int[Tensor, " N"] | None = None
    ) -> Float[Tensor, "N L D"]:
        """Return the hidden states at L more tokens that nothing follows, so that no state after them is made.

        Args:
            ids: The new tokens, any number of at least one.
            state: Of `init_state` or `extend`; left unchanged.
            rows: The sequence of the state that each goes on from, which many may; None: each from its own.
        """
        seqlen = ids.shape[1]
        # any token may follow, as nothing is made of it: one length for all mixers, where each would have to pad
        ids = F.pad(ids, (0, -seqlen % WHOLE_VECTORS.get(ids.device.type, 1)))
        stream = ResidualStream(self.embedding(ids.long()))
        for block, before in zip(self._blocks(), state, strict=True):
            stream = block.finish(stream, before, rows)
        return stream.normed(self.norm)[0][:, :seqlen]

    def step(self, ids: Int[Tensor, "B 1"], state: ModelState) -> Float[Tensor, "B 1 D"]:
        """Return the hidden state of one more token; the state, which must have room, is changed in place."""
        x = self.embedding(ids.long())
        for block, remembered in zip(self._blocks(), state, strict=True):
            x = block.step(x, remembered)
        normed: Tensor = self.norm(x)
        return normed

    def _blocks(self) -> "list[Block]":
        return [block for block in self.blocks if isinstance(block, Block)]

    def _initialize(self) -> None:
        # small init for what reads the residual stream, a smaller one for what writes to it (Nguyen & Salazar 2019;
        # Wang & Komatsuzaki 2021), as the published training code has it
        d_model = self.config.d_model
        reading = (2 / (5 * d_model)) ** 0.5
        writing = 2 / (self.config.n_layers * d_model**0.5)
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=writing if name.endswith(("out_proj", "l3")) else reading)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)


class Block(nn.Module):
    """Pre-norm block on a residual stream: a mixer, then a gated MLP."""

    def __init__(self, config: StripedHyena2Config, index: int) -> None:
        super().__init__()
        self.pre_norm = RMSNorm(config)
        self.mixer: GatedHyena | RotaryAttention = _mixer(config, config.pattern[index])
        self.post_norm = RMSNorm(config)
        has_gelu = config.gelu_blocks is None or index < config.gelu_blocks
        self.mlp = GatedMLP(config.d_model, config.d_inner, has_gelu=has_gelu)

    def forward(self, x: Float[Tensor, "B L D"], recompute: Recompute = "none") -> Float[Tensor, "B L D"]:
        """Return the residual stream after the block.

        Args:
            x: The residual stream before it.
            recompute: What is computed again in the backward pass.
        """
        if recompute == "block":
            return recomputed(self.forward, x, has_dropout=False)
        if recompute == "mixer":
            return self._mlp(x, recomputed(self._mixed, x, has_dropout=False))
        mixed = self._mixed(x)
        return (
            recomputed(self._mlp, x, mixed, has_dropout=False) if recompute == "mlp" else self._mlp(x, mixed)
        )

    def extend(
        self, stream: "ResidualStream", state: MixerState, keep: Bool[Tensor, "B L"] | None
    ) -> "tuple[ResidualStream, MixerState]":
        """Return the residual stream at L more tokens, and the mixer's state after them."""
        normed, x = stream.normed(self.pre_norm, for_products=True)
        mixed, after = self.mixer.extend(normed, state, keep)
        return self._carried(x, mixed), after

    def finish(
        self, stream: "ResidualStream", state: MixerState, rows: Int[Tensor, " N"] | None
    ) -> "ResidualStream":
        """Return the residual stream at L more tokens that nothing follows."""
        normed, x = stream.normed(self.pre_norm, for_products=True)
        return self._carried(x, self.mixer.finish(normed, state, rows))

    def step(self, x: Float[Tensor, "B 1 D"], state: MixerState) -> Float[Tensor, "B 1 D"]:
        """Return the residual stream at one more token; the mixer's state is changed in place."""
        normed, x = self.post_norm(x, self.mixer.step(self.pre_norm(x), state))
        return self.mlp.step(normed, x)

    def _mixed(self, x: Float[Tensor, "B L D"]) -> Float[Tensor, "B L D"]:
        mixed: Tensor = self.mixer(self.pre_norm(x, for_products=True))
        return mixed

    def _mlp(self, x: Float[Tensor, "B L D"], mixed: Float[Tensor, "B L D"]) -> Float[Tensor, "B L D"]:
        return self._carried(x, mixed).total

    def _carried(self, x: Float[Tensor, "B L D"], mixed: Float[Tensor, "B L D"]) -> "ResidualStream":
        normed, x = self.post_norm(x, mixed, for_products=True)
        return ResidualStream(x, self.mlp(normed))


class ResidualStream(NamedTuple):
    """``x + rest``, which the norm of the next block adds up: that spares a pass over memory."""

    x: Float[Tensor, "B L D"]
    rest: Float[Tensor, "B L D"] | None = None

    @property
    def total(self) -> Float[Tensor, "B L D"]:
        """The stream itself."""
        return self.x if self.rest is None else self.x + self.rest

    def normed(
        self, norm: "RMSNorm", *, for_products: bool = False
    ) -> tuple[Float[Tensor, "B L D"], Float[Tensor, "B L D"]]:
        """Return the normed stream, and the stream."""
        if self.rest is None:
            return norm(self.x, for_products=for_products), self.x
        normed, total = norm(self.x, self.rest, for_products=for_products)
        return normed, total


class RMSNorm(nn.Module):
    """``scale x / (rms(x) + eps)``, or with eps inside the root."""

    def __init__(self, config: StripedHyena2Config) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(config.d_model))
        self.eps = config.norm_eps
        self.eps_outside_root = config.norm_eps_outside_root

    def forward(
        self,
        x: Float[Tensor, "*shape D"],
        rest: Float[Tensor, "*shape D"] | None = None,
        *,
        for_products: bool = False,
    ) -> Float[Tensor, "*shape D"] | tuple[Float[Tensor, "*shape D"], Float[Tensor, "*shape D"]]:
        """Return the normed features, computed in fp32; with ``rest`` those of the sum, and the sum.

        Args:
            x: Features.
            rest: What is added to them first.
            for_products: Only matrix products read them: under autocast they are rounded to its dtype at once, as each
                product would by itself. Otherwise they have the dtype of ``x``.
        """
        dtype = _dtype_of_products(x) if for_products else None
        eps, outside = self.eps, self.eps_outside_root
        if rest is None:
            return rms_norm(x, self.scale, eps=eps, eps_outside_root=outside, out_dtype=dtype)
        return add_rms_norm(x, rest, self.scale, eps=eps, eps_outside_root=outside, out_dtype=dtype)


def _dtype_of_products(x: Tensor) -> torch.dtype | None:
    """Return the dtype that autocast takes matrix products in; None without it, and for fp64, which it leaves alone."""
    kind = x.device.type
    if x.dtype is torch.float64 or not torch.is_autocast_enabled(kind):
        return None
    return torch.get_autocast_dtype(kind)


class GatedMLP(nn.Module):
    """``l3(act(l1(x)) * l2(x))``, with the exact GELU or none."""

    def __init__(self, d_model: int, d_inner: int, *, has_gelu: bool) -> None:
        super().__init__()
        self.has_gelu = has_gelu
        self.l1 = nn.Linear(d_model, d_inner, bias=False)
        self.l2 = nn.Linear(d_model, d_inner, bias=False)
        self.l3 = nn.Linear(d_inner, d_model, bias=False)

    def forward(self, x: Float[Tensor, "*shape D"]) -> Float[Tensor, "*shape D"]:
        """Return the transformed features of each position."""
        activation: Activation = "gelu" if self.has_gelu else "identity"
        y: Tensor = self.l3(gated_product(self.l1(x), self.l2(x), activation=activation))
        return y

    def step(self, x: Float[Tensor, "B 1 D"], residual: Float[Tensor, "B 1 D"]) -> Float[Tensor, "B 1 D"]:
        """Return ``residual`` and the transformed features of one token, in two kernels that read each weight once."""
        hidden = gated_pair(x[:, 0], self.l1.weight, self.l2.weight, "gelu" if self.has_gelu else "identity")
        return skinny_linear(hidden, self.l3.weight, residual=residual[:, 0])[:, None]


def _mixer(config: StripedHyena2Config, letter: str) -> GatedHyena | RotaryAttention:
    d_model = config.d_model
    if letter == "A":
        attention = RotaryAttention(
            d_model,
            config.n_heads,
            rope_base=config.rope_base,
            position_scale=config.position_scale,
            has_qkv_bias=config.has_qkv_bias,
            has_out_bias=config.has_out_bias,
        )
        if config.rounds_inv_freq:
            attention.inv_freq = attention.inv_freq.bfloat16().float()
        return attention
    inner: ExplicitFilter | ModalFilter
    if letter == "S":
        inner = ExplicitFilter(
            d_model,
            config.n_groups,
            config.se_filter_len,
            tap_order=config.se_tap_order,
            has_skip=config.se_has_skip,
        )
    elif letter == "M":
        inner = ExplicitFilter(
            d_model, config.n_groups, config.mr_filter_len, tap_order=config.mr_tap_order, has_skip=True
        )
    else:
        inner = ModalFilter(d_model, config.n_modes, rounds_before_skip=config.li_rounds_before_skip)
    return GatedHyena(
        d_model,
        inner,
        featurizer_len=config.featurizer_len,
        is_interleaved=config.is_interleaved,
        has_out_bias=config.has_out_bias,
        has_fp8_scales=config.weights_precision == "fp8",
    )
