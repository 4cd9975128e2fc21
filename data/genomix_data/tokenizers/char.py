"""HyenaDNA's tokenizer: one id a letter, seven special tokens, A C G T N.

The published code knows the five upper-case letters and nothing else: soft-masked bases and ambiguity codes all become
``[UNK]``, an id that the model hardly saw in training. Here lower case is folded and an ambiguity code becomes N,
the letter that stands for an unknown base in the training genomes; U, the RNA spelling, becomes T.
`CharTokenizer.official` gives the published behaviour.

Source: Nguyen et al. 2023, HyenaDNA, arXiv:2306.15794, and its published tokenizer.
"""

from collections.abc import Sequence
from itertools import repeat
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from genomix_data.alphabet import ACGT, AMBIGUOUS
from genomix_data.errors import ConfigError, GenomixError, SequenceTooLongError
from genomix_data.tokenizers.batch import PaddingSide, TokenBatch, pad_batch

SpecialTokens = Literal["none", "sep", "cls_sep"]

VOCAB: dict[str, int] = {
    "[CLS]": 0,
    "[SEP]": 1,
    "[BOS]": 2,
    "[MASK]": 3,
    "[PAD]": 4,
    "[RESERVED]": 5,
    "[UNK]": 6,
    "A": 7,
    "C": 8,
    "G": 9,
    "T": 10,
    "N": 11,
}

_TOKENS = np.array(list(VOCAB), dtype=object)
_IDS_LEFT_OUT = np.array([VOCAB[token] for token in ("[CLS]", "[SEP]", "[BOS]", "[MASK]", "[PAD]", "[UNK]")])


class CharTokenizer:
    """Letters to ids 7-11 by one look-up of 256 entries.

    Args:
        case: ``upper`` reads a, c, g, t, n as A, C, G, T, N; ``keep`` makes them unknown, as published.
        ambiguous: ``n`` reads R, Y, S, W, K, M, B, D, H, V as N and U as T; ``unk`` makes them unknown, as published.

    >>> CharTokenizer().encode("ACGTNacgtR").tolist()
    [7, 8, 9, 10, 11, 7, 8, 9, 10, 11]
    >>> CharTokenizer.official().encode("ACGTNacgtR").tolist()
    [7, 8, 9, 10, 11, 6, 6, 6, 6, 6]
    """

    name = "char"
    vocab_size = len(VOCAB)
    cls_id = VOCAB["[CLS]"]
    sep_id = eos_id = VOCAB["[SEP]"]
    bos_id = VOCAB["[BOS]"]
    mask_id = VOCAB["[MASK]"]
    pad_id = VOCAB["[PAD]"]
    unk_id: int | None = VOCAB["[UNK]"]
    n_id = VOCAB["N"]
    acgt_ids = (VOCAB["A"], VOCAB["C"], VOCAB["G"], VOCAB["T"])

    def __init__(
        self, *, case: Literal["upper", "keep"] = "upper", ambiguous: Literal["n", "unk"] = "n"
    ) -> None:
        if case not in ("upper", "keep"):
            raise ConfigError(f"case={case!r} is not known to the char tokenizer; it is 'upper' or 'keep'.")
        if ambiguous not in ("n", "unk"):
            raise ConfigError(
                f"ambiguous={ambiguous!r} is not known to the char tokenizer; it is 'n' or 'unk'."
            )
        self.case = case
        self.ambiguous = ambiguous
        self._table = _lookup_table(case, ambiguous)

    @classmethod
    def official(cls) -> Self:
        """Return the tokenizer as published: upper-case A, C, G, T, N, all else unknown."""
        return cls(case="keep", ambiguous="unk")

    def encode(self, sequence: bytes | str) -> NDArray[np.uint8]:
        """Return the ids of the letters, ``(L,)``, no special tokens; a letter beyond the alphabet is ``[UNK]``."""
        return np.frombuffer(_one_byte_a_letter(sequence).translate(self._table), dtype=np.uint8)

    def encode_batch(
        self,
        sequences: Sequence[bytes | str],
        pairs: Sequence[bytes | str] | None = None,
        *,
        special: SpecialTokens = "none",
        padding_side: PaddingSide = "right",
        max_length: int | None = None,
        truncation: bool = False,
        pad_to: int | None = None,
    ) -> TokenBatch:
        """Return the ids of a batch, with the special tokens and padding of the published calls.

        Args:
            sequences: One text a row.
            pairs: Second texts, one a row: ``a [SEP] b [SEP]``.
            special: ``sep`` ends each text with ``[SEP]`` (the repository and the Hugging Face port); ``cls_sep`` also
                begins with ``[CLS]`` (the stand-alone file).
            padding_side: The published default is ``left``; with ``right``, earlier positions of a causal model do not
                feel the padding.
            max_length: Largest number of tokens, special ones included.
            truncation: Cut the bases on the right to fit ``max_length``; of a pair, the longer text first.
            pad_to: Pad to this many tokens, instead of to the longest row.

        Raises:
            SequenceTooLongError: if a row does not fit ``max_length`` without truncation, or ``pad_to``.
            GenomixError: if ``pairs`` has another number of texts than ``sequences``.
        """
        if special not in ("none", "sep", "cls_sep"):
            raise ConfigError(f"special={special!r} is not known; it is 'none', 'sep' or 'cls_sep'.")
        if pairs is not None and len(pairs) != len(sequences):
            raise GenomixError(f"{len(sequences)} sequences came with {len(pairs)} second sequences.")
        seconds: Sequence[bytes | str | None] = (
            pairs if pairs is not None else list(repeat(None, len(sequences)))
        )
        rows = [
            self._row(first, second, special, max_length, truncation)
            for first, second in zip(sequences, seconds, strict=True)
        ]
        return pad_batch(rows, self.pad_id, padding_side=padding_side, pad_to=pad_to)

    def _row(
        self,
        first: bytes | str,
        second: bytes | str | None,
        special: SpecialTokens,
        max_length: int | None,
        truncation: bool,
    ) -> NDArray[np.uint8]:
        texts = [self.encode(first)] if second is None else [self.encode(first), self.encode(second)]
        n_special = {"none": 0, "sep": len(texts), "cls_sep": len(texts) + 1}[special]
        sizes = [text.size for text in texts]
        excess = 0 if max_length is None else sum(sizes) + n_special - max_length
        if excess > 0:
            if not truncation:
                raise SequenceTooLongError(
                    f"a sequence of {sum(sizes) + n_special} tokens is longer than max_length={max_length}. "
                    "Cut it, or set truncation=True."
                )
            sizes = _cut_longest_first(sizes, excess)
        parts = [np.array([self.cls_id], np.uint8)] if special == "cls_sep" else []
        for text, size in zip(texts, sizes, strict=True):
            parts.append(text[:size])
            if special != "none":
                parts.append(np.array([self.sep_id], np.uint8))
        return np.concatenate(parts)

    def decode(self, ids: Sequence[int] | NDArray[Any], *, skip_special: bool = False) -> str:
        """Return the text of the ids; special tokens by name, such as ``[PAD]``.

        Args:
            ids: ``(L,)``, each below `vocab_size`.
            skip_special: Leave out the special tokens, ``[UNK]`` among them, but for ``[RESERVED]``, as published.

        Raises:
            GenomixError: if an id has no token. The rows 12-15 of the model are padding of the vocabulary.
        """
        array = np.asarray(ids, dtype=np.int64)
        if array.size and not (array.min() >= 0 and array.max() < self.vocab_size):
            wrong = array[(array < 0) | (array >= self.vocab_size)][0]
            raise GenomixError(
                f"id {wrong} stands for no token; the vocabulary has ids 0 to {self.vocab_size - 1}."
            )
        if skip_special:
            array = array[~np.isin(array, _IDS_LEFT_OUT)]
        return "".join(_TOKENS[array])

    def to_dict(self) -> dict[str, Any]:
        """Return the settings for `tokenizer_from_dict`."""
        return {"name": self.name, "case": self.case, "ambiguous": self.ambiguous}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CharTokenizer) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash((self.name, self.case, self.ambiguous))

    def __repr__(self) -> str:
        return f"CharTokenizer(case={self.case!r}, ambiguous={self.ambiguous!r})"


def _lookup_table(case: str, ambiguous: str) -> bytes:
    table = bytearray([VOCAB["[UNK]"]] * 256)
    ids = {letter: VOCAB[chr(letter)] for letter in ACGT + b"N"}
    if ambiguous == "n":
        ids |= dict.fromkeys(AMBIGUOUS, VOCAB["N"]) | {ord("U"): VOCAB["T"]}
    for letter, token in ids.items():
        table[letter] = token
        if case == "upper":
            table[ord(chr(letter).lower())] = token
    return bytes(table)


def _one_byte_a_letter(sequence: bytes | str) -> bytes:
    # Latin-1 keeps one byte a character; what it lacks becomes "?", which is as unknown.
    return sequence.encode("latin-1", "replace") if isinstance(sequence, str) else bytes(sequence)


def _cut_longest_first(sizes: list[int], excess: int) -> list[int]:
    """Return the sizes after ``excess`` tokens are taken one by one from the longer text, from the second if equal."""
    if excess > sum(sizes):
        raise SequenceTooLongError("max_length leaves no room for the special tokens. Raise it.")
    if len(sizes) == 1:
        return [sizes[0] - excess]
    first, second = sizes
    if first > second:
        taken = min(excess, first - second)
        first -= taken
    else:
        taken = min(excess, second - first)
        second -= taken
    rest = excess - taken
    return [first - rest // 2, second - (rest - rest // 2)]
