from typing import Any

import numpy as np
import pytest
import torch

from genomix_data.datamodules import OrderedData
from genomix_data.errors import SequenceTooLongError
from genomix_data.table_dataset import LabelledSequences, encode_sequences, pad_right
from genomix_data.tokenizers import CharTokenizer

TOKENIZER = CharTokenizer()
SEQUENCES = ["ACGT", "GG", "TTTAC", "acgtn", "C", "GATTACA", "CCCC"]


def dataset(**options: Any) -> LabelledSequences:
    ids, _ = encode_sequences(SEQUENCES, TOKENIZER, 10, too_long="error", source="x")
    return LabelledSequences(ids, np.arange(len(SEQUENCES)), TOKENIZER, seed=5, **options)


def batches(**options: Any) -> list[tuple[list[Any], ...]]:
    data = OrderedData(dataset(rc_augment=True), batch_size=3, **options)
    return [tuple(part.tolist() for part in batch) for batch in data.train_dataloader()]


def test_a_run_that_starts_in_the_middle_sees_the_same_batches() -> None:
    whole = batches(stop=9)
    assert [len(batch[2]) for batch in whole] == [3, 3, 1] * 3
    assert batches(start=4, stop=9) == whole[4:]
    for epoch in range(3):
        labels = [label for batch in whole[3 * epoch : 3 * epoch + 3] for label in batch[2]]
        assert sorted(labels) == list(range(7))


def test_without_a_stop_it_is_the_rest_of_the_epoch() -> None:
    whole = batches(stop=9)
    assert batches() == whole[:3]
    assert batches(start=4) == whole[4:6]


def test_worker_processes_change_nothing() -> None:
    assert batches(stop=5, num_workers=2) == batches(stop=5)


def test_rows_are_padded_on_the_right_and_know_their_lengths() -> None:
    ids, lengths = pad_right([TOKENIZER.encode("ACG"), TOKENIZER.encode("T")], TOKENIZER.pad_id)
    assert lengths.tolist() == [3, 1]
    assert ids.dtype == torch.int64
    assert ids[1].tolist() == [int(TOKENIZER.encode("T")[0]), TOKENIZER.pad_id, TOKENIZER.pad_id]


def test_about_half_of_the_sequences_are_flipped_and_labels_stay_with_them() -> None:
    plain, flipped = dataset(), dataset(rc_augment=True)
    changed = 0
    for number in range(20 * len(SEQUENCES)):
        (a, label_a), (b, label_b) = plain[number], flipped[number]
        assert label_a == label_b
        changed += SEQUENCES[label_a] == "GATTACA" and a.tolist() != b.tolist()
    assert 4 <= changed <= 16


def test_a_sequence_too_long_is_named_or_cut() -> None:
    with pytest.raises(SequenceTooLongError, match=r"train.csv: sequence 6 has 7 bases.*l_max=5.*1 of 7"):
        encode_sequences(SEQUENCES, TOKENIZER, 5, too_long="error", source="train.csv")
    ids, n_cut = encode_sequences(SEQUENCES, TOKENIZER, 5, too_long="truncate", source="train.csv")
    assert n_cut == 1
    assert TOKENIZER.decode(ids[5]) == "GATTA"
    assert TOKENIZER.decode(ids[3]) == "ACGTN"
