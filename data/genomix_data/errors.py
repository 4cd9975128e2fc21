"""Errors that a user can mend. Each message says what came, what was expected and what to do.

The command line turns every `GenomixError` into one line on stderr and exit code 3.
"""

from collections.abc import Iterable


class GenomixError(ValueError):
    """Something in the input, and not in the program, is wrong."""


class InputFileError(GenomixError):
    """A file is missing, empty, damaged, or not of the format that it should be."""


class ReferenceMismatchError(GenomixError):
    """Variants or intervals do not belong to this genome: wrong assembly or wrong contig names."""


class ConfigError(GenomixError):
    """A configuration key or value is not what the program knows."""


class CheckpointError(GenomixError):
    """A checkpoint is damaged, or belongs to another model."""


class DiskFullError(GenomixError):
    """An output does not fit on its disk; what was there before is whole."""


class SequenceTooLongError(GenomixError):
    """A sequence has more tokens than the model was built for."""


def preview(names: Iterable[object], limit: int = 5) -> str:
    """Return up to ``limit`` names for an error message, and how many more there are."""
    items = [str(name) for name in names]
    shown = ", ".join(items[:limit])
    return shown if len(items) <= limit else f"{shown}, ... ({len(items)} in all)"
