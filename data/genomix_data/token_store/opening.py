"""Find the token store of a genome, and make it where there is none that fits: fresh, whole, of this very genome."""

import logging
import os
import shutil
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from genomix_data.atomic import atomic_file, atomic_folder
from genomix_data.errors import GenomixError, preview
from genomix_data.genome import Genome
from genomix_data.genome_source import GenomePath, genome_files
from genomix_data.index_files import INDEX_DIR_VARIABLE, name_apart
from genomix_data.token_store.build import Advance, file_sha256, write_store
from genomix_data.token_store.layout import (
    BASES,
    N_RUNS,
    SUFFIX,
    TABLE,
    SourceFile,
    StoreTable,
    StoreVersionError,
    TokenStoreError,
    damaged,
)  # fmt: skip
from genomix_data.token_store.lock import exclusive
from genomix_data.token_store.store import TokenStore

logger = logging.getLogger(__name__)

_CHUNK = 1 << 24
GenomePaths = GenomePath | Sequence[GenomePath]


def open_store(
    genome: GenomePaths,
    folder: GenomePath | None = None,
    *,
    aliases: Mapping[str, str] | None = None,
    rebuild: bool = False,
    threads: int | None = None,
    progress: Advance | None = None,
) -> TokenStore:
    """Return the store of a genome, building it where there is none, or where the genome has changed since.

    Any number of processes may ask at once: one builds, the others wait and use what it made. A store takes its final
    name only when it is whole and on the disk.

    Args:
        genome: What `Genome` takes, or the folder of a store.
        folder: Where the store is to be. By default ``NAME.gmx`` beside the file or folder, or in the folder that
            GENOMIX_INDEX_DIR names; several paths as one genome need one.
        aliases: Other names of the contigs, as for `Genome`.
        rebuild: Build it whatever is there.
        threads: Readers; by default as many as there are cores.
        progress: Called with the bases just stored and the bases in all.

    Raises:
        TokenStoreError: if ``folder`` holds something else, the store there is of another FASTA or version, none can
            be written, or the disk is full.
        InputFileError: if the genome cannot be read.
    """
    given = dict(aliases or {})
    if _is_store(genome):
        return _opened_by_path(Path(genome), given, rebuild)  # type: ignore[arg-type]
    files = genome_files(genome)
    places = _places(genome, folder)
    found = None if rebuild else _first_usable(places, files, folder is not None, given)
    if found is not None:
        return found
    if not all(file.is_file() for file in files):
        Genome(genome).close()  # says what is missing, before anything is written
    place = places[-1]
    _require_writable(place)
    with exclusive(place.with_name(f".{place.name}.lock")) as is_alone:
        found = None if rebuild else _first_usable(places, files, folder is not None, given)
        if found is not None:
            return found
        _require_replaceable(place)
        if is_alone:
            _remove_leftovers(place)
        with Genome(genome) as opened:
            logger.info("building the token store %s", place)
            with atomic_folder(place) as scratch:
                write_store(opened, scratch, threads=threads, progress=progress)
    return TokenStore(place, aliases=given)


def find_store(genome: GenomePaths, folder: GenomePath | None = None) -> TokenStore | None:
    """Return the store of a genome where there is one that fits, else None; nothing is built.

    Raises:
        TokenStoreError: if the store in ``folder`` is of another FASTA or version.
    """
    if _is_store(genome):
        return _opened_by_path(Path(genome), {}, False)  # type: ignore[arg-type]
    return _first_usable(_places(genome, folder), genome_files(genome), folder is not None, {})


def check_store(
    genome: GenomePaths, folder: GenomePath | None = None, *, progress: Advance | None = None
) -> TokenStore:
    """Return the store of a genome after reading all of it: every checksum holds, and the genome has not changed.

    Args:
        genome: The genome, or the folder of its store.
        folder: Where the store is; see `open_store`.
        progress: Called with the bytes just read and the bytes in all.

    Raises:
        TokenStoreError: if there is no store, it is damaged, or the genome is another one now.
    """
    if _is_store(genome):
        store = TokenStore(Path(genome))  # type: ignore[arg-type]
        files = [store.path.parent / source.name for source in store.table.sources]
        files = files if all(file.is_file() for file in files) else []
    else:
        files = genome_files(genome)
        places = [place for place in _places(genome, folder) if place.exists()]
        if not places:
            raise TokenStoreError(
                f"{preview(file.name for file in files)} has no token store. Make one with `genomix index`."
            )
        store = TokenStore(places[0])
    table = store.table
    _require_same(store, files, deep=True)
    for name, size in ((BASES, table.n_bases), (N_RUNS, table.n_runs_size)):
        crc = 0
        with (store.path / name).open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                crc = zlib.crc32(chunk, crc)
                if progress is not None:
                    progress(len(chunk), table.n_bases + table.n_runs_size)
        if crc != table.crc32[name]:
            raise damaged(store.path, f"the {size:,} bytes of {name} do not match their checksum")
    return store


def _is_store(genome: GenomePaths) -> bool:
    return isinstance(genome, str | os.PathLike) and (Path(genome) / TABLE).is_file()


def _opened_by_path(path: Path, aliases: dict[str, str], rebuild: bool) -> TokenStore:
    if rebuild:
        raise TokenStoreError(f"{str(path)!r} is a token store; to build it again, give the FASTA.")
    store = TokenStore(path, aliases=aliases)
    beside = [store.path.parent / source.name for source in store.table.sources]
    if all(file.is_file() for file in beside):
        _require_same(store, beside, deep=False)
    return store


def _places(genome: GenomePaths, folder: GenomePath | None) -> list[Path]:
    """Return where to look for a store; the last is where one is written."""
    if folder is not None:
        return [Path(folder).absolute()]
    paths = [genome] if isinstance(genome, str | os.PathLike) else list(genome)
    if len(paths) != 1:
        raise TokenStoreError(
            f"{preview(Path(path).name for path in paths)} as one genome need a folder for the token store: -o FOLDER."
        )
    path = Path(paths[0]).absolute()
    beside = path.with_name(path.name + SUFFIX)
    common = os.environ.get(INDEX_DIR_VARIABLE)
    return (
        [beside, Path(common).expanduser().absolute() / (name_apart(path) + SUFFIX)] if common else [beside]
    )


def _first_usable(
    places: list[Path], files: list[Path], is_chosen: bool, aliases: dict[str, str]
) -> TokenStore | None:
    for place in places:
        store = _usable(place, files, is_chosen, aliases)
        if store is not None:
            return store
    return None


def _usable(place: Path, files: list[Path], is_chosen: bool, aliases: dict[str, str]) -> TokenStore | None:
    """Return the store at ``place`` if it is whole and of the files as they are now."""
    if not (place / TABLE).is_file() or not all(file.is_file() for file in files):
        return None
    try:
        store = TokenStore(place, aliases=aliases)
    except StoreVersionError:
        raise
    except TokenStoreError as error:
        logger.warning("%s", error)
        return None
    state = _compare(store.table, files)
    if state == "other" and is_chosen:
        raise _of_another(store, files)
    if state in ("other", "changed"):
        logger.info("%s has changed since %s was built", preview(file.name for file in files), place)
        return None
    if state == "touched":
        _note_times(place, store.table, files)
    return store


def _compare(
    table: StoreTable, files: list[Path], *, deep: bool = False
) -> Literal["same", "touched", "changed", "other"]:
    """Tell whether the files are those of the store: by size and time of change, and where in doubt by SHA-256."""
    if [source.name for source in table.sources] != [file.name for file in files]:
        return "other"
    state: Literal["same", "touched"] = "same"
    for source, file in zip(table.sources, files, strict=True):
        stat = file.stat()
        if stat.st_size != source.size:
            return "changed"
        if stat.st_mtime_ns != source.mtime_ns or deep:
            if file_sha256(file) != source.sha256:
                return "changed"
            state = "same" if stat.st_mtime_ns == source.mtime_ns else "touched"
    return state


def _require_same(store: TokenStore, files: list[Path], *, deep: bool) -> None:
    state = _compare(store.table, files, deep=deep) if files else "same"
    if state == "other":
        raise _of_another(store, files)
    if state == "changed":
        raise TokenStoreError(
            f"token store {str(store.path)!r} is stale: {preview(file.name for file in files)} has changed since. "
            "Build it again with `genomix index`."
        )


def _of_another(store: TokenStore, files: list[Path]) -> TokenStoreError:
    return TokenStoreError(
        f"token store {str(store.path)!r} is of {preview(source.name for source in store.table.sources)}, not of "
        f"{preview(file.name for file in files)}. Choose another folder, or replace it with --force."
    )


def _note_times(place: Path, table: StoreTable, files: list[Path]) -> None:
    """Remember the new times of files with the same bytes, so that they need not be hashed again."""
    sources = tuple(
        SourceFile(source.name, source.size, file.stat().st_mtime_ns, source.sha256)
        for source, file in zip(table.sources, files, strict=True)
    )
    try:
        with atomic_file(place / TABLE) as temporary:
            temporary.write_text(replace(table, sources=sources).to_json(), encoding="utf-8")
    except (OSError, GenomixError) as error:
        logger.debug("the times of change in %s cannot be noted: %s", place, error)


def _require_writable(place: Path) -> None:
    reason = "the folder is read-only"
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        if os.access(place.parent, os.W_OK):
            return
    except OSError as error:
        reason = error.strerror or str(error)
    raise TokenStoreError(
        f"no token store can be written to {str(place.parent)!r}: {reason}. Choose a folder with -o, or set "
        f"{INDEX_DIR_VARIABLE} to a folder of yours in which genomix keeps its indexes."
    )


def _require_replaceable(place: Path) -> None:
    """Raise where something other than a store would be lost."""
    if not place.exists():
        return
    if not place.is_dir() or {file.name for file in place.iterdir()} - {BASES, N_RUNS, TABLE}:
        raise TokenStoreError(
            f"{str(place)!r} is there and holds something that is not a token store. Choose another folder with -o."
        )


def _remove_leftovers(place: Path) -> None:
    """Remove what a builder that was killed has left; nobody else is building, as the lock is ours."""
    for entry in place.parent.iterdir():
        if entry.name.startswith(f".{place.name}.") and entry.is_dir():
            logger.info("removing %s, which an interrupted build has left", entry)
            shutil.rmtree(entry, ignore_errors=True)
