"""The token store that training reads a genome from: beside the genome, or for this process only where it is small."""

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

from genomix_data.genome import Genome
from genomix_data.index_files import name_apart
from genomix_data.token_store import TokenStore, find_store, open_store

SMALL = 1 << 25
"""Bases up to which a store takes less than a second to make, and is not left behind."""


def training_store(genome: Genome, notify: Callable[[str], object]) -> TokenStore:
    """Return the token store of a genome, built where there is none that fits.

    That of a small genome is made in the folder for temporary files and removed when the process ends, so that nothing
    is left beside a FASTA of a few megabases, and that folder may be read-only.

    Args:
        genome: An open genome of one path.
        notify: Told before a store is built that stays.

    Raises:
        TokenStoreError: if a store stays and cannot be written; the message says where else it may be.
    """
    found = find_store(genome.path)
    if found is not None:
        return found
    n_bases = sum(genome.contigs.values())
    if n_bases <= SMALL:
        return open_store(genome.path, _scratch() / name_apart(genome.path))
    notify(
        f"building the token store of {genome.path.name}, once: {n_bases:,} bases to read while training "
        "(`genomix index` does this too)"
    )
    return open_store(genome.path)


@cache
def _scratch() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="genomix-"))
    atexit.register(_remove, folder, os.getpid())
    return folder


def _remove(folder: Path, owner: int) -> None:
    # A forked worker ends before the process that made the folder and still needs it.
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)
