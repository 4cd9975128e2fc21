"""Evo 2's tokenizer: the bytes of the text are the ids.

Source: Brixi et al. 2025 (Evo 2) and its published ``CharLevelTokenizer``; vocabulary of 512 rows, of which text uses
the first 256.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from genomix_data.errors import ConfigError

_HIGHEST_CODE_POINT = 512


class ByteTokenizer:
    """One id a UTF-8 byte: A 65, C 67, G 71, T 84, N 78; lower case has ids of its own.

    Args:
        case: ``keep`` is what was published; ``upper`` folds soft-masked letters, as the training data were.

    >>> ByteTokenizer().encode("ACgt").tolist()
    [65, 67, 103, 116]
    """

    name = "byte"
    vocab_size = 512
    pad_id = 1
    eos_id = 0
    unk_id: int | None = None
    n_id = ord("N")
    acgt_ids = (ord("A"), ord("C"), ord("G"), ord("T"))

    def __init__(self, *, case: Literal["keep", "upper"] = "keep") -> None:
        if case not in ("keep", "upper"):
            raise ConfigError(f"case={case!r} is not known to the byte tokenizer; it is 'keep' or 'upper'.")
        self.case = case

    def encode(self, sequence: bytes | str) -> NDArray[np.uint8]:
        """Return the bytes of the text as ids, ``(L,)``; read-only memory of its own."""
        data = sequence.encode("utf-8") if isinstance(sequence, str) else bytes(sequence)
        return np.frombuffer(data.upper() if self.case == "upper" else data, dtype=np.uint8)

    def decode(self, ids: Sequence[int] | NDArray[Any]) -> str:
        """Return one character an id, as published: ids below 32 print as a space, above 512 as U+0200.

        Letters of DNA come back as they went in; text beyond ASCII does not.
        """
        points = np.clip(np.asarray(ids, dtype=np.int64), ord(" "), _HIGHEST_CODE_POINT)
        return points.astype("<u4").tobytes().decode("utf-32-le")

    def to_dict(self) -> dict[str, Any]:
        """Return the settings for `tokenizer_from_dict`."""
        return {"name": self.name, "case": self.case}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ByteTokenizer) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash((self.name, self.case))

    def __repr__(self) -> str:
        return f"ByteTokenizer(case={self.case!r})"
