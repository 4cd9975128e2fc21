"""How the next token is drawn from logits: greedy, temperature, top-k, nucleus."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from genomix_data.errors import ConfigError, GenomixError


class NonFiniteLogitsError(GenomixError):
    """The model gave logits that are not numbers; nothing drawn from them would mean anything."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How tokens are drawn.

    Attributes:
        temperature: Logits are divided by it; 0 takes the likeliest token.
        top_k: Draw from this many likeliest tokens; 0 from all, 1 takes the likeliest.
        top_p: Of those, keep the likeliest whose probabilities add up to this; 1 keeps all.
    """

    temperature: float = 1.0
    top_k: int = 4
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if not self.temperature >= 0:
            raise ConfigError(f"temperature is {self.temperature}; it must not be negative (0 is greedy).")
        if self.top_k < 0:
            raise ConfigError(f"top_k is {self.top_k}; it must not be negative (0 draws from all tokens).")
        if not 0 <= self.top_p <= 1:
            raise ConfigError(f"top_p is {self.top_p}; it must lie between 0 and 1 (1 keeps all tokens).")

    @property
    def is_greedy(self) -> bool:
        """Whether the likeliest token is taken, without chance."""
        return self.top_k == 1 or self.temperature == 0


def draw(
    logits: Float[Tensor, "B V"], sampling: Sampling, generator: torch.Generator | None = None
) -> Int[Tensor, " B"]:
    """Return one token for each row.

    The order is that of the published Evo 2 code: top-k, temperature, nucleus within what is left, then one draw.

    Args:
        logits: Of the next token; ``-inf`` forbids a token.
        sampling: How to draw.
        generator: Source of chance, on the device of ``logits``; torch's default one if None.

    Raises:
        NonFiniteLogitsError: if a row holds NaN or ``+inf``, or forbids every token.
    """
    check_finite(logits)
    if sampling.is_greedy:
        return logits.argmax(-1)
    tokens = None
    if sampling.top_k:
        logits, tokens = logits.topk(min(sampling.top_k, logits.shape[-1]), dim=-1)
    logits = _nucleus(logits / sampling.temperature, sampling.top_p)
    drawn = torch.multinomial(logits.softmax(-1), 1, generator=generator)
    chosen = drawn if tokens is None else tokens.gather(-1, drawn)
    return chosen.squeeze(-1)


def check_finite(logits: Float[Tensor, "B V"]) -> None:
    """Raise unless every row has a finite logit, and none that is NaN or ``+inf``."""
    highest = logits.amax(-1)  # NaN where a row holds one
    bad = ~highest.isfinite()
    if bool(bad.any()):
        rows = bad.nonzero().flatten().tolist()
        raise NonFiniteLogitsError(
            f"the logits of sequence {rows[0] + 1} are not finite (NaN or infinite). Weights of another precision, a "
            "damaged checkpoint, or half precision that overflows are the usual causes: check with --dtype float32."
        )


def _nucleus(logits: Float[Tensor, "B V"], top_p: float) -> Float[Tensor, "B V"]:
    if not 0 < top_p < 1:
        return logits
    ascending, order = logits.sort(dim=-1)
    unlikely = ascending.softmax(-1).cumsum(-1) <= 1 - top_p
    return logits.masked_fill(unlikely.scatter(-1, order, unlikely), float("-inf"))
