"""Checkpoints that all ranks write together, each what it holds, and that any number of ranks can read.

    *.safetensors   the tensors, by `torch.distributed.checkpoint`: shards as they lay, whole ones written once
    state.json      all that is not a tensor, and where in the state each tensor stands

Nothing is pickled. The folder takes its name when it is complete; one that is killed while it is written leaves what
was there before. A tensor that belongs to a parameter (its weights, moments and averages) is read into the parameter's
layout on the mesh that reads, whatever mesh has written it.
"""

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn
from torch.distributed.checkpoint import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.tensor import DTensor

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
    fresh, old = path.with_name(f".{path.name}.new"), path.with_name(f".{path.name}.old")
    with ranks.first_alone() as is_first:
        if is_first:
            for stale in (fresh, old):
                shutil.rmtree(stale, ignore_errors=True)
            fresh.mkdir(parents=True)
    tensors: dict[str, Tensor] = {}
    rest = _without_tensors(state, (), tensors)
    dcp.save(tensors, storage_writer=HuggingFaceStorageWriter(str(fresh), save_distributed=True))
    with ranks.first_alone() as is_first:
        if is_first:
            shapes = {
                name: {"shape": list(tensor.shape), "dtype": _dtype_name(tensor)}
                for name, tensor in tensors.items()
            }
            text = json.dumps({"format": FORMAT, "tensors": shapes, "state": rest})
            (fresh / STATE_FILE).write_text(text, encoding="utf-8")
            if path.exists():
                path.rename(old)
            fresh.rename(path)
            shutil.rmtree(old, ignore_errors=True)


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
    state, known = held["state"], held["tensors"]
    layouts = {} if model is None else dict(model.state_dict())
    names = _parameter_names(state)
    tensors = {
        name: _room(tuple(entry["shape"]), getattr(torch, entry["dtype"]), _owner(key, layouts, names))
        for name, entry in known.items()
        for key in [tuple(json.loads(name))]
    }
    try:
        dcp.load(
            tensors, storage_reader=HuggingFaceStorageReader(str(path)), no_dist=not dist.is_initialized()
        )
    except (dcp.api.CheckpointException, OSError, RuntimeError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{str(path)!r} is damaged: its tensors cannot be read ({type(error).__name__}). "
            "Continue from an earlier checkpoint, or start the run again."
        ) from error
    restored = _with_tensors(state, tensors)
    missing = sorted(set(required) - restored.keys())
    if missing:
        raise CheckpointError(f"{str(path)!r} lacks {', '.join(missing)}: it is no checkpoint of such a run.")
    return restored


def whole_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors put together from the shards of all ranks, on the CPU; all ranks must ask, the first gets them.

    One tensor after the other is put together on the device, so that a model need not fit there.
    """
    whole: dict[str, Tensor] = {}
    keeps = not dist.is_initialized() or dist.get_rank() == 0
    for name, tensor in tensors.items():
        full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        if keeps:
            whole[name] = full.detach().cpu()
    return whole


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
    if not isinstance(held, dict) or not {"format", "tensors", "state"} <= held.keys():
        raise CheckpointError(f"{str(file)!r} does not describe a checkpoint of a training run.")
    if held["format"] != FORMAT:
        raise CheckpointError(
            f"{str(path)!r} has format {held['format']}, this genomix knows {FORMAT}. "
            "Continue the run with the version that began it."
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


def _parameter_names(state: Any) -> list[str]:
    """Return the names of the optimizer's parameters by their number, as its groups have them; none without one."""
    optimizer = _with_tensors(_item(state, "optimizer"), _Nothing())
    groups = optimizer.get("param_groups", []) if isinstance(optimizer, dict) else []
    return [name for group in groups for name in group.get("names", [])]


class _Nothing(dict[str, Tensor]):
    def __missing__(self, key: str) -> Tensor:
        return torch.empty(0)


def _item(state: Any, name: str) -> Any:
    return next((item for key, item in state["items"] if key == name), None)


def _owner(key: Key, layouts: Mapping[str, Tensor], names: list[str]) -> Tensor | None:
    """Return the parameter that a tensor of a state belongs to: by a name in its place, or its optimizer's number."""
    for part in reversed(key):
        if isinstance(part, str) and part in layouts:
            return layouts[part]
    if key[:2] == ("optimizer", "state") and isinstance(key[2], int) and key[2] < len(names):
        return layouts.get(names[key[2]])
    return None


def _room(shape: tuple[int, ...], dtype: torch.dtype, owner: Tensor | None) -> Tensor:
    """Return memory for a tensor, laid out as the parameter that it belongs to, if that is of its shape."""
    if isinstance(owner, DTensor) and owner.shape == shape:
        return torch.empty_like(owner, dtype=dtype)
    return torch.empty(shape, dtype=dtype)


def _dtype_name(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
