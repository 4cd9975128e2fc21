"""Checkpoints that all ranks write together, each what it holds, and that any number of ranks can read.

    *.safetensors   the tensors, by `torch.distributed.checkpoint`: shards as they lay, whole ones written once
    state.json      all that is not a tensor, and where in the state each tensor stands

Nothing is pickled. The folder takes its name when it is complete; one that is killed while it is written leaves what
was there before. A tensor that belongs to a parameter (its weights, moments and averages) is read into the parameter's
layout on the mesh that reads, whatever mesh has written it.
"""

import json
import shutil
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.tensor import DTensor, distribute_tensor

from genomix.parallel.processes import Ranks
from genomix_data.errors import CheckpointError

FORMAT = 1
STATE_FILE = "state.json"

Key = tuple[str | int, ...]


def save_sharded(path: Path, state: Mapping[str, Any], ranks: Ranks) -> None:
    """Write a state, all ranks together, so that the folder of this name is whole at every moment.

    Args:
        path: The folder; on a file system that all ranks see. One of the same name is replaced.
        state: Nested mappings and lists with text or integer keys, of tensors, numbers, texts and None; the same on
            every rank but for the shards of its DTensors.
        ranks: The processes.
    """
    fresh, old = _names_beside(path)
    with ranks.first_alone() as is_first:
        if is_first:
            for stale in (fresh, old):
                shutil.rmtree(stale, ignore_errors=True)
            fresh.mkdir(parents=True)
    tensors: dict[str, Tensor] = {}
    rest = _without_tensors(state, (), tensors)
    save(tensors, storage_writer=HuggingFaceStorageWriter(str(fresh), save_distributed=True))
    with ranks.first_alone() as is_first:
        if is_first:
            shapes = {
                name: {"shape": list(tensor.shape), "dtype": _dtype_name(tensor)}
                for name, tensor in tensors.items()
            }
            sizes = {file.name: file.stat().st_size for file in sorted(fresh.iterdir())}
            text = json.dumps({"format": FORMAT, "files": sizes, "tensors": shapes, "state": rest})
            (fresh / STATE_FILE).write_text(text, encoding="utf-8")
            _put_in_place(path, fresh, old)


def put_in_place(path: Path) -> None:
    """Finish what a run that was killed between two renames left: the complete checkpoint takes its name."""
    fresh, old = _names_beside(path)
    if not path.exists():
        if (fresh / STATE_FILE).exists():  # which is written last
            _put_in_place(path, fresh, old)
        elif old.exists():
            old.rename(path)


def read_numbers(path: Path, required: Iterable[str] = ()) -> dict[str, Any]:
    """Return the state that `save_sharded` wrote without its tensors, in whose places stand empty ones.

    Args:
        path: The folder.
        required: Keys that the state must have.

    Raises:
        CheckpointError: as `load_sharded`.
    """
    values: dict[str, Any] = _with_tensors(_read_state_file(path)["state"], _Nothing())
    missing = sorted(set(required) - values.keys())
    if missing:
        raise CheckpointError(f"{str(path)!r} lacks {', '.join(missing)}: it is no checkpoint of such a run.")
    return values


def load_sharded(
    path: Path, required: Iterable[str] = (), *, model: nn.Module | None = None
) -> dict[str, Any]:
    """Return the state that `save_sharded` wrote; on every rank of a run together, or in a process alone.

    Args:
        path: The folder.
        required: Keys that the state must have.
        model: Tensors of its parameters come in their layout: as DTensors where they are sharded. Without it, and where
            parameters are whole, all tensors come whole, on the CPU.

    Raises:
        CheckpointError: if the folder is missing, incomplete or damaged.
    """
    held = _read_state_file(path)
    owners = _Owners(model, read_numbers(path, required))
    tensors = {
        name: _room(tuple(entry["shape"]), getattr(torch, entry["dtype"]), owners.of(tuple(json.loads(name))))
        for name, entry in held["tensors"].items()
    }
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", message="torch.distributed is disabled"
            )  # that is what alone means
            load(tensors, storage_reader=HuggingFaceStorageReader(str(path)), no_dist=not _is_shared())
    except (
        CheckpointException,
        SafetensorError,
        OSError,
        RuntimeError,
        ValueError,
        KeyError,
    ) as error:
        raise CheckpointError(
            f"{str(path)!r} is damaged: its tensors cannot be read ({type(error).__name__}). "
            "Continue from an earlier checkpoint, or start the run again."
        ) from error
    restored: dict[str, Any] = _with_tensors(held["state"], tensors)
    return restored


def laid_out(state: Mapping[str, Any], model: nn.Module) -> dict[str, Any]:
    """Return a state of whole tensors, the same on every rank, with those of a model's parameters in their layout."""
    owners = _Owners(model, state)

    def place(value: Any, key: Key) -> Any:
        if isinstance(value, Mapping):
            return {k: place(item, (*key, k)) for k, item in value.items()}
        owner = owners.of(key) if isinstance(value, Tensor) else None
        if isinstance(owner, DTensor) and owner.shape == value.shape:
            on_device = value.to(owner.device)
            return distribute_tensor(on_device, owner.device_mesh, owner.placements, src_data_rank=None)
        return value

    placed: dict[str, Any] = place(state, ())
    return placed


def whole_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return copies of tensors on the CPU, put together from the shards of all ranks.

    All ranks must ask, and the first gets them. One tensor after the other is put together on the device, so that a
    model need not fit there.
    """
    whole: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        full = tensor.detach()
        if isinstance(full, DTensor):
            full = full.full_tensor()
        if not _is_shared() or dist.get_rank() == 0:
            whole[name] = full.to("cpu", copy=True)
    return whole


def _names_beside(path: Path) -> tuple[Path, Path]:
    """Return where a checkpoint is written, and where the one before stands while it is replaced."""
    return path.with_name(f".{path.name}.new"), path.with_name(f".{path.name}.old")


def _put_in_place(path: Path, fresh: Path, old: Path) -> None:
    if path.exists():
        path.rename(old)
    fresh.rename(path)
    shutil.rmtree(old, ignore_errors=True)


def _read_state_file(path: Path) -> dict[str, Any]:
    file = path / STATE_FILE
    try:
        held = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{str(path)!r} is no checkpoint: it has no {STATE_FILE}. The run stopped before its first one was "
            "complete; start it again."
        ) from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{str(file)!r} is damaged ({type(error).__name__}).") from error
    if not isinstance(held, dict) or not {"format", "files", "tensors", "state"} <= held.keys():
        raise CheckpointError(f"{str(file)!r} does not describe a checkpoint of a training run.")
    if held["format"] != FORMAT:
        raise CheckpointError(
            f"{str(path)!r} has format {held['format']}, this genomix knows {FORMAT}. "
            "Continue the run with the version that began it."
        )
    for name, size in held["files"].items():
        beside = path / name
        found = beside.stat().st_size if beside.exists() else None
        if found != size:
            state = "is missing" if found is None else f"has {found:,} bytes"
            raise CheckpointError(
                f"{str(path)!r} is damaged: {name} {state}, and was written with {size:,}. "
                "Continue from an earlier checkpoint, or start the run again."
            )
    return held


def _without_tensors(value: Any, key: Key, tensors: dict[str, Tensor]) -> Any:
    """Return a state as JSON holds it, and put its tensors into ``tensors`` under their places."""
    if isinstance(value, Tensor):
        name = json.dumps(key)
        tensors[name] = value
        return {"tensor": name}
    if isinstance(value, Mapping):
        return {"items": [[k, _without_tensors(item, (*key, k), tensors)] for k, item in value.items()]}
    if isinstance(value, list | tuple):
        return {"list": [_without_tensors(item, (*key, i), tensors) for i, item in enumerate(value)]}
    if value is None or isinstance(value, str | int | float):
        return value
    raise TypeError(f"a {type(value).__name__} at {key} of the state cannot be written to a checkpoint.")


def _with_tensors(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        return tensors[value["tensor"]]
    if "items" in value:
        return {key: _with_tensors(item, tensors) for key, item in value["items"]}
    return [_with_tensors(item, tensors) for item in value["list"]]


class _Nothing(dict[str, Tensor]):
    def __missing__(self, key: str) -> Tensor:
        return torch.empty(0)


class _Owners:
    """Finds the parameter that a tensor of a state belongs to: by a name in its place, or its optimizer's number.

    Args:
        model: Whose parameters; none without one.
        state: Its optimizer's groups say the names of the parameters in their order.
    """

    def __init__(self, model: nn.Module | None, state: Mapping[str, Any]) -> None:
        self._layouts: dict[str, Tensor] = {} if model is None else dict(model.state_dict())
        optimizer = state.get("optimizer")
        groups = optimizer.get("param_groups", []) if isinstance(optimizer, Mapping) else []
        self._names = [name for group in groups for name in group.get("names", [])]

    def of(self, key: Key) -> Tensor | None:
        """Return the parameter, or None."""
        for part in reversed(key):
            if isinstance(part, str) and part in self._layouts:
                return self._layouts[part]
        if key[:2] == ("optimizer", "state") and isinstance(key[2], int) and key[2] < len(self._names):
            return self._layouts.get(self._names[key[2]])
        return None


def _room(shape: tuple[int, ...], dtype: torch.dtype, owner: Tensor | None) -> Tensor:
    """Return memory for a tensor, laid out as the parameter that it belongs to, if that is of its shape."""
    if isinstance(owner, DTensor) and owner.shape == shape:
        return torch.empty_like(owner, dtype=dtype)
    return torch.empty(shape, dtype=dtype)


def _is_shared() -> bool:
    return dist.is_available() and dist.is_initialized()


def _dtype_name(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
