"""Folders laid out as Genomic Benchmarks: ``train/<class>/*.txt`` and ``test/<class>/*.txt``, a sequence a file.

Source: Gresova et al. 2023, Genomic benchmarks, BMC Genomic Data 24:25.
"""

import os
from pathlib import Path

from genomix_data.errors import InputFileError, preview
from genomix_data.tables.table import SequenceTable, checked_sequence, label_indices


def read_genomic_benchmarks(folder: str | os.PathLike[str]) -> dict[str, SequenceTable]:
    """Return ``{"train": ..., "test": ...}`` of a folder, and ``"valid"`` where it is there.

    Classes are the names of the sub-folders, sorted, never in the order of the listing; files too.

    Raises:
        InputFileError: if a part is missing, the parts differ in their classes, a class has no file, or a file holds
            no sequence or a letter that is not a nucleotide code.
    """
    root = Path(folder)
    if not root.is_dir():
        raise InputFileError(f"Genomic Benchmarks folder {str(root)!r} does not exist. Check the path.")
    missing = [part for part in ("train", "test") if not (root / part).is_dir()]
    if missing:
        present = sorted(item.name for item in root.iterdir())
        raise InputFileError(
            f"{str(root)!r} has no {' and no '.join(missing)} folder; it has {preview(present)}. Give the folder "
            "of one data set, which holds train/ and test/ with one folder a class."
        )
    parts = [part for part in ("train", "valid", "test") if (root / part).is_dir()]
    classes = {part: _class_folders(root / part) for part in parts}
    for part in parts:
        if classes[part] != classes["train"]:
            raise InputFileError(
                f"{str(root)!r}: train has the classes {preview(classes['train'])}, but {part} has "
                f"{preview(classes[part])}. They must be the same."
            )
    return {part: _read_part(root / part, classes["train"]) for part in parts}


def _class_folders(part: Path) -> list[str]:
    names = sorted(item.name for item in part.iterdir() if item.is_dir() and not item.name.startswith("."))
    if len(names) < 2:
        raise InputFileError(f"{str(part)!r} has {len(names)} class folders; a task needs at least two.")
    return names


def _read_part(part: Path, classes: list[str]) -> SequenceTable:
    sequences, labels, places = [], [], []
    for name in classes:
        files = sorted(f for f in (part / name).iterdir() if f.is_file() and not f.name.startswith("."))
        if not files:
            raise InputFileError(
                f"class folder {str(part / name)!r} has no files; it needs one file a sequence."
            )
        for file in files:
            try:
                text = file.read_text(encoding="ascii").strip()
            except UnicodeDecodeError as error:
                raise InputFileError(f"{str(file)!r} is not a text file that holds one sequence.") from error
            sequences.append(checked_sequence(text, str(file)))
            labels.append(name)
            places.append(str(file))
    names, indices = label_indices(labels, places)
    return SequenceTable(sequences, indices, names, str(part))
