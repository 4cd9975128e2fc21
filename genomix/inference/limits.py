"""How long an input a model takes, and from where on its results mean little."""

import logging

from genomix.models.families import AnyConfig
from genomix_data.errors import SequenceTooLongError

logger = logging.getLogger(__name__)

_ALREADY_WARNED: set[int] = set()


def check_length(config: AnyConfig, n_tokens: int, what: str, remedy: str) -> None:
    """Raise where an input is longer than the model can take; log a warning, once, beyond what it was trained at.

    The filters of HyenaDNA end at ``l_max``; with ``extended_len`` it takes more with the same filters. StripedHyena 2
    takes any length, and has seen none beyond its context.

    Args:
        config: Of the model.
        n_tokens: Length of the input.
        what: How messages call it, such as ``"a window of 129 bp"``.
        remedy: What to do about one that is too long.

    Raises:
        SequenceTooLongError: if it exceeds ``longest_input``.
    """
    longest = config.longest_input
    if longest is not None and n_tokens > longest:
        limit = "l_max" if longest == config.context_len else "extended_len"
        raise SequenceTooLongError(
            f"{what} does not fit the model, whose context is {longest:,} tokens ({limit}). {remedy}"
        )
    if n_tokens > config.context_len and config.context_len not in _ALREADY_WARNED:
        _ALREADY_WARNED.add(config.context_len)
        logger.warning(
            "%s is longer than the %s tokens that the model was trained at: its results are extrapolations.",
            what,
            f"{config.context_len:,}",
        )
