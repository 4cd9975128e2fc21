"""Tensors in one safetensors file, or in several where they are many, written one after the other.

Several files are ``model-00001-of-00003.safetensors`` ... with ``model.safetensors.index.json``, which says where each
tensor is: the convention of the Hugging Face hub. Writing holds the tensors of one file in memory, not all of them.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from genomix_data.errors import CheckpointError

WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
SHARD_BYTES = 5 * 10**9


def write_tensors(
    folder: Path, tensors: Iterable[tuple[str, Tensor]], *, shard_bytes: int = SHARD_BYTES
) -> str:
    """Write tensors into an empty folder, and return what `weights_sha256` will.

    Args:
        folder: Exists.
        tensors: Name and tensor, on any device; each is used once, in order, and let go of.
        shard_bytes: A file is closed before it would exceed this.
    """
    writer = _Writer(folder, shard_bytes)
    for name, tensor in tensors:
        writer.add(name, tensor)
    writer.finish()
    return weights_sha256(folder)


class _Writer:
    def __init__(self, folder: Path, shard_bytes: int) -> None:
        self.folder = folder
        self.shard_bytes = shard_bytes
        self.pending: dict[str, Tensor] = {}
        self.pending_bytes = 0
        self.total_bytes = 0
        self.written: list[tuple[Path, list[str]]] = []

    def add(self, name: str, tensor: Tensor) -> None:
        size = tensor.numel() * tensor.element_size()
        if self.pending and self.pending_bytes + size > self.shard_bytes:
            self._flush()
        # a copy of its own: views of one storage would be refused, and memory-mapped pages can be given back
        self.pending[name] = tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        self.pending_bytes += size
        self.total_bytes += size

    def _flush(self) -> None:
        path = self.folder / f"part-{len(self.written) + 1:05d}"
        save_file(self.pending, path, metadata={"format": "pt"})
        path.chmod(0o666 & self.folder.stat().st_mode)  # safetensors makes it the owner's alone
        self.written.append((path, list(self.pending)))
        self.pending, self.pending_bytes = {}, 0

    def finish(self) -> None:
        self._flush()
        if len(self.written) == 1:
            self.written[0][0].rename(self.folder / WEIGHTS_FILE)
            return
        weight_map: dict[str, str] = {}
        for number, (path, names) in enumerate(self.written, start=1):
            final = f"model-{number:05d}-of-{len(self.written):05d}.safetensors"
            path.rename(self.folder / final)
            weight_map |= dict.fromkeys(names, final)
        index = {"metadata": {"total_size": self.total_bytes}, "weight_map": weight_map}
        (self.folder / INDEX_FILE).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")


def weight_files(folder: Path) -> list[Path]:
    """Return the weight files of a folder, in order.

    Raises:
        CheckpointError: if there are none, or one that the index names is missing.
    """
    if (folder / WEIGHTS_FILE).is_file():
        return [folder / WEIGHTS_FILE]
    index_path = folder / INDEX_FILE
    if not index_path.is_file():
        raise CheckpointError(
            f"{str(folder)!r} has no {WEIGHTS_FILE}: the checkpoint is incomplete. Copy it again."
        )
    names = sorted(set(_weight_map(index_path).values()))
    missing = [name for name in names if Path(name).name != name or not (folder / name).is_file()]
    if missing:
        raise CheckpointError(f"{str(folder)!r} lacks {', '.join(missing)}: copy the whole folder again.")
    return [folder / name for name in names]


def weights_sha256(folder: Path) -> str:
    """Return what names the weights: the SHA-256 of their file; of several, that of the list of their SHA-256s."""
    files = weight_files(folder)
    digests = [file_sha256(path) for path in files]
    if len(files) == 1:
        return digests[0]
    listing = "".join(f"{digest}  {path.name}\n" for digest, path in zip(digests, files, strict=True))
    return hashlib.sha256(listing.encode()).hexdigest()


def read_tensors(folder: Path, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """Return all tensors of a folder, in the dtypes in which they were saved.

    Raises:
        CheckpointError: if a file is missing, damaged or cut short.
    """
    tensors: dict[str, Tensor] = {}
    for path in weight_files(folder):
        tensors |= read_safetensors(path, device)
    return tensors


def read_safetensors(path: Path, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """Return the tensors of one file.

    Raises:
        CheckpointError: if it is damaged or cut short.
    """
    try:
        return load_file(path, device=str(device))
    except (SafetensorError, ValueError) as error:
        raise CheckpointError(
            f"{str(path)!r} ({path.stat().st_size} bytes) is damaged or cut short: {error}. Copy the checkpoint again."
        ) from error


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _weight_map(index_path: Path) -> dict[str, str]:
    try:
        index: Any = json.loads(index_path.read_text(encoding="utf-8"))
        weight_map = index["weight_map"]
        return {str(name): str(file) for name, file in weight_map.items()}
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{str(index_path)!r} is not the index of a checkpoint ({error}). Copy the folder again."
        ) from error
