"""What a run does when the memory of its device is not enough: keep less and go on, or say what was needed.

With ``trainer.recompute=auto`` blocks are kept by what they were measured to keep. Where that is too much after all
(somebody else uses the GPU as well, or a kernel serves that keeps more), all of them are computed again: the same
numbers from less memory. With any other policy, and among several processes, which would have to do it together, the
run ends.
"""

import dataclasses
import gc
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

from genomix.models.hyenadna.model import HyenaDNA
from genomix.models.stripedhyena2.model import StripedHyena2
from genomix.training.config import PretrainConfig
from genomix.training.device import precision
from genomix.training.footprint import gigabytes, in_words, needed_bytes, what_to_change
from genomix.training.machine_memory import available_bytes, is_out_of_memory, peak_bytes
from genomix_data.errors import GenomixError

T = TypeVar("T")


class NotEnoughMemoryError(GenomixError):
    """What a run computes at once does not fit into the memory of its device."""


def keeping_less(
    train: Callable[[], T],
    config: PretrainConfig,
    model: HyenaDNA | StripedHyena2,
    device: torch.device,
    say: Callable[[str], object],
    *,
    n_processes: int = 1,
) -> T:
    """Return ``train()``; called again, with all blocks of the model computed again, where memory was not enough.

    Args:
        train: Makes steps; when it is called for the second time it goes on after the last whole one.
        config: What to run.
        model: What is trained, or copied to be trained; its policy is changed.
        device: Where.
        say: Speaks to the user.
        n_processes: That train together.

    Raises:
        NotEnoughMemoryError: if there is no policy left that keeps less.
    """
    may_keep_less = model.recompute == "auto" and n_processes == 1
    try:
        return train()
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        told = _told(error, config, model, device, n_processes)
        if not may_keep_less:
            raise NotEnoughMemoryError(told) from error
    # Not in the handler above: until it is left, the error holds all that there was.
    say(f"  warning: {told}")
    say(
        "  from here on all blocks are computed again, as with trainer.recompute=block: slower, the same numbers"
    )
    model.recompute = "block"
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    with telling_of_memory(config, model, device, n_processes=n_processes):
        return train()


@contextmanager
def telling_of_memory(
    config: PretrainConfig, model: HyenaDNA | StripedHyena2, device: torch.device, *, n_processes: int = 1
) -> Iterator[None]:
    """Turn what torch says where memory is not enough into an error that says what was needed and what to do."""
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise NotEnoughMemoryError(_told(error, config, model, device, n_processes)) from error


def _told(
    error: RuntimeError,
    config: PretrainConfig,
    model: HyenaDNA | StripedHyena2,
    device: torch.device,
    n_processes: int,
) -> str:
    """Return what to say of an error."""
    config = dataclasses.replace(config, parallel=config.parallel.settled(n_processes))
    is_cuda = device.type == "cuda"
    total = torch.cuda.get_device_properties(device).total_memory if is_cuda else None
    state, activations = needed_bytes(
        config, model, model.recompute, precision(config.trainer, device), total
    )
    available = available_bytes(device)
    asked = re.search(r"[Tt]ried to allocate ([\d.]+ \w+)", str(error))
    where = torch.cuda.get_device_name(device) if is_cuda else "memory of this machine"
    has = "" if available is None else f", of {gigabytes(available)} that it may have"
    change = what_to_change(model.recompute, state, state + activations if available is None else available)
    return (
        f"{config.data.batch_size} windows of {config.data.seqlen:,} tokens do not fit into the {where}: "
        f"{in_words(state, activations)} are needed by estimate; this process held up to "
        f"{gigabytes(peak_bytes(device))}{has}"
        + (f", and asked for {asked[1]} more" if asked else "")
        + f". {change}."
    )
