"""Small real data that ship with the package: five FASTA, one VCF, two classification tasks (under 0.5 MB).

``MANIFEST.json`` holds size, SHA-256, source and licence of each file; ``LICENSES.md`` says it in words.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from genomix_data.errors import InputFileError

_FOLDER = Path(__file__).parent


def manifest() -> dict[str, dict[str, Any]]:
    """Return ``{file name: facts}``: bytes, sha256, source, licence, and what the kind of file adds.

    FASTA entries have ``contigs`` (length and MD5 of each), tables ``n_per_class``, index files ``index_of``.
    """
    record = json.loads((_FOLDER / "MANIFEST.json").read_text(encoding="utf-8"))
    return {entry["name"]: entry for entry in record["files"]}


def names() -> tuple[str, ...]:
    """Return the names of the samples, index files left out, in the order of the manifest.

    >>> names()[0]
    'yeast_chrI.fa.gz'
    """
    return tuple(name for name, entry in manifest().items() if "index_of" not in entry)


def path(name: str) -> Path:
    """Return where a sample lies; its index files lie beside it.

    Raises:
        InputFileError: if there is no sample of that name.

    >>> path("lambda.fa.gz").name
    'lambda.fa.gz'
    """
    if name not in names():
        raise InputFileError(f"there is no sample {name!r}; there are {', '.join(names())}.")
    return _FOLDER / name


def verify() -> None:
    """Check the size and SHA-256 of every sample and index file.

    Raises:
        InputFileError: naming the files that are missing or changed.
    """
    wrong = []
    for name, entry in manifest().items():
        file = _FOLDER / name
        data = file.read_bytes() if file.is_file() else b""
        if len(data) != entry["bytes"] or hashlib.sha256(data).hexdigest() != entry["sha256"]:
            wrong.append(name)
    if wrong:
        raise InputFileError(
            f"samples missing or changed: {', '.join(wrong)}. Install genomix-fm again to restore them."
        )
