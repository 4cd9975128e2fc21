"""The checkpoints of a run over time: the newest, some before it, the best; and whether there is room for them.

``last.ckpt`` is the newest, ``last-1.ckpt`` the one before, and so on. A newest one that cannot be read is put aside as
``damaged.ckpt``, and the run goes on from the one before.
"""

import errno
import itertools
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from genomix.training.ranks import RunRanks
from genomix.training.run_folder import RunFolder
from genomix_data.errors import CheckpointError, DiskFullError

MARGIN = 1 << 20
"""Bytes beside the tensors of a checkpoint: names, numbers, and what other files of the run need."""

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class RunCheckpoints:
    """Writes the checkpoints of a run.

    Args:
        folder: Of the run.
        ranks: The processes that make it.
        keep: Checkpoints to keep, the newest included.
    """

    def __init__(self, folder: RunFolder, ranks: RunRanks, keep: int) -> None:
        self.folder = folder
        self.ranks = ranks
        self.keep = keep

    def save(self, state: Mapping[str, Any]) -> None:
        """Write the newest checkpoint; the ones before move on by one, and the oldest goes.

        Raises:
            DiskFullError: if there is no room, before anything is written.
        """
        self._make_room(state)
        if self.ranks.is_first:
            for number in range(self.keep - 1, 0, -1):
                _move(self.folder.checkpoint(number - 1), self.folder.checkpoint(number))
            self._drop_from(self.keep)
        self.ranks.save(self.folder.last, state)

    def save_best(self, state: Mapping[str, Any]) -> None:
        """Write the checkpoint that is best on validation in place of the one before.

        Raises:
            DiskFullError: as `save`.
        """
        self._make_room(state)
        self.ranks.save(self.folder.best, state)

    def _make_room(self, state: Mapping[str, Any]) -> None:
        needed = tensor_bytes(state) + MARGIN
        if self.ranks.agree(int(free_bytes(self.folder.checkpoints) < needed)) and self.ranks.is_first:
            self._drop_from(1)
        if self.ranks.agree(int(free_bytes(self.folder.checkpoints) < needed)):
            left = _size(free_bytes(self.folder.checkpoints))
            raise DiskFullError(
                f"a checkpoint of step {state['step']:,} needs {_size(needed)}, and the disk of "
                f"{str(self.folder.checkpoints)!r} has {left} left. The one before is untouched: free some space, then "
                "continue with --resume."
            )

    def _drop_from(self, number: int) -> None:
        while _remove(self.folder.checkpoint(number)):
            number += 1


def newest_state(
    folder: RunFolder, ranks: RunRanks, required: Iterable[str], notify: Callable[[str], object]
) -> dict[str, Any]:
    """Return the state of the newest checkpoint that can be read; it is then the first of the folder.

    Args:
        folder: Of the run.
        ranks: The processes that make it; see `RunRanks.numbers` about tensors.
        required: Keys that it must have.
        notify: Told of a checkpoint that is damaged.

    Raises:
        CheckpointError: if there is none.
    """
    required = tuple(required)
    missing: CheckpointError | None = None
    damaged: list[CheckpointError] = []
    for number in itertools.count():
        path = folder.checkpoint(number)
        was_there = _is_there(path)
        try:
            state = ranks.numbers(path, required)
            break
        except CheckpointError as error:
            if was_there:
                damaged.append(error)
            elif number:
                raise (damaged[0] if damaged else missing or error) from error
            else:
                missing = error  # the run may have been killed when it had moved the others on
    ranks.agree(0)  # all have read before anything is moved
    if ranks.is_first:
        folder.clean()
        if number:
            _put_first(folder, number)
    if damaged:
        notify(f"{damaged[0]}")
        notify(
            f"going on from the checkpoint before it, of step {state['step']:,}; it is kept as damaged.ckpt"
        )
    return state


@contextmanager
def telling_of_a_full_disk(folder: RunFolder) -> Iterator[None]:
    """Turn what the system says of a full disk into an error that says what to do."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        if not _is_full(error):
            raise
        left = _size(free_bytes(folder.path))
        raise DiskFullError(
            f"the disk of {str(folder.path)!r} is full ({left} left). What was written before is whole: free some "
            "space, then continue with --resume."
        ) from error


def check_room(folder: RunFolder, model: nn.Module, *, copies: int, keep: int) -> None:
    """Check before a run that its checkpoints will fit on the disk.

    Args:
        folder: Of the run, which need not exist yet.
        model: What is trained.
        copies: Numbers that a checkpoint has for each parameter: itself, two moments, an average.
        keep: Checkpoints that are kept.

    Raises:
        DiskFullError: if they will not.
    """
    weights = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    needed = run_bytes(weights, copies=copies, keep=keep)
    free = free_bytes(folder.path)
    if free < needed:
        raise DiskFullError(
            f"the run needs up to {_size(needed)} for checkpoints in {str(folder.path)!r}, and the disk has "
            f"{_size(free)} left. Free some space, choose another folder, or keep fewer of them "
            "(trainer.keep_checkpoints=1)."
        )


def run_bytes(weights: int, *, copies: int, keep: int) -> int:
    """Return the most that the checkpoints of a run take on the disk.

    Args:
        weights: Bytes of the parameters.
        copies: As of `check_room`.
        keep: Likewise.
    """
    # The best and the exported model are weights alone; the newest is written while the others are there.
    return weights * (copies * (keep + 1) + 3) + MARGIN


def free_bytes(path: Path) -> int:
    """Return what the disk of a path has left; the path need not exist yet."""
    place = path.absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def tensor_bytes(state: Any) -> int:
    """Return the bytes of all tensors in nested mappings and lists; of a tensor in shards, those of the whole."""
    if isinstance(state, Tensor):
        return state.numel() * state.element_size()
    if isinstance(state, Mapping):
        return sum(tensor_bytes(item) for item in state.values())
    if isinstance(state, list | tuple):
        return sum(tensor_bytes(item) for item in state)
    return 0


def _put_first(folder: RunFolder, number: int) -> None:
    """Put damaged checkpoints aside, and the readable one with those before it in their places."""
    damaged = folder.checkpoints / "damaged.ckpt"
    _remove(damaged)
    _move(folder.last, damaged)
    for bad in range(1, number):
        _remove(folder.checkpoint(bad))
    place = 0
    while _is_there(folder.checkpoint(number)):
        _move(folder.checkpoint(number), folder.checkpoint(place))
        place, number = place + 1, number + 1


def _both(path: Path) -> tuple[Path, Path]:
    """Return a checkpoint as one process writes it, and as several do."""
    return path, path.with_suffix("")


def _is_there(path: Path) -> bool:
    return any(each.exists() for each in _both(path))


def _move(path: Path, target: Path) -> None:
    if not _is_there(path):
        return
    _remove(target)
    for source, destination in zip(_both(path), _both(target), strict=True):
        if source.exists():
            source.replace(destination)


def _remove(path: Path) -> bool:
    """Remove a checkpoint, and return whether there was one."""
    file, folder = _both(path)
    was_there = _is_there(path)
    file.unlink(missing_ok=True)
    if folder.is_dir():
        shutil.rmtree(folder)
    return was_there


def _is_full(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            return True
        error = error.__cause__ or error.__context__
    return False


def _size(n_bytes: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:,.0f} {unit}" if unit == "bytes" else f"{n_bytes:,.1f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:,.1f} TB"
