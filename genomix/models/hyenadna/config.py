"""What describes a HyenaDNA model: everything that changes its numbers, and nothing that only changes its speed."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from genomix.models.fields import config_from_dict, is_finite, is_integer, require

ChannelLayout = Literal["repo", "standalone"]


@dataclass(frozen=True, kw_only=True)
class HyenaDNAConfig:
    """Sizes and constants of a HyenaDNA model; the defaults are those of the published weights.

    Attributes:
        d_model: Width of the residual stream.
        n_layers: Blocks, each one Hyena operator and one MLP.
        d_inner: Hidden width of the MLP; published models have ``4 * d_model``.
        l_max: Longest input in tokens. It also sets the time scale of the filters, so it is part of the weights.
        filter_len: Taps of each long filter, from the current token back; None for all ``l_max``. With fewer (partial
            convolutions) a token sees ``filter_len - 1`` tokens back in each layer.
        extended_len: Longest input in tokens where it is beyond ``l_max``; None where it is not. The filters keep their
            taps and their time scale, so a token sees as far back as before.
        vocab_size: Letters and special tokens; the embedding has `padded_vocab_size` rows.
        pad_vocab_size_multiple: The embedding's rows are rounded up to a multiple of this.
        order: Order of the Hyena operator: ``order - 1`` long convolutions.
        emb_dim: Positional features of a filter; odd, at least 3.
        filter_order: Hidden width of the filter's MLP.
        n_inner_mlps: Hidden layers of the filter's MLP after the first.
        w: Initial frequency of the filter's sine activations.
        short_filter_order: Taps of the short causal filter.
        shift: Added to the filters' exponential window. 0.05 for the published weights, as all published inference
            code has it; 0.0 in the official pretraining code. No checkpoint stores it.
        modulate: Multiply the filters by the exponential window.
        normalized: Divide the filters by their L1 norm over channels.
        fast_decay_pct, slow_decay_pct: Part of ``l_max`` in which the fastest and slowest channel's window decays
            to ``decay_target``.
        decay_target: See above.
        linear_mixer: The filter is a linear map of the positional features.
        lr_pos_emb: Learning rate of the positional features; 0.0 makes them constants, which no checkpoint holds.
        embed_dropout: Dropout after the embedding.
        resid_dropout: Dropout after every operator and MLP.
        layer_norm_eps: Of every layer norm.
        tie_embeddings: Logits are taken with the embedding matrix; False gives a matrix of their own.
        residual_in_fp32: Keep the residual stream in at least fp32.
        rescale_init: Divide the initial deviation of weights that write to the residual stream by
            ``sqrt(2 * n_layers)``.
        initializer_range: Standard deviation of initial weights.
        channel_layout: How the filter's outputs are split for ``order > 2``: the two published codes differ.
            ``"repo"`` has the convolution as the fast axis, ``"standalone"`` (and Hugging Face) the channel.
    """

    d_model: int
    n_layers: int
    d_inner: int
    l_max: int
    filter_len: int | None = None
    extended_len: int | None = None
    vocab_size: int = 12
    pad_vocab_size_multiple: int = 8
    order: int = 2
    emb_dim: int = 5
    filter_order: int = 64
    n_inner_mlps: int = 2
    w: float = 10.0
    short_filter_order: int = 3
    shift: float = 0.05
    modulate: bool = True
    normalized: bool = False
    fast_decay_pct: float = 0.3
    slow_decay_pct: float = 1.5
    decay_target: float = 1e-2
    linear_mixer: bool = False
    lr_pos_emb: float = 0.0
    embed_dropout: float = 0.1
    resid_dropout: float = 0.0
    layer_norm_eps: float = 1e-5
    tie_embeddings: bool = True
    residual_in_fp32: bool = True
    rescale_init: bool = True
    initializer_range: float = 0.02
    channel_layout: ChannelLayout = "repo"

    def __post_init__(self) -> None:
        positive = (
            "d_model",
            "n_layers",
            "d_inner",
            "l_max",
            "vocab_size",
            "pad_vocab_size_multiple",
            "filter_order",
            "short_filter_order",
        )
        for name in positive:
            require(
                is_integer(getattr(self, name)) and getattr(self, name) >= 1, self, name, "an integer >= 1"
            )
        self._check_reach()
        for name in (field.name for field in fields(self) if field.type in (float, "float")):
            require(is_finite(getattr(self, name)), self, name, "a finite number")
        require(is_integer(self.order) and self.order >= 2, self, "order", "an integer >= 2")
        require(
            is_integer(self.emb_dim) and self.emb_dim >= 3 and self.emb_dim % 2 == 1,
            self,
            "emb_dim",
            "odd and at least 3",
        )
        require(is_integer(self.n_inner_mlps) and self.n_inner_mlps >= 0, self, "n_inner_mlps", "at least 0")
        require(0 < self.decay_target < 1, self, "decay_target", "between 0 and 1")
        for name in ("fast_decay_pct", "slow_decay_pct", "layer_norm_eps"):
            require(getattr(self, name) > 0, self, name, "above 0")
        for name in ("embed_dropout", "resid_dropout"):
            require(0 <= getattr(self, name) < 1, self, name, "at least 0 and below 1")
        for name in ("lr_pos_emb", "initializer_range"):
            require(getattr(self, name) >= 0, self, name, "at least 0")
        layouts = ("repo", "standalone")
        require(self.channel_layout in layouts, self, "channel_layout", "'repo' or 'standalone'")

    def _check_reach(self) -> None:
        taps, longest = self.filter_len, self.extended_len
        is_possible = taps is None or (is_integer(taps) and 1 <= taps <= self.l_max)
        require(is_possible, self, "filter_len", f"None, or an integer from 1 to l_max = {self.l_max}")
        is_longer = longest is None or (is_integer(longest) and longest > self.l_max)
        require(is_longer, self, "extended_len", f"None, or an integer above l_max = {self.l_max}")

    @property
    def context_len(self) -> int:
        """Tokens of context, ``l_max``; beyond, where ``extended_len`` allows it, results are extrapolations."""
        return self.l_max

    @property
    def longest_input(self) -> int:
        """Tokens beyond which an input is refused: ``l_max``, where the filters end, or ``extended_len``."""
        return self.extended_len or self.l_max

    @property
    def padded_vocab_size(self) -> int:
        """Rows of the embedding: ``vocab_size`` rounded up to a multiple of ``pad_vocab_size_multiple``."""
        multiple = self.pad_vocab_size_multiple
        return -(-self.vocab_size // multiple) * multiple

    @property
    def n_parameters(self) -> int:
        """Trainable parameters of the language model; a tied matrix and a shared frequency count once."""
        d, f, filters = self.d_model, self.filter_order, self.d_model * (self.order - 1)
        groups = (self.order + 1) * d
        if self.linear_mixer:
            filter_mlp = self.emb_dim * filters
        else:
            filter_mlp = (self.emb_dim + 1) * f + f + self.n_inner_mlps * (f + 1) * f + f * filters
        positions = self.l_max * self.emb_dim if self.lr_pos_emb else 0
        mixer = (d + 1) * groups + (self.short_filter_order + 1) * groups + (d + 1) * d
        mlp = (d + 1) * self.d_inner + (self.d_inner + 1) * d
        block = mixer + filter_mlp + positions + filters + mlp + 4 * d
        embeddings = self.padded_vocab_size * d * (1 if self.tie_embeddings else 2)
        return embeddings + self.n_layers * block + 2 * d

    def to_dict(self) -> dict[str, Any]:
        """Return every field, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "HyenaDNAConfig":
        """Return the config that `to_dict` described.

        Raises:
            ConfigError: if a key is unknown (with the key that may have been meant), missing, or has a bad value.
        """
        return config_from_dict(cls, values)
