"""Text results: to standard output, or to a file that appears under its name when it is whole."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


@contextmanager
def text_output(output: str) -> Iterator[TextIO]:
    """Yield where to write; ``-`` is standard output."""
    from genomix_data.atomic import atomic_file

    if output == "-":
        yield sys.stdout
        sys.stdout.flush()
        return
    with atomic_file(output) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as out:
        yield out
