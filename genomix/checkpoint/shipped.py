"""Models that ship with the package, by name: what runs where no model is given. Importing this costs no torch."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from genomix.models.registry import ModelRow

DEFAULT_MODEL = "human-2m"
"""StripedHyena 2 of 1.9 M parameters, pretrained on human chromosomes 19, 20 and Y; its README.md says how well."""

_FOLDER = Path(__file__).parent.parent / "models" / "shipped"


def shipped_models() -> tuple[str, ...]:
    """Return the names of the models that ship with the package.

    >>> shipped_models()
    ('human-2m',)
    """
    return tuple(sorted(entry.name for entry in _FOLDER.iterdir() if (entry / "config.json").is_file()))


def located(folder: str | os.PathLike[str]) -> Path:
    """Return a model folder: the path itself, the ``model`` of a run folder, or a shipped model of that name.

    >>> located("human-2m").name
    'human-2m'
    """
    path = Path(folder)
    if not path.exists():
        return _FOLDER / path.name if str(path) in shipped_models() else path
    inside = path / "model"
    is_run = not (path / "config.json").exists() and (inside / "config.json").is_file()
    return inside if is_run else path


def name_of(folder: str | os.PathLike[str]) -> str:
    """Return what to call a model folder: a shipped one by its name, any other by its path; undoes `located`.

    >>> name_of(located("human-2m"))
    'human-2m'
    """
    path = Path(folder)
    return path.name if path.parent == _FOLDER else str(path)


def shipped_row(name: str) -> "ModelRow":
    """Return what the registry would say of a shipped model: its config, parameters and hash, and how good it is."""
    from genomix.models.families import config_of
    from genomix.models.registry import ModelRow

    settings = json.loads((_FOLDER / name / "config.json").read_text(encoding="utf-8"))
    held_out = settings["provenance"]["held_out"]
    return ModelRow(
        name=name,
        family=settings["model_type"],
        config=config_of(settings["model_type"], settings["config"]),
        n_parameters=settings["provenance"]["n_parameters"],
        sha256=settings["weights_sha256"],
        licence="Apache-2.0",
        notes=f"ships with genomix: {held_out['bits_per_base']} bits per base on {held_out['on']}",
    )
