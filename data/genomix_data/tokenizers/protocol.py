"""What every tokenizer offers, and how one is rebuilt from a checkpoint's ``config.json``."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from genomix_data.errors import ConfigError
from genomix_data.tokenizers.batch import TokenBatch
from genomix_data.tokenizers.byte import ByteTokenizer
from genomix_data.tokenizers.char import CharTokenizer

__all__ = ["TokenBatch", "Tokenizer", "tokenizer_from_dict"]


@runtime_checkable
class Tokenizer(Protocol):
    """One id per letter. Ids fit a byte, so a genome costs a byte a base."""

    @property
    def name(self) -> str:
        """``char`` or ``byte``; what `tokenizer_from_dict` goes by."""
        ...

    @property
    def vocab_size(self) -> int:
        """Number of ids that the model must have rows for, before any padding of the vocabulary."""
        ...

    @property
    def pad_id(self) -> int:
        """Id that fills a batch up; it stands for nothing."""
        ...

    @property
    def eos_id(self) -> int:
        """Id that ends a sequence."""
        ...

    @property
    def unk_id(self) -> int | None:
        """Id of a letter that the tokenizer does not know; None where it knows all."""
        ...

    @property
    def n_id(self) -> int:
        """Id of the unknown base, N."""
        ...

    @property
    def acgt_ids(self) -> tuple[int, int, int, int]:
        """Ids of A, C, G, T in this order."""
        ...

    def encode(self, sequence: bytes | str) -> NDArray[np.uint8]:
        """Return the ids of the letters, one each, no special tokens."""
        ...

    def decode(self, ids: Sequence[int] | NDArray[Any]) -> str:
        """Return the text of the ids."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Return what `tokenizer_from_dict` needs, as JSON values."""
        ...


def tokenizer_from_dict(settings: Mapping[str, Any]) -> Tokenizer:
    """Return the tokenizer that wrote ``settings`` with its ``to_dict``.

    Raises:
        ConfigError: if the name or a setting is not known.

    >>> tokenizer_from_dict({"name": "byte"}).vocab_size
    512
    """
    options = dict(settings)
    name = options.pop("name", None)
    known: dict[str, type[CharTokenizer] | type[ByteTokenizer]] = {
        "char": CharTokenizer,
        "byte": ByteTokenizer,
    }
    if name not in known:
        raise ConfigError(f"tokenizer {name!r} is not known; there are {', '.join(sorted(known))}.")
    try:
        return known[name](**options)
    except TypeError as error:
        raise ConfigError(f"settings of the tokenizer {name!r} are not valid: {error}.") from error
