"""Checkpoints of other programs, found and opened: a file, split parts of one, or a folder."""

import io
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch
from torch import Tensor

from genomix.checkpoint.files import CONFIG_FILE, FORMAT, read_settings
from genomix.checkpoint.shards import (
    INDEX_FILE,
    WEIGHTS_FILE,
    file_sha256,
    read_safetensors,
    read_tensors,
    weights_sha256,
)
from genomix.checkpoint.unpickle import load_foreign, load_foreign_bytes
from genomix.models.hyenadna import state_dict as hyenadna
from genomix.models.stripedhyena2 import state_dict as stripedhyena2
from genomix_data.errors import CheckpointError, InputFileError, preview

Layout = Literal[
    "native",
    "hyenadna-repo",
    "hyenadna-repo-checkpointed",
    "hyenadna-lightning",
    "hyenadna-standalone",
    "hyenadna-hf",
    "vortex",
    "savanna",
]
HYENADNA_LAYOUTS: dict[Layout, hyenadna.Layout] = {
    "hyenadna-repo": "repo",
    "hyenadna-repo-checkpointed": "repo_checkpointed",
    "hyenadna-lightning": "lightning",
    "hyenadna-standalone": "standalone",
    "hyenadna-hf": "hf",
}
LAYOUTS: tuple[Layout, ...] = ("native", *HYENADNA_LAYOUTS, "vortex", "savanna")

_NESTS = ("state_dict", "module", "model_state_dict", "model")
_NOT_WEIGHTS = re.compile(
    r"_extra_state$|_torchmetrics\.|\.mixer\.mixer\.filter\.t$|\.(post_attention|outer_mlp)_layernorm\."
)
_WEIGHT_NAMES = ("*.ckpt", "pytorch_model.bin", "*.pt", "*.pth", "*.part0", "*.safetensors")


@dataclass(frozen=True)
class Foreign:
    """A checkpoint as it was found.

    Attributes:
        path: What was given.
        model_type: Family of the model.
        layout: Of its keys.
        tensors: Under their own names; on disk until they are used, where the format allows.
        settings: The JSON that describes the model: our ``config.json``, or that of another program, or None.
        extra_states: What Transformer Engine left beside 8-bit projections, by the name of the layer; `scales_of` reads
            the scales in it, and nothing of it has been opened.
        dropped: What the file holds besides, that is not weights.
        sha256: Of the file or files.
    """

    path: Path
    model_type: str
    layout: Layout
    tensors: Mapping[str, Tensor]
    settings: Mapping[str, Any] | None
    extra_states: Mapping[str, object] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()
    sha256: str = ""


@contextmanager
def open_foreign(path: Path, scratch: Path) -> Iterator[Foreign]:
    """Yield the checkpoint at a path.

    Args:
        path: A folder, a file, or the first part of a split one (``x.pt.part0``, or ``x.pt`` where only parts are).
        scratch: A folder with room for the parts put together, which are removed afterwards.

    Raises:
        UnsafePickleError: if the file asks for code; nothing of it has run.
        CheckpointError: if there is no checkpoint, it is damaged, or of no known layout.
    """
    settings = None
    if path.is_dir():
        if (path / CONFIG_FILE).is_file():
            settings = read_json(path / CONFIG_FILE)
        if settings is not None and settings.get("format") == FORMAT:
            yield _native(path)
            return
        weights = _weights_in(path)
    else:
        weights = path
    parts = _parts_of(weights)
    if parts:
        with TemporaryDirectory(prefix=".joined.", dir=scratch) as folder:
            joined = Path(folder) / "joined.pt"
            with joined.open("wb") as out:
                for part in parts:
                    with part.open("rb") as piece:
                        shutil.copyfileobj(piece, out, 1 << 24)
            yield _examine(path, _load(joined), settings, file_sha256(joined))
        return
    if not weights.exists():
        raise CheckpointError(f"there is no checkpoint {str(path)!r}. Check the path.")
    digest = weights_sha256(weights.parent) if weights.name == INDEX_FILE else file_sha256(weights)
    yield _examine(path, _load(weights), settings, digest)


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object.

    Raises:
        InputFileError: if the file is missing or holds something else.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputFileError(f"{str(path)!r} does not exist. Check the path.") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputFileError(f"{str(path)!r} is not JSON: {error}.") from error
    if not isinstance(values, dict):
        raise InputFileError(f"{str(path)!r} holds no JSON object, but {type(values).__name__}.")
    return values


def _native(path: Path) -> Foreign:
    settings = read_settings(path)
    return Foreign(
        path=path,
        model_type=str(settings["model_type"]),
        layout="native",
        tensors=read_tensors(path),
        settings=settings,
        sha256=weights_sha256(path),
    )


def _weights_in(folder: Path) -> Path:
    for name in (WEIGHTS_FILE, INDEX_FILE):
        if (folder / name).is_file():
            return folder / name
    found = [path for pattern in _WEIGHT_NAMES for path in sorted(folder.glob(pattern))]
    if len(found) == 1:
        return found[0]
    if not found:
        raise CheckpointError(
            f"{str(folder)!r} holds no weights ({', '.join(_WEIGHT_NAMES)}); it has "
            f"{preview(sorted(path.name for path in folder.iterdir())) or 'nothing'}. Give the folder of a checkpoint."
        )
    raise CheckpointError(
        f"{str(folder)!r} holds several checkpoints: {preview(path.name for path in found)}. Give one of the files."
    )


def _parts_of(path: Path) -> list[Path]:
    """Return the parts of a split file in order, or nothing."""
    stem = path.name[: -len(".part0")] if path.name.endswith(".part0") else path.name
    if path.exists() and stem == path.name:
        return []
    parts: list[Path] = []
    while (part := path.with_name(f"{stem}.part{len(parts)}")).is_file():
        parts.append(part)
    return parts


def _load(path: Path) -> Any:
    if path.name == INDEX_FILE:
        return read_tensors(path.parent)
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    return load_foreign(path)


def _examine(path: Path, content: Any, settings: Mapping[str, Any] | None, digest: str) -> Foreign:
    dropped: list[str] = []
    while isinstance(content, Mapping):
        nest = next((name for name in _NESTS if isinstance(content.get(name), Mapping)), None)
        if nest is None or any(isinstance(value, Tensor) for value in content.values()):
            break
        dropped += [str(name) for name in content if name != nest]
        content = content[nest]
    if not isinstance(content, Mapping) or not any(isinstance(value, Tensor) for value in content.values()):
        raise CheckpointError(f"{str(path)!r} holds no state dict of tensors, but {type(content).__name__}.")
    if all(str(name).startswith("module.") for name in content):  # left by data-parallel training
        content = {str(name).removeprefix("module."): value for name, value in content.items()}
    tensors = {
        str(name): value
        for name, value in content.items()
        if isinstance(value, Tensor) and not _NOT_WEIGHTS.search(str(name))
    }
    extra_states: dict[str, object] = {}
    for name, value in content.items():
        if str(name).endswith("projections._extra_state"):
            extra_states[str(name).removesuffix("._extra_state")] = value
        elif str(name) not in tensors:
            dropped.append(str(name))
    model_type, layout = detect(tensors, path)
    return Foreign(path, model_type, layout, tensors, settings, extra_states, tuple(dropped), digest)


def detect(tensors: Mapping[str, Tensor], path: Path) -> tuple[str, Layout]:
    """Return the family and the layout that the keys are of.

    Raises:
        CheckpointError: if they are of none that we know.
    """
    if any(".filter_fn." in key for key in tensors):
        found = hyenadna.detect_layout(tensors)
        by_name = {theirs: ours for ours, theirs in HYENADNA_LAYOUTS.items()}
        return "hyenadna", by_name.get(found, "native")
    try:
        return "stripedhyena2", stripedhyena2.detect_layout(tensors)
    except CheckpointError as error:
        raise CheckpointError(
            f"{str(path)!r} is in no layout that genomix knows ({', '.join(LAYOUTS)}): it has {preview(tensors)}."
        ) from error


def scales_of(extra_state: object) -> tuple[Tensor, Tensor] | None:
    """Return the scales of input and weight in the extra state that Transformer Engine leaves; None if it has none.

    Raises:
        UnsafePickleError: if it asks for code.
    """
    if isinstance(extra_state, io.BytesIO):
        data = extra_state.getvalue()
    elif isinstance(extra_state, Tensor):
        data = bytes(extra_state.to(torch.uint8).flatten().tolist())
    elif isinstance(extra_state, bytes):
        data = extra_state
    else:
        return None
    values = load_foreign_bytes(data) if data else None
    scale = values.get("scale_fwd") if isinstance(values, dict) else None
    if not isinstance(scale, Tensor) or scale.numel() < 2:
        return None
    flat = scale.float().flatten().cpu()
    return flat[0].clone(), flat[1].clone()
