"""Regions as the options of bcftools give them: in words, or as a file."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from genomix_data.regions import Regions


def regions_of(text: str | None, path: str | None, *options: str) -> "Regions | None":
    """Return the regions of two options of which one may be given; None of neither.

    Args:
        text: Such as ``chr1:100-200,chr2``.
        path: Of a BED file or a table.
        options: Names of the two, for messages.

    Raises:
        ConfigError: if both are given.
    """
    from genomix_data.errors import ConfigError
    from genomix_data.regions import Regions

    if text is not None and path is not None:
        raise ConfigError(f"{options[0]} and {options[1]} were both given; use one of the two.")
    if text is not None:
        return Regions.parse(text)
    return None if path is None else Regions.read(path)
