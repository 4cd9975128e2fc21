"""The other strand of token ids, on the device where they are."""

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

N_IDS = 256
"""Ids of bases fit a byte, in every tokenizer."""


def reverse_complement_ids(
    ids: Int[Tensor, "B L"], lengths: Int[Tensor, " B"] | None, complement: UInt8[Tensor, " 256"]
) -> Int[Tensor, "B L"]:
    """Return the ids of the other strand; padding stays on the right.

    Args:
        ids: Padded on the right.
        lengths: Real tokens of each sequence; None for all.
        complement: Id of the complementary base for each id; of any other id, the id itself.
    """
    flipped = ids.flip(1) if lengths is None else ids.gather(1, mirrored_places(ids.shape[1], lengths))
    return complement[flipped.long()].to(ids.dtype)


def mirrored_places(seqlen: int, lengths: Int[Tensor, " B"]) -> Int[Tensor, "B L"]:
    """Return where each position stands on the other strand: ``length - 1 - t``; padding stays where it is."""
    place = torch.arange(seqlen, device=lengths.device)
    return torch.where(place < lengths[:, None], lengths[:, None] - 1 - place, place)


def mirror(values: Float[Tensor, "B L D"], lengths: Int[Tensor, " B"] | None) -> Float[Tensor, "B L D"]:
    """Return values of the positions of one strand in the order of the other."""
    if lengths is None:
        return values.flip(1)
    places = mirrored_places(values.shape[1], lengths)
    return values.gather(1, places[..., None].expand_as(values))
