import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from genomix.checkpoint.native import save_model
from genomix.heads.classifier import SequenceClassifier
from genomix.inference.predict import Predictions, load_head_model, predict
from genomix.inference.prediction_files import prediction_columns, write_tsv
from genomix.models.registry import build_model
from genomix_data.errors import CheckpointError, InputFileError
from genomix_data.tokenizers import CharTokenizer
from tests.genomix.training_helpers import letters, tiny_model

TEXTS = [letters(n, n) for n in (5, 30, 1, 64, 12, 30)]


def save(folder: Path, n_classes: int = 3, **head: Any) -> Path:
    torch.manual_seed(0)
    model = SequenceClassifier(build_model(tiny_model(initializer_range=0.3).config), n_classes)
    return save_model(model, folder, tokenizer=CharTokenizer(), head=head, provenance={}, card="a test")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "table.csv"
    path.write_text("id,dna\n" + "".join(f"{i},{text}\n" for i, text in enumerate(TEXTS)))
    return path


def test_rows_come_back_in_their_order(tmp_path: Path, table: Path) -> None:
    folder = save(tmp_path / "model", class_names=["x", "y", "z"])
    found = predict(folder, table, sequence_column="dna", batch_size=2)
    assert found.class_names == ("x", "y", "z")
    model = load_head_model(folder).classifier
    for text, row in zip(TEXTS, found.probabilities, strict=True):
        ids = torch.tensor(CharTokenizer().encode(text)).long()[None]
        with torch.inference_mode():
            expected = model(ids).double().softmax(1)[0].numpy()
        np.testing.assert_allclose(row, expected, atol=1e-6)
    assert len({tuple(row.round(6)) for row in found.probabilities}) > 3, "the model tells them apart"


def test_classes_without_names_are_numbered(tmp_path: Path, table: Path) -> None:
    assert predict(save(tmp_path / "model"), table, sequence_column="dna").class_names == ("0", "1", "2")


def test_a_head_that_does_not_fit_its_names_is_refused(tmp_path: Path, table: Path) -> None:
    with pytest.raises(CheckpointError, match="names 2 classes but has 3 outputs"):
        predict(save(tmp_path / "model", class_names=["x", "y"]), table)


def test_a_missing_column_is_named(tmp_path: Path, table: Path) -> None:
    with pytest.raises(InputFileError, match="sequence"):
        predict(save(tmp_path / "model"), table)


def test_the_table_that_is_written() -> None:
    out = io.StringIO()
    found = Predictions(np.array([[0.25, 0.75], [1.0, 0.0]]), ("a", "b"), 0, "")
    write_tsv(out, prediction_columns(found))
    assert out.getvalue() == "row\tpredicted\tp_a\tp_b\n1\tb\t0.25\t0.75\n2\ta\t1\t0\n"
    labelled = io.StringIO()
    write_tsv(labelled, prediction_columns(found, truth=np.array([1, 1])))
    assert labelled.getvalue().splitlines()[2] == "2\tb\ta\t1\t0"
