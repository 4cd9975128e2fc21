"""Outputs appear under their final name whole, or not at all.

A file or folder is written beside its destination under a temporary name and renamed when the block ends without an
error; an interrupted or failed run removes what it had written.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from genomix_data.errors import ConfigError, InputFileError


def refuse_inputs(output: str | os.PathLike[str], *inputs: str | os.PathLike[str] | None) -> None:
    """Raise an error if ``output`` would take the place of one of ``inputs``, under whatever name.

    Args:
        output: The file or folder to write; ``-`` is standard output, which is no input.
        inputs: What is read; None and what does not exist are passed over.

    Raises:
        ConfigError: if one of them is the file or folder to write.
    """
    final = Path(output)
    for path in inputs:
        if path is not None and final.exists() and Path(path).exists() and final.samefile(path):
            raise ConfigError(f"the output {str(final)!r} is the input itself; choose another name.")


def require_writable(output: str | os.PathLike[str]) -> None:
    """Raise an error now if ``output`` could not be written at the end of a long run; nothing is made.

    Args:
        output: The file or folder to write.

    Raises:
        InputFileError: if the nearest folder that exists on the way to it is a file, or cannot be written to.
    """
    final = Path(output).absolute()
    folder = next(parent for parent in final.parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise InputFileError(
            f"the output folder {str(folder)!r} is not {'writable' if folder.is_dir() else 'a folder'}. "
            "Choose another output path."
        )


def _parent_of(path: Path) -> Path:
    parent = path.parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputFileError(
            f"cannot create the folder {str(parent)!r} for the output: {error.strerror}. Choose another output path."
        ) from error
    if not os.access(parent, os.W_OK):
        raise InputFileError(
            f"the output folder {str(parent)!r} is not writable. Choose another output path."
        )
    return parent


@contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; it takes the final name when the block succeeds.

    The temporary name keeps the suffixes of ``path``, because writers choose formats by them. A symbolic link stays,
    and what it points to is replaced. A device or a pipe, such as ``/dev/null``, is written to as it is.

    Raises:
        InputFileError: if ``path`` is a folder, or its parent cannot be created or written.
    """
    final = Path(path)
    if final.is_dir():
        raise InputFileError(f"{str(final)!r} is a folder; give the name of the file to write.")
    if final.exists() and not final.is_file():
        yield final
        return
    if final.is_symlink():
        final = final.resolve()
    parent = _parent_of(final)
    with tempfile.TemporaryDirectory(prefix=f".{final.name}.", dir=parent) as scratch:
        temporary = Path(scratch) / final.name
        yield temporary
        mode = 0o666 & ~_umask()
        temporary.chmod(mode)
        temporary.replace(final)


@contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``; it replaces ``path`` when the block succeeds.

    Raises:
        InputFileError: if ``path`` is a file, or its parent cannot be created or written.
    """
    final = Path(path)
    if final.exists() and not final.is_dir():
        raise InputFileError(f"{str(final)!r} is a file; give the name of the folder to write.")
    parent = _parent_of(final)
    scratch = Path(tempfile.mkdtemp(prefix=f".{final.name}.", dir=parent))
    try:
        fresh = scratch / "new"
        fresh.mkdir()
        yield fresh
        _exchange(fresh, final, scratch / "old")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _exchange(fresh: Path, final: Path, old: Path) -> None:
    try:
        if final.exists():
            final.rename(old)
        fresh.rename(final)
    except BaseException:
        # Interrupted between the two renames, or the second failed: what was there comes back.
        if old.exists() and not final.exists():
            old.rename(final)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
