"""Genomes to train a language model on, read from token stores, and which of their bases are held out."""

import logging
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genomix_data.contigs import read_contig_map
from genomix_data.errors import ConfigError, InputFileError, ReferenceMismatchError, preview
from genomix_data.genome import Genome
from genomix_data.holdout import SPLITS, HeldOut, cut_n_runs, merge, split_by_bed, split_middle, subtract
from genomix_data.interval import Interval
from genomix_data.token_store import TokenStore, to_ids, token_table
from genomix_data.tokenizers.protocol import Tokenizer
from genomix_data.training_store import training_store

log = logging.getLogger(__name__)

Path = str | os.PathLike[str]


@dataclass(frozen=True)
class Corpus:
    """The letters of one or several genomes, and the intervals of each split; no base is in two splits.

    Nothing is held in memory but the tables: letters come from memory-mapped stores, which any number of worker
    processes may share.

    Args:
        stores: One a genome, in the order of the files.
        contigs: By the name of a contig in the corpus: the number of its genome, and its name there. The two names
            differ, ``mouse.fa:chr1``, where several genomes have a contig of that name.
        regions: For train, valid and test the intervals, sorted and disjoint.
        tokenizer: How letters become ids.
        fingerprints: What identifies each genome, and the MD5 (upper-case, as SAM's M5) of each contig used.
        n_removed: Training bases that were left out because they are also held out.
    """

    stores: tuple[TokenStore, ...]
    contigs: dict[str, tuple[int, str]]
    regions: dict[str, tuple[Interval, ...]]
    tokenizer: Tokenizer
    fingerprints: tuple[dict[str, Any], ...] = ()
    n_removed: int = 0

    @cached_property
    def _table(self) -> bytes:
        return token_table(self.tokenizer)

    def n_bases(self, split: str) -> int:
        """Return the number of bases in a split, N included."""
        return sum(len(region) for region in self.regions[split])

    def genome_of(self, region: Interval) -> int:
        """Return the number of the genome that a region lies in."""
        return self.contigs[region.chrom][0]

    def letters(self, region: Interval) -> NDArray[np.uint8]:
        """Return the letters of an interval as the file has them, ASCII, lower case where soft-masked; read-only."""
        number, name = self.contigs[region.chrom]
        return self.stores[number].window(name, region.start, region.end)

    def fetch(self, region: Interval) -> NDArray[np.uint8]:
        """Return the token ids of an interval."""
        return to_ids(self.letters(region), self._table)


def load_corpus(
    genomes: Sequence[Path],
    tokenizer: Tokenizer,
    held_out: HeldOut,
    *,
    longest_n_run: int = 1024,
    contig_map: Path | None = None,
    notify: Callable[[str], object] = log.info,
) -> Corpus:
    """Return genomes with their splits; a token store is built for each that has none.

    Stretches of N as long as ``longest_n_run`` (assembly gaps) are cut out of every split.

    Args:
        genomes: One path a genome: what `Genome` takes, or the folder of a token store.
        tokenizer: How letters become ids.
        held_out: Which bases are held out.
        longest_n_run: Shortest stretch of N, in bp, that is cut out.
        contig_map: File with other names of the contigs.
        notify: Told when a store is built, which takes a while.

    Raises:
        InputFileError: for a genome or BED that cannot be read, or a contig that two genomes share.
        ReferenceMismatchError: for a contig that no genome has.
        ConfigError: if a split comes out empty.
    """
    aliases = read_contig_map(contig_map) if contig_map is not None else None
    opened = [Genome(path, contig_map=aliases) for path in genomes]
    if held_out.bed is not None and len(opened) != 1:
        raise ConfigError(f"a BED file of splits belongs to one FASTA, but there are {len(opened)}.")
    stores = tuple(training_store(genome, notify) for genome in opened)
    contigs = _name_contigs(opened, stores)
    lengths = {name: stores[number].contigs[own] for name, (number, own) in contigs.items()}
    if held_out.bed is not None:
        regions = split_by_bed(held_out.bed, opened[0])
    elif held_out.valid or held_out.test:
        regions = _split_by_contigs(held_out, lengths, _Resolver(opened, contigs))
    else:
        regions = split_middle(lengths, held_out.fraction)
    parts = {split: merge(regions[split]) for split in SPLITS}
    parts["test"], _ = subtract(parts["test"], parts["valid"])
    parts["train"], n_removed = subtract(parts["train"], merge([*parts["valid"], *parts["test"]]))
    if n_removed:
        log.warning("%s training bases are also held out; they were left out of training", f"{n_removed:,}")
    used = {contigs[region.chrom] for split in SPLITS for region in parts[split]}
    fingerprints = []
    for number, (genome, store) in enumerate(zip(opened, stores, strict=True)):
        md5 = {own: store.md5(own) for own in store.contigs if (number, own) in used}
        fingerprints.append({**genome.fingerprint(), "md5": md5})
        genome.close()
    for split in SPLITS:
        pieces = []
        for region in parts[split]:
            number, own = contigs[region.chrom]
            pieces += cut_n_runs(region, stores[number].n_runs(own), longest_n_run)
        parts[split] = tuple(piece for piece in pieces if len(piece) >= 2)
        if not parts[split]:
            raise ConfigError(
                f"no base is left for the {split} split. Hold out another part: see data.holdout, "
                "data.valid_contigs and data.test_contigs, data.bed."
            )
    return Corpus(stores, contigs, parts, tokenizer, tuple(fingerprints), n_removed)


def _name_contigs(genomes: Sequence[Genome], stores: Sequence[TokenStore]) -> dict[str, tuple[int, str]]:
    """Return the contigs by names of which each is one contig: with the file before it where a name comes twice."""
    count = Counter(own for store in stores for own in store.contigs)
    places: dict[str, tuple[int, str]] = {}
    md5: dict[tuple[str, str], int] = {}
    for number, store in enumerate(stores):
        for own in store.contigs:
            name = own if count[own] == 1 else f"{genomes[number].path.name}:{own}"
            shared = md5.setdefault((own, store.md5(own)), number) if count[own] > 1 else number
            other = shared if shared != number else places.get(name, (number, own))[0]
            if other != number:
                raise InputFileError(
                    f"contig {own!r} is in both {genomes[other].path} and {genomes[number].path}, with the same bases "
                    "or under the same file name. Train on one of the files, or rename it."
                )
            places[name] = (number, own)
    return places


class _Resolver:
    """Finds contigs of the corpus by any usual spelling."""

    def __init__(self, genomes: Sequence[Genome], contigs: dict[str, tuple[int, str]]) -> None:
        self._genomes = genomes
        self._names = {place: name for name, place in contigs.items()}

    def resolve(self, wanted: str) -> str:
        if wanted in self._names.values():
            return wanted
        file, _, rest = wanted.rpartition(":")
        found = [
            self._names[number, own]
            for number, genome in enumerate(self._genomes)
            for own in [genome.names.resolve(rest if file and file == genome.path.name else wanted)]
            if own is not None
        ]
        if len(found) == 1:
            return found[0]
        if found:
            raise ReferenceMismatchError(
                f"contig {wanted!r} could be any of {preview(found)}. Write the name of the file before it."
            )
        close = next((c for g in self._genomes if (c := g.names.suggest(wanted))), None)
        hint = f" Did you mean {close!r}?" if close else ""
        raise ReferenceMismatchError(
            f"no FASTA has a contig {wanted!r}; there are {preview(self._names.values())}.{hint}"
        )


def _split_by_contigs(
    held_out: HeldOut, lengths: dict[str, int], resolver: _Resolver
) -> dict[str, list[Interval]]:
    chosen: dict[str, list[str]] = {}
    for split, wanted in (("valid", held_out.valid), ("test", held_out.test), ("train", held_out.train)):
        chosen[split] = [resolver.resolve(name) for name in wanted or ()]
    if held_out.train is None:
        taken = {*chosen["valid"], *chosen["test"]}
        chosen["train"] = [chrom for chrom in lengths if chrom not in taken]
    for a, b in (("train", "valid"), ("train", "test"), ("valid", "test")):
        both = set(chosen[a]) & set(chosen[b])
        if both:
            raise ConfigError(
                f"contig {preview(sorted(both))} is in both {a} and {b}; a base belongs to one split."
            )
    return {split: [Interval(chrom, 0, lengths[chrom]) for chrom in chosen[split]] for split in SPLITS}
