"""The files of a checkpoint folder, read with a clear word about each way in which they can be wrong."""

import hashlib
import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from genomix.models.registry import MODELS
from genomix_data.errors import CheckpointError, preview

FORMAT = "genomix"
FORMAT_VERSION = 1
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
_NEEDED_KEYS: dict[str, type | tuple[type, ...]] = {
    "model_type": str,
    "config": dict,
    "head": (dict, type(None)),
    "tokenizer": dict,
    "provenance": dict,
}


def read_settings(folder: Path) -> dict[str, Any]:
    """Return ``config.json`` of a checkpoint folder, its needed keys present and of the right kind.

    Raises:
        CheckpointError: if the folder is missing, is no checkpoint of ours, or is of a newer format.
    """
    _check_folder(folder)
    config_path = folder / CONFIG_FILE
    try:
        settings = json.loads(config_path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(
            f"{str(config_path)!r} is not JSON ({error}). The checkpoint is damaged: restore or retrain it."
        ) from error
    if not isinstance(settings, dict) or settings.get("format") != FORMAT:
        raise CheckpointError(
            f'{str(config_path)!r} is not of a genomix checkpoint: it lacks "format": "{FORMAT}". Published '
            "checkpoints of other programs must be converted first (docs/models.md)."
        )
    version = settings.get("format_version")
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise CheckpointError(
            f"{str(folder)!r} has checkpoint format version {version!r}; this version of genomix reads up to "
            f"{FORMAT_VERSION}. Update genomix."
        )
    wrong = [
        key
        for key, kind in _NEEDED_KEYS.items()
        if key not in settings or not isinstance(settings[key], kind)
    ]
    if wrong:
        raise CheckpointError(
            f"{str(config_path)!r} lacks {', '.join(wrong)} or holds something else there. "
            "The checkpoint is damaged: restore or retrain it."
        )
    return settings


def read_weights(folder: Path, expected_sha256: str | None) -> tuple[dict[str, Tensor], str]:
    """Return the tensors of a checkpoint folder, on the CPU, and the SHA-256 of their file.

    Raises:
        CheckpointError: if the file is missing, damaged, or not the one that the folder was written with.
    """
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        raise CheckpointError(
            f"{str(folder)!r} has no {WEIGHTS_FILE}: the checkpoint is incomplete. Copy it again."
        )
    digest = file_sha256(path)
    try:
        tensors = load_file(path)
    except (SafetensorError, ValueError) as error:
        raise CheckpointError(
            f"{str(path)!r} ({path.stat().st_size} bytes) is damaged or cut short: {error}. Copy the checkpoint again."
        ) from error
    if expected_sha256 is not None and digest != expected_sha256:
        raise CheckpointError(
            f"{str(path)!r} has SHA-256 {digest[:12]}... but {CONFIG_FILE} was written for {expected_sha256[:12]}...: "
            "the file was changed or belongs to another checkpoint. Copy the whole folder again."
        )
    return tensors, digest


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write a dict as indented JSON in UTF-8."""
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _check_folder(folder: Path) -> None:
    if (folder / CONFIG_FILE).is_file():
        return
    if folder.is_dir():
        names = sorted(entry.name for entry in folder.iterdir())
        raise CheckpointError(
            f"{str(folder)!r} is not a checkpoint: it has no {CONFIG_FILE}, but {preview(names) or 'nothing'}. "
            "Give the folder that `genomix pretrain` or `genomix finetune` wrote its model to."
        )
    if folder.is_file():
        raise CheckpointError(
            f"{str(folder)!r} is a file; a genomix checkpoint is a folder with {CONFIG_FILE} and {WEIGHTS_FILE}. "
            "Published checkpoints must be converted first (docs/models.md)."
        )
    name = folder.as_posix()
    if name in MODELS or f"hyenadna/{name}" in MODELS:
        raise CheckpointError(
            f"{name!r} is the name of a size, not a folder: weights are not bundled with genomix. "
            "Train one with `genomix pretrain`, and give the folder that this writes."
        )
    raise CheckpointError(f"there is no checkpoint folder {str(folder)!r}. Check the path.")
