"""Small genomes for the tests of training data; their token stores go to the process's own temporary folder."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from genomix_data.corpus import Corpus
from genomix_data.genome import Genome
from genomix_data.interval import Interval
from genomix_data.token_store import TokenStore
from genomix_data.tokenizers import CharTokenizer
from genomix_data.tokenizers.protocol import Tokenizer
from genomix_data.training_store import training_store


def letters(n: int, seed: int = 0) -> str:
    return "".join(np.random.default_rng(seed).choice(list("ACGT"), n))


def write_fasta(path: Path, **contigs: str) -> Path:
    path.write_text("".join(f">{name}\n{sequence}\n" for name, sequence in contigs.items()))
    return path


def corpus_of(
    train: Sequence[str],
    test: Sequence[str] = (),
    *,
    tokenizer: Tokenizer | None = None,
    more_genomes: Sequence[Sequence[str]] = (),
) -> Corpus:
    """A corpus whose contigs are whole regions: ``c0``, ``c1``, ... of the first genome, then those of the others."""
    stores: list[TokenStore] = []
    contigs: dict[str, tuple[int, str]] = {}
    regions: dict[str, list[Interval]] = {"train": [], "valid": [], "test": []}
    for number, texts in enumerate([[*train, *test], *more_genomes]):
        named = {f"c{len(contigs) + i}": text for i, text in enumerate(texts)}
        with tempfile.TemporaryDirectory() as folder:
            stores.append(training_store(Genome(write_fasta(Path(folder) / "g.fa", **named)), print))
        for i, (name, text) in enumerate(named.items()):
            contigs[name] = (number, name)
            split = "test" if number == 0 and i >= len(train) else "train"
            regions[split].append(Interval(name, 0, len(text)))
    parts = {split: tuple(part) for split, part in regions.items()}
    return Corpus(tuple(stores), contigs, parts, tokenizer or CharTokenizer())
