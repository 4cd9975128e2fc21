"""The files of a checkpoint folder, read with a clear word about each way in which they can be wrong."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genomix.checkpoint.shards import WEIGHTS_FILE, read_tensors, weights_sha256
from genomix.checkpoint.shipped import shipped_models
from genomix.models.registry import MODELS
from genomix_data.errors import CheckpointError, preview

FORMAT = "genomix"
FORMAT_VERSION = 1
CONFIG_FILE = "config.json"
_COMPUTE_DTYPES = {name: getattr(torch, name) for name in ("float32", "bfloat16", "float16")}
"""By their names in ``config.json``: weights may be stored in fewer bits than they are to be run in."""
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
            "checkpoints of other programs must be converted first: `genomix convert`."
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
    dtype = settings.get("compute_dtype")
    if dtype is not None and dtype not in list(_COMPUTE_DTYPES):
        raise CheckpointError(
            f"{str(config_path)!r} has compute_dtype {dtype!r}; expected one of {', '.join(_COMPUTE_DTYPES)}, or none."
        )
    return settings


def compute_dtype_of(settings: Mapping[str, Any]) -> torch.dtype | None:
    """Return what `read_settings` says that a model runs in where nobody says otherwise; None: as it is stored."""
    return _COMPUTE_DTYPES.get(settings.get("compute_dtype", ""))


def read_weights(
    folder: Path, expected_sha256: str | None, device: torch.device | str = "cpu"
) -> tuple[dict[str, Tensor], str]:
    """Return the tensors of a checkpoint folder, and the SHA-256 that names them.

    Raises:
        CheckpointError: if a file is missing, damaged, or not the one that the folder was written with.
    """
    digest = weights_sha256(folder)
    tensors = read_tensors(folder, device)
    if expected_sha256 is not None and digest != expected_sha256:
        raise CheckpointError(
            f"the weights of {str(folder)!r} have SHA-256 {digest[:12]}... but {CONFIG_FILE} was written for "
            f"{expected_sha256[:12]}...: the file was changed or belongs to another checkpoint. "
            "Copy the whole folder again."
        )
    return tensors, digest


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write a dict as indented JSON in UTF-8."""
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


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
            "Published checkpoints must be converted first: `genomix convert`."
        )
    name = folder.as_posix()
    ships = ", ".join(shipped_models())
    if any(name in (row, row.split("/", 1)[1]) for row in MODELS):
        raise CheckpointError(
            f"{name!r} is the name of a size, not a folder: its weights do not ship with genomix ({ships} does). "
            "Train one with `genomix pretrain`, or convert published ones with `genomix convert`, and give the folder "
            "that it writes."
        )
    raise CheckpointError(
        f"there is no checkpoint folder {str(folder)!r}, and no such model ships with genomix ({ships} does). "
        "Check the path."
    )
