"""Attributions as files: a table, arrays, or a picture of sequence logos; each by its file name."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genomix.attribution.attribute import Attribution
from genomix.inference.regions import Place
from genomix_data.atomic import atomic_file
from genomix_data.errors import ConfigError
from genomix_data.vcf.sink import FileSink

TABLES = (".tsv", ".tsv.gz", ".tsv.bgz")
PICTURES = (".png", ".svg", ".pdf")
MOST_BASES = 4000
"""Of a picture; beyond, letters could not be read."""


@dataclass(frozen=True, slots=True)
class Attributed:
    """A sequence: where it is from, what was attributed, and the result."""

    place: Place
    target: str
    found: Attribution


def check_outputs(paths: Sequence[str]) -> None:
    """Check, before any work, that each output can be written.

    Raises:
        ConfigError: if a suffix is not known, or a path comes twice.
    """
    if len(set(paths)) < len(paths):
        raise ConfigError("an output is named twice; give each file one name.")
    for path in paths:
        if path != "-" and not path.lower().endswith((*TABLES, ".npz", *PICTURES)):
            raise ConfigError(
                f"-o {path!r}: expected a name that ends in .tsv, .tsv.gz, .npz, .png, .svg or .pdf."
            )


def check_picture(n_bases: int) -> None:
    """Check that so many bases can be drawn.

    Raises:
        ConfigError: if there are too many.
    """
    if n_bases > MOST_BASES:
        raise ConfigError(
            f"a picture shows at most {MOST_BASES:,} bases and these are more; give fewer or shorter sequences, or "
            "write .tsv or .npz."
        )


def write_attributions(
    paths: Sequence[str | os.PathLike[str]], attributed: Sequence[Attributed], about: Mapping[str, Any]
) -> None:
    """Write attributions to every path; all files appear when all are whole.

    Args:
        paths: ``.tsv`` (also ``.gz``; ``-`` is standard output), ``.npz``, ``.png``, ``.svg`` or ``.pdf``.
        attributed: In order.
        about: How they were made, as JSON values.

    Raises:
        ConfigError: as `check_outputs` and `check_picture`.
    """
    check_outputs([str(path) for path in paths])
    with ExitStack() as stack:
        for path in paths:
            name = str(path).lower()
            if name == "-" or name.endswith(TABLES):
                _write_table(stack, str(path), attributed, about)
                continue
            temporary = stack.enter_context(atomic_file(path))
            writer = _write_arrays if name.endswith(".npz") else _draw
            writer(temporary, attributed, about)


def _write_table(
    stack: ExitStack, path: str, attributed: Sequence[Attributed], about: Mapping[str, Any]
) -> None:
    """One row a base: ``pos`` is 1-based on the record or contig, letters are those of the strand that was read."""
    sink = stack.enter_context(FileSink(path, compress=path.lower().endswith(("gz", "bgz"))))
    lines = [f"##{name}={value}" for name, value in about.items()]
    sink.write_header("\n".join([*lines, "#name\tpos\tbase\tscore\tA\tC\tG\tT", ""]).encode())
    for each in attributed:
        found = each.found
        for offset, letter in enumerate(found.letters):
            start, _ = each.place.place(offset, offset + 1)
            cells = [each.place.name, str(start + 1), letter, _text(found.scores[offset])]
            cells += [_text(value) for value in found.by_letter[offset]]
            sink.write(("\t".join(cells) + "\n").encode())


def _write_arrays(path: Path, attributed: Sequence[Attributed], about: Mapping[str, Any]) -> None:
    """Sequences one after the other: number ``i`` has rows ``offsets[i]`` to ``offsets[i + 1]``."""
    lengths = [len(each.found.letters) for each in attributed]
    np.savez_compressed(
        path,
        name=np.array([each.place.name for each in attributed]),
        start=np.array([each.place.offset for each in attributed], dtype=np.int64),
        is_reverse=np.array([each.place.is_reverse for each in attributed], dtype=bool),
        target=np.array([each.target for each in attributed]),
        offsets=np.cumsum([0, *lengths], dtype=np.int64),
        letters=np.frombuffer("".join(each.found.letters for each in attributed).encode(), dtype="S1"),
        scores=np.concatenate([each.found.scores for each in attributed]),
        by_letter=np.concatenate([each.found.by_letter for each in attributed]),
        value=np.array([each.found.value for each in attributed]),
        baseline_value=np.array([each.found.baseline_value for each in attributed]),
        gap=np.array([each.found.gap for each in attributed]),
        about=np.array(json.dumps(dict(about))),
    )


def _draw(path: Path, attributed: Sequence[Attributed], about: Mapping[str, Any]) -> None:
    from genomix.report.attribution_figure import LogoRow, draw_attributions

    check_picture(sum(len(each.found.letters) for each in attributed))
    rows = [
        LogoRow(
            title=f"{each.place.name}   {each.target} = {each.found.value:.3f}",
            letters=each.found.letters,
            scores=each.found.scores,
            position=_positions(each.place),
        )
        for each in attributed
    ]
    draw_attributions(path, rows, label=str(about.get("method", "score")))


def _positions(place: Place) -> Callable[[int], int]:
    """Return what gives the 1-based position on the contig of an offset in the sequence."""
    return lambda offset: place.place(offset, offset + 1)[0] + 1


def _text(value: float) -> str:
    return "." if np.isnan(value) else f"{value:.6g}"
