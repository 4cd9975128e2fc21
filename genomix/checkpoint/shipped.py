"""Models that ship with the package, by name: what runs where no model is given. Importing this costs no torch."""

import os
from pathlib import Path

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
    """Return a model folder: the path itself or, where there is none and a shipped model has that name, its folder.

    >>> located("human-2m").name
    'human-2m'
    """
    path = Path(folder)
    return _FOLDER / path.name if not path.exists() and str(path) in shipped_models() else path
