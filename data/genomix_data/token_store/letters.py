"""From the letters of a store to token ids and masks, whole arrays at a time.

Letters are uint8 arrays of any shape, ASCII as in the FASTA.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from genomix_data.alphabet import COMPLEMENT
from genomix_data.errors import ConfigError

SOFT_MASK = 0x20
"""The bit of a stored letter that is set in lower case."""

_UPPER = 0xDF
_PIECE = 1 << 15
IDENTITY = bytes(range(256))
"""The table of Evo 2's tokenizer."""


class _Encodes(Protocol):
    def encode(self, sequence: bytes) -> NDArray[np.uint8] | Sequence[int]: ...


def token_table(tokenizer: _Encodes, *, complement: bool = False) -> bytes:
    """Return the id of every possible letter, 256 bytes for `to_ids`.

    Args:
        tokenizer: Any with one id a letter, ids below 256; see `genomix_data.tokenizers`.
        complement: Give the id of the complementary base, for windows that are read backwards.

    Raises:
        ConfigError: if the tokenizer does not give one id a letter, each below 256.

    >>> from genomix_data.tokenizers import CharTokenizer
    >>> to_ids(np.frombuffer(b"ACgtN", np.uint8), token_table(CharTokenizer())).tolist()
    [7, 8, 9, 10, 11]
    """
    ids: NDArray[Any] = np.asarray(tokenizer.encode(IDENTITY))
    if ids.shape != (256,) or ids.min() < 0 or ids.max() > 255:
        raise ConfigError(
            f"{tokenizer!r} gives {ids.size} ids for 256 letters; a token store needs one id a letter, below 256."
        )
    table = ids.astype(np.uint8).tobytes()
    return COMPLEMENT.translate(table) if complement else table


def to_ids(
    letters: NDArray[np.uint8], table: bytes, *, out: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """Return ``table[letters]``, same shape; without ``out``, and where no id differs, ``letters`` as they are.

    Args:
        letters: Letters of any shape.
        table: See `token_table`.
        out: C-contiguous array of the same shape to write to and return; may be ``letters`` themselves.
    """
    if table == IDENTITY and out is None:
        return letters
    target = np.empty(letters.shape, dtype=np.uint8) if out is None else out
    source, sink = np.ascontiguousarray(letters).reshape(-1).data, target.reshape(-1).data
    # bytes.translate beats fancy indexing, which widens the index to 64 bits. In pieces, as large short-lived arrays
    # go back to the system each time, and getting them again costs more than the look-up.
    for first in range(0, len(source), _PIECE):
        sink[first : first + _PIECE] = source[first : first + _PIECE].tobytes().translate(table)
    return target


def soft_mask(letters: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return where the letters are in lower case (repeats), same shape."""
    return (letters & SOFT_MASK).astype(np.bool_)


def is_n(letters: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return where the letters are N or n, same shape; other ambiguity codes are not N."""
    found: NDArray[np.bool_] = (letters & _UPPER) == ord("N")
    return found
