"""What a mixer remembers of the tokens that it has seen, so that more can be appended exactly.

A state is a small dictionary of tensors whose first axis is the batch, which makes the things that are done with states
the same for every operator: take some sequences of a batch, repeat one for many continuations, copy, move.
"""

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

MixerState = dict[str, Tensor]


def map_state(state: Mapping[str, Tensor], change: Callable[[Tensor], Tensor]) -> MixerState:
    """Return a new state with every tensor changed in the same way; the old one stays as it was."""
    return {name: change(tensor) for name, tensor in state.items()}


def select_rows(state: Mapping[str, Tensor], rows: Tensor) -> MixerState:
    """Return the state of some sequences of the batch, in the order of ``rows``; a row may be taken many times."""
    return map_state(state, lambda tensor: tensor.index_select(0, rows))


def fork_into(state: Mapping[str, Tensor], rows: Tensor, room: MixerState) -> MixerState:
    """Copy the state of some sequences into another state, and return that; a row may be taken many times.

    Args:
        state: What is copied; left unchanged.
        rows: Sequences, in the order in which they are wanted.
        room: Zeros of ``init_state(len(rows), max_len=...)``; may have more or less room than ``state`` for what
            grows with every token, as long as it holds all that was written.
    """
    for name, tensor in state.items():
        target = room[name]
        for axis in range(1, tensor.ndim):
            shared = min(tensor.shape[axis], target.shape[axis])
            tensor, target = tensor.narrow(axis, 0, shared), target.narrow(axis, 0, shared)
        target.copy_(tensor.index_select(0, rows))
    return room


def state_bytes(state: Mapping[str, Tensor]) -> int:
    """Return the memory that a state holds, in bytes."""
    return sum(tensor.numel() * tensor.element_size() for tensor in state.values())


def append_tail(
    tail: Float[Tensor, "B D T"], new: Float[Tensor, "B D L"]
) -> tuple[Float[Tensor, "B D M"], Float[Tensor, "B D T"]]:
    """Return ``tail`` and ``new`` side by side, and the last T of them: the tail for the time after."""
    joined = torch.cat([tail.to(new.dtype), new], dim=-1)
    return joined, joined[..., joined.shape[-1] - tail.shape[-1] :].clone()


def write_past(past: Tensor, new: Tensor, at: int, dim: int = -1) -> Tensor:
    """Write ``new`` into ``past`` from position ``at`` of an axis on, and return it, or a larger copy of it.

    Room grows by doubling, so that appending token by token costs a constant number of copies of each.

    Args:
        past: What is remembered; written to in place where it has room.
        new: What comes next; of the shape of ``past`` but for the axis.
        at: How much of ``past`` is filled.
        dim: The axis that grows.
    """
    room, needed = past.shape[dim], at + new.shape[dim]
    if needed > room:
        shape = list(past.shape)
        shape[dim] = max(needed, 2 * room)
        grown = past.new_zeros(shape)
        grown.narrow(dim, 0, at).copy_(past.narrow(dim, 0, at))
        past = grown
    past.narrow(dim, at, new.shape[dim]).copy_(new)
    return past
