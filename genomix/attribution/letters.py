"""Sequences as numbers that can lie between letters, ``(B, L, 5)`` over A, C, G, T, N, and models that read them.

A model looks up one row of its embedding for each base. For a mixture of bases the same mixture of rows stands in its
place; for a pure base that is the look-up itself, so nothing else in the model is touched.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from genomix_data.errors import GenomixError
from genomix_data.tokenizers import Tokenizer

LETTERS = "ACGTN"
COMPLEMENTS = [3, 2, 1, 0, 4]
"""Place of the complement of each of the `LETTERS`."""


def letter_ids(tokenizer: Tokenizer) -> list[int]:
    """Return the token id of each of the `LETTERS`."""
    return [int(each) for each in tokenizer.encode(LETTERS)]


def one_hot(letters: str) -> Float[Tensor, "L 5"]:
    """Return a sequence as numbers, fp32: 1 at its letter, 0 elsewhere; anything but A, C, G, T (either case) is N."""
    places = [LETTERS.find(letter) for letter in letters.upper().replace("U", "T")]
    found = torch.zeros(len(letters), len(LETTERS))
    found[torch.arange(len(letters)), torch.tensor([4 if place < 0 else place for place in places])] = 1.0
    return found


def ids_of(x: Float[Tensor, "B L 5"], tokenizer: Tokenizer) -> Int[Tensor, "B L"]:
    """Return the token ids of the largest number at each position."""
    return torch.tensor(letter_ids(tokenizer), device=x.device)[x.argmax(dim=-1)]


def other_strand(x: Float[Tensor, "B L 5"]) -> Float[Tensor, "B L 5"]:
    """Return the reverse complement."""
    return x.flip(-2)[..., COMPLEMENTS]


@contextmanager
def reading(model: nn.Module, x: Float[Tensor, "B L 5"], tokenizer: Tokenizer) -> Iterator[None]:
    """Let a model read ``x`` in place of the ids that it is given, for as long as the block lasts.

    A model that looks at both strands embeds twice as many sequences; the second half is then the reverse complement.

    Args:
        model: With one embedding of tokens.
        x: What it is to read, whatever the ids say that it is called with; they must have its shape.
        tokenizer: Of the model.

    Raises:
        GenomixError: if the model has no embedding of tokens, or more than one.
    """
    tables = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    if len(tables) != 1:
        raise GenomixError(
            f"the model has {len(tables)} embeddings; attributions by gradients need one, of tokens. Use "
            "method='ism', which needs none."
        )
    rows = torch.tensor(letter_ids(tokenizer), device=x.device)

    def embed(table: nn.Module, ids: tuple[Tensor, ...], looked_up: Tensor) -> Tensor:
        assert isinstance(table, nn.Embedding)
        mixture = x
        if len(ids[0]) == 2 * len(x):
            mixture = torch.cat([x, other_strand(x)])
        assert ids[0].shape == mixture.shape[:2], "the ids stand for what is read"
        return mixture.to(table.weight.dtype) @ table.weight[rows]

    handle = tables[0].register_forward_hook(embed)
    try:
        yield
    finally:
        handle.remove()


def dinucleotide_shuffle(letters: str, seed: int) -> str:
    """Return a random sequence with the same dinucleotides as often (Altschul and Erickson 1985, Euler paths).

    It begins and ends with the same letters.

    >>> shuffled = dinucleotide_shuffle("ACGTACGGTCA", 0)
    >>> sorted(zip(shuffled, shuffled[1:])) == sorted(zip("ACGTACGGTCA", "CGTACGGTCA"))
    True
    """
    rng = np.random.default_rng(seed)
    follows: dict[str, list[str]] = {}
    for one, next_one in pairwise(letters):
        follows.setdefault(one, []).append(next_one)
    if not follows:
        return letters
    last = letters[-1]
    # a last exit of each letter, such that they lead to the last letter of all: then no path gets stuck
    while True:
        exits = {one: ends[rng.integers(len(ends))] for one, ends in follows.items() if one != last}
        if all(_leads_to(one, last, exits) for one in exits):
            break
    order = {}
    for one, ends in follows.items():
        rest = list(ends)
        if one in exits:
            rest.remove(exits[one])
        rng.shuffle(rest)
        order[one] = iter([*rest, exits[one]] if one in exits else rest)
    found = [letters[0]]
    for _ in range(len(letters) - 1):
        found.append(next(order[found[-1]]))
    return "".join(found)


def _leads_to(one: str, last: str, exits: dict[str, str]) -> bool:
    seen: set[str] = set()
    while one != last:
        if one in seen:
            return False
        seen.add(one)
        one = exits[one]
    return True
