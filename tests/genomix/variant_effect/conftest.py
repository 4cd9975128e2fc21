"""A small real model, a small real genome file, and a naive scorer to compare with."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from genomix.checkpoint.native import LoadedModel, load_model, save_model
from genomix.models.hyenadna.config import HyenaDNAConfig
from genomix.models.hyenadna.model import HyenaDNA
from genomix_data.genome import Genome
from genomix_data.tokenizers import CharTokenizer

LETTERS = np.frombuffer(b"ACGT", np.uint8)
NaiveLlr = Callable[[bytes, bytes], float]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads cost more than they give on models of this size."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of 128 tokens of context whose predictions are far from uniform."""
    torch.manual_seed(7)
    model = HyenaDNA(HyenaDNAConfig(d_model=16, n_layers=2, d_inner=32, l_max=128))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2 and "filter" not in name:
                parameter.mul_(12.0)
    folder = tmp_path_factory.mktemp("models") / "small"
    return save_model(model, folder, tokenizer=CharTokenizer(), provenance={}, card="For tests.")


@pytest.fixture(scope="session")
def model(model_folder: Path) -> LoadedModel:
    return load_model(model_folder)


def random_bases(n: int, seed: int) -> bytes:
    return LETTERS[np.random.default_rng(seed).integers(0, 4, n)].tobytes()


@pytest.fixture(scope="session")
def sequences() -> dict[str, bytes]:
    """Contigs by name: a long one with a run of N and soft-masked bases, a short one, a mitochondrion."""
    long = bytearray(random_bases(2000, 1))
    long[700:720] = b"N" * 20
    long[900:950] = bytes(long[900:950]).lower()
    long[1200] = ord("R")
    return {"chr1": bytes(long), "chr2": random_bases(60, 2), "chrM": random_bases(300, 3)}


def write_fasta(path: Path, sequences: dict[str, bytes]) -> Path:
    path.write_bytes(b"".join(b">%s\n%s\n" % (name.encode(), letters) for name, letters in sequences.items()))
    return path


@pytest.fixture(scope="session")
def fasta(tmp_path_factory: pytest.TempPathFactory, sequences: dict[str, bytes]) -> Path:
    return write_fasta(tmp_path_factory.mktemp("genome") / "small.fa", sequences)


@pytest.fixture(scope="session")
def genome(fasta: Path) -> Genome:
    return Genome(fasta)


@pytest.fixture(scope="session")
def naive_llr(model: LoadedModel) -> NaiveLlr:
    """Two whole forwards of two windows, one base after the other; nothing of the package's scoring is used."""
    ids_of = {"A": 7, "C": 8, "G": 9, "T": 10, "N": 11}

    def log_likelihood(window: str) -> float:
        ids = torch.tensor([[ids_of[letter] for letter in window]])
        with torch.inference_mode():
            log_p = torch.log_softmax(model.language_model(ids)[0].float(), dim=-1)
        return sum(float(log_p[t - 1, ids[0, t]]) for t in range(1, len(window)) if window[t] in "ACGT")

    def llr(ref_window: bytes, alt_window: bytes) -> float:
        return log_likelihood(alt_window.decode()) - log_likelihood(ref_window.decode())

    return llr
