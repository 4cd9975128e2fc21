"""Contig names spelt in different ways: ``chr1`` and ``1``, ``chrM`` and ``MT``.

A name resolves only when one contig, and no other, can be meant.
"""

import difflib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from genomix_data.errors import GenomixError, InputFileError

_MITOCHONDRION = frozenset({"m", "mt"})


class ContigNames:
    """The contigs of a genome, to be found under any usual spelling.

    Order of precedence: the exact name; the alias map; the same name with or without ``chr`` (any case),
    where M and MT are the same. Where two contigs answer to a spelling, it resolves to neither.

    Args:
        names: The names in the FASTA.
        aliases: Pairs of names for the same contig. Of each pair, the one that is in the FASTA is the target;
            pairs of which neither is in the FASTA are ignored, so one map serves many genomes.

    Raises:
        GenomixError: if a pair of aliases names two contigs of the FASTA, or an alias leads to two contigs.

    >>> names = ContigNames(["chr1", "chr2", "chrM"])
    >>> names.resolve("1"), names.resolve("MT"), names.resolve("3")
    ('chr1', 'chrM', None)
    """

    def __init__(self, names: Iterable[str], aliases: Mapping[str, str] | None = None) -> None:
        self.names: tuple[str, ...] = tuple(names)
        self._exact = frozenset(self.names)
        self._aliases = self._read_aliases(aliases or {})
        self._by_key: dict[str, list[str]] = {}
        for name in self.names:
            self._by_key.setdefault(_key(name), []).append(name)

    def _read_aliases(self, aliases: Mapping[str, str]) -> dict[str, str]:
        targets: dict[str, str] = {}
        for left, right in aliases.items():
            if left == right:
                continue
            if left in self._exact and right in self._exact:
                raise GenomixError(
                    f"the contig map says that {left!r} and {right!r} are the same, but the FASTA has both. "
                    "Remove that line from the map."
                )
            if left not in self._exact and right not in self._exact:
                continue
            alias, target = (right, left) if left in self._exact else (left, right)
            if targets.setdefault(alias, target) != target:
                raise GenomixError(
                    f"the contig map leads from {alias!r} to both {targets[alias]!r} and {target!r}. "
                    "Keep one of the two lines."
                )
        return targets

    def resolve(self, name: str) -> str | None:
        """Return the FASTA's name for this contig, or None where there is none, or more than one."""
        if name in self._exact:
            return name
        if name in self._aliases:
            return self._aliases[name]
        candidates = self._by_key.get(_key(name), [])
        return candidates[0] if len(candidates) == 1 else None

    def resolve_all(self, names: Iterable[str]) -> dict[str, str | None]:
        """Return ``{name: name in the FASTA or None}`` for each of ``names``, in their order."""
        return {name: self.resolve(name) for name in names}

    def candidates(self, name: str) -> list[str]:
        """Return the contigs that this spelling could mean: more than one where it is ambiguous."""
        resolved = self.resolve(name)
        return [resolved] if resolved is not None else list(self._by_key.get(_key(name), []))

    def suggest(self, name: str) -> str | None:
        """Return the contig whose name is closest to ``name``, or None where nothing is close."""
        close = difflib.get_close_matches(name, self.names, n=1, cutoff=0.6)
        return close[0] if close else None

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.resolve(name) is not None

    def __len__(self) -> int:
        return len(self.names)


def _key(name: str) -> str:
    bare = name[3:] if name[:3].lower() == "chr" and len(name) > 3 else name
    return "MT" if bare.lower() in _MITOCHONDRION else bare


def read_contig_map(path: str | os.PathLike[str]) -> dict[str, str]:
    """Return the alias pairs of a file with two columns of contig names; ``#`` begins a comment line.

    The layout is that of ``bcftools annotate --rename-chrs``, tabs or spaces between the columns; which of the
    two is the FASTA's does not matter.

    Raises:
        InputFileError: if the file is missing or empty, a line has not two columns, or a name comes twice.
    """
    source = Path(path)
    try:
        lines = source.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise InputFileError(f"contig map {str(source)!r} does not exist. Check the path.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputFileError(f"contig map {str(source)!r} cannot be read: {error}.") from error
    pairs: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        fields = [] if line.startswith("#") else line.split()
        if not fields:
            continue
        if len(fields) != 2:
            raise InputFileError(
                f"{source}:{number}: a contig map has two columns, two names of a contig; got {len(fields)}."
            )
        if pairs.setdefault(fields[0], fields[1]) != fields[1]:
            raise InputFileError(f"{source}:{number}: {fields[0]!r} comes twice with different names.")
    if not pairs:
        raise InputFileError(f"contig map {str(source)!r} is empty; it needs two columns of names.")
    return pairs
