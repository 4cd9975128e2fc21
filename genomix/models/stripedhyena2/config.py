"""What describes a StripedHyena 2 model: everything that changes its numbers, each quirk under a name of its own."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from genomix.models.fields import config_from_dict, require

Precision = Literal["bf16", "fp8"]
BLOCKS = {"S": "Hyena-SE", "M": "Hyena-MR", "L": "Hyena-LI", "A": "attention"}


@dataclass(frozen=True, kw_only=True)
class StripedHyena2Config:
    """Sizes and quirks of a StripedHyena 2 model; the defaults are those of the published Evo 2 weights.

    Attributes:
        pattern: One letter a block: ``S`` Hyena-SE, ``M`` Hyena-MR, ``L`` Hyena-LI, ``A`` attention.
        d_model: Width of the residual stream.
        n_heads: Attention heads, of ``d_model / n_heads`` channels each.
        d_inner: Hidden width of the gated MLP.
        context_len: Tokens that the weights were trained at; longer inputs run, and are out of distribution.
        vocab_size: Rows of the embedding.
        n_groups: Groups of neighbouring channels that share a filter in SE and MR.
        se_filter_len: Taps of Hyena-SE.
        mr_filter_len: Taps of Hyena-MR.
        n_modes: Exponentials of a Hyena-LI filter.
        featurizer_len: Taps of the short filter on the projections.
        se_tap_order: How SE taps are stored; see `genomix.operators.gated_hyena.TapOrder`.
        mr_tap_order: How MR taps are stored.
        se_has_skip: Whether SE has a skip gain ``D``; MR and LI always have.
        is_interleaved: Channel ``c`` of q, k, v stands at ``3c, 3c+1, 3c+2`` of the projections; else in thirds.
        li_rounds_before_skip: Hyena-LI rounds the filtered part to the activations' dtype before the skip term.
        rope_base: Base of the rotary frequencies where no checkpoint stores them.
        position_scale: Rotary positions are divided by this.
        rounds_inv_freq: Round the rotary frequencies to bf16, as the published weights were run; for new models.
        gelu_blocks: Blocks whose MLP has a GELU, from the first on; the others have none. The published models have
            one only in block 0, by an accident of their training code that the weights have learned. None is all.
        norm_eps: Of every RMS norm.
        norm_eps_outside_root: ``x / (rms(x) + eps)``; else ``x / sqrt(mean(x^2) + eps)``.
        has_qkv_bias: Bias in attention's input projection.
        has_out_bias: Bias in the output projection of every mixer.
        tie_embeddings: Logits are taken with the embedding matrix.
        weights_precision: What the weights need: ``fp8`` where they were trained with fp8 input projections and lose
            accuracy in bf16 (Evo 2 1B, 20B, 40B).
    """

    pattern: str
    d_model: int
    n_heads: int
    d_inner: int
    context_len: int
    vocab_size: int = 512
    n_groups: int = 256
    se_filter_len: int = 7
    mr_filter_len: int = 128
    n_modes: int = 16
    featurizer_len: int = 3
    se_tap_order: Literal["convolution", "cross_correlation"] = "cross_correlation"
    mr_tap_order: Literal["convolution", "cross_correlation"] = "convolution"
    se_has_skip: bool = False
    is_interleaved: bool = True
    li_rounds_before_skip: bool = True
    rope_base: float = 10_000.0
    position_scale: float = 1.0
    rounds_inv_freq: bool = True
    gelu_blocks: int | None = 1
    norm_eps: float = 1e-6
    norm_eps_outside_root: bool = True
    has_qkv_bias: bool = False
    has_out_bias: bool = True
    tie_embeddings: bool = True
    weights_precision: Precision = "bf16"

    def __post_init__(self) -> None:
        known = "".join(BLOCKS)
        require(
            bool(self.pattern) and not set(self.pattern) - set(BLOCKS), self, "pattern", f"letters of {known}"
        )
        for name in (
            "d_model",
            "n_heads",
            "d_inner",
            "context_len",
            "vocab_size",
            "n_groups",
            "se_filter_len",
            "mr_filter_len",
            "n_modes",
            "featurizer_len",
        ):
            require(getattr(self, name) >= 1, self, name, "at least 1")
        require(self.d_model % (2 * self.n_heads) == 0, self, "n_heads", "so that d_model / n_heads is even")
        require(self.d_model % self.n_groups == 0, self, "n_groups", "a divisor of d_model")
        for name in ("se_tap_order", "mr_tap_order"):
            require(
                getattr(self, name) in ("convolution", "cross_correlation"),
                self,
                name,
                "'convolution' or 'cross_correlation'",
            )
        for name in ("rope_base", "position_scale", "norm_eps"):
            require(getattr(self, name) > 0, self, name, "above 0")
        require(self.gelu_blocks is None or self.gelu_blocks >= 0, self, "gelu_blocks", "at least 0, or None")
        require(self.weights_precision in ("bf16", "fp8"), self, "weights_precision", "'bf16' or 'fp8'")

    @property
    def longest_input(self) -> int | None:
        """Tokens beyond which an input is refused: none; beyond ``context_len`` the model is out of distribution."""
        return None

    @property
    def n_layers(self) -> int:
        """Blocks."""
        return len(self.pattern)

    @property
    def n_parameters(self) -> int:
        """Trainable parameters; a tied matrix counts once."""
        d, biases = self.d_model, self.d_model * self.has_out_bias
        hyena = 3 * d * d + 3 * d * self.featurizer_len + d * d + biases
        each = {
            "S": hyena + self.n_groups * self.se_filter_len + d * self.se_has_skip,
            "M": hyena + self.n_groups * self.mr_filter_len + d,
            "L": hyena + 2 * d * self.n_modes + d,
            "A": 4 * d * d + 3 * d * self.has_qkv_bias + biases,
        }
        mixers = sum(each[letter] for letter in self.pattern)
        embeddings = self.vocab_size * d * (1 if self.tie_embeddings else 2)
        return embeddings + mixers + self.n_layers * (3 * d * self.d_inner + 2 * d) + d

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, as they stand in ``config.json``."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "StripedHyena2Config":
        """Return the config of these fields.

        Raises:
            ConfigError: if a field is unknown, missing or out of range, with the name that may have been meant.
        """
        return config_from_dict(cls, values)
