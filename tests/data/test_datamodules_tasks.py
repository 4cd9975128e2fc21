"""The data modules of every task, on files, as Lightning uses them."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

import genomix_data
from genomix_data.alphabet import reverse_complement
from genomix_data.corpus import load_corpus
from genomix_data.datamodules import (
    ClassificationData,
    MultiLabelData,
    PretrainingData,
    RegressionData,
    VariantData,
)
from genomix_data.errors import ConfigError, ReferenceMismatchError, SequenceTooLongError
from genomix_data.genome import Genome
from genomix_data.holdout import HeldOut
from genomix_data.lm_batch import IGNORED, NO_TARGET
from genomix_data.table_dataset import LabelledBatch, TargetBatch
from genomix_data.tables import SequenceTable, read_table
from genomix_data.tables.targets import TargetKind, TargetTable, read_target_table
from genomix_data.tables.variants import VariantTable, read_variant_table, read_variant_vcf
from genomix_data.tokenizers import ByteTokenizer, CharTokenizer
from genomix_data.variant_dataset import VariantBatch
from tests.data.corpus_helpers import letters, write_fasta

TOKENIZER = CharTokenizer()
FASTEST: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


class Recorder(LightningModule):
    """A model of one number that remembers its batches."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.train_batches: list[Any] = []
        self.valid_batches: list[Any] = []
        self.test_batches: list[Any] = []

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.train_batches.append(batch)
        return self.weight * 1.0

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.valid_batches.append(batch)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.test_batches.append(batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.filterwarnings("ignore")
def test_a_lightning_fit_of_several_epochs_sees_every_window_once_in_each(tmp_path: Path) -> None:
    fasta = write_fasta(tmp_path / "g.fa", chr1=letters(500, 1), chr2=letters(200, 2).lower())
    corpus = load_corpus([fasta], ByteTokenizer(case="upper"), HeldOut(fraction=0.1))
    data = PretrainingData(corpus, 16, batch_size=8, seed=0, jitter=False, soft_mask_weight=0.1)
    model = Recorder()
    trainer = Trainer(max_epochs=3, num_sanity_val_steps=0, **FASTEST)
    trainer.fit(model, datamodule=data)
    trainer.test(model, datamodule=data, verbose=False)
    n = len(data.dataset)
    per_epoch = -(-n // 8)
    assert len(model.train_batches) == 3 * per_epoch
    epochs = [
        torch.cat([batch.inputs for batch in model.train_batches[i * per_epoch : (i + 1) * per_epoch]])
        for i in range(3)
    ]
    rows = [[tuple(row) for row in epoch.tolist()] for epoch in epochs]
    assert sorted(rows[0]) == sorted(rows[1]) == sorted(rows[2])
    assert rows[0] != rows[1] != rows[2]
    assert len(set(rows[0])) == n
    assert all(batch.weights is not None for batch in model.train_batches)
    for batches, split in ((model.valid_batches[:], "valid"), (model.test_batches, "test")):
        n_scored = sum(int((batch.targets != NO_TARGET).sum()) for batch in batches)
        n_regions = len(corpus.regions[split])
        assert n_scored == (corpus.n_bases(split) - n_regions) * (3 if split == "valid" else 1)


def test_pretraining_on_ranks_shares_held_out_windows_too(tmp_path: Path) -> None:
    fasta = write_fasta(tmp_path / "g.fa", chr1=letters(700, 1))
    corpus = load_corpus([fasta], TOKENIZER, HeldOut(fraction=0.1))
    n_scored = []
    for world_size in (1, 2, 4):
        ranks = [
            PretrainingData(corpus, 16, batch_size=4, seed=0, rank=rank, world_size=world_size)
            for rank in range(world_size)
        ]
        loaders = [data.test_dataloader() for data in ranks]
        assert len({len(loader) for loader in loaders}) == 1
        n_scored.append(sum(int((b.targets != NO_TARGET).sum()) for loader in loaders for b in loader))
    assert n_scored == [69, 69, 69]


def tables(folder: Path) -> dict[str, SequenceTable]:
    found: dict[str, SequenceTable] = {}
    for part, n in (("train", 7), ("valid", 3), ("test", 4)):
        rows = [f"{letters(5 + i % 3, 10 * n + i)},{'ab'[i % 2]}" for i in range(n)]
        path = folder / f"{part}.csv"
        path.write_text("\n".join(["sequence,label", *rows]) + "\n")
        found[part] = read_table(path)
    return found


def test_classes_are_shuffled_in_training_and_in_order_elsewhere(tmp_path: Path) -> None:
    parts = tables(tmp_path)
    data = ClassificationData(parts, TOKENIZER, 10, batch_size=2, seed=0)
    assert data.class_names == ("a", "b")
    for part, loader in (("valid", data.val_dataloader()), ("test", data.test_dataloader())):
        batches: list[LabelledBatch] = list(loader)
        shown = [
            TOKENIZER.decode(row[:length].numpy())
            for batch in batches
            for row, length in zip(batch.ids, batch.lengths, strict=True)
        ]
        assert shown == parts[part].sequences
        assert torch.cat([batch.labels for batch in batches]).tolist() == parts[part].labels.tolist()
    train = [batch.labels for batch in data.train_dataloader()]
    assert torch.cat(train).bincount().tolist() == [4, 3]


def test_sequences_too_long_are_cut_and_counted_or_refused(tmp_path: Path) -> None:
    parts = tables(tmp_path)
    with pytest.raises(SequenceTooLongError, match=r"train.csv: sequence \d has \d bases"):
        ClassificationData(parts, TOKENIZER, 5, batch_size=2, seed=0)
    data = ClassificationData(parts, TOKENIZER, 5, batch_size=2, seed=0, too_long="truncate")
    assert data.n_truncated == sum(len(s) > 5 for table in parts.values() for s in table.sequences)


def test_parts_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    parts = tables(tmp_path)
    with pytest.raises(ConfigError, match="the parts are all; there must be train"):
        ClassificationData({"all": parts["train"]}, TOKENIZER, 10, batch_size=2, seed=0)
    other = SequenceTable(["ACGT"], np.zeros(1, np.int64), ("a", "c"), "x.csv")
    with pytest.raises(ConfigError, match="test has the classes a, c, train has a, b"):
        ClassificationData({**parts, "test": other}, TOKENIZER, 10, batch_size=2, seed=0)
    with pytest.raises(ConfigError, match=r"train.csv is a classification task, not regression"):
        RegressionData(parts, TOKENIZER, 10, batch_size=2, seed=0)
    without = ClassificationData({"train": parts["train"]}, TOKENIZER, 10, batch_size=2, seed=0)
    with pytest.raises(ConfigError, match="no validation samples"):
        without.val_dataloader()


def target_table(folder: Path, name: str, kind: TargetKind) -> TargetTable:
    path = folder / f"{name}.csv"
    rows = ["ACGTA,1,0", "GGG,,1", "TTTTTT,0,0"]
    path.write_text("\n".join(["sequence,x,y", *rows]) + "\n")
    return read_target_table(path, kind)


@pytest.mark.parametrize(
    ("kind", "module"), [("regression", RegressionData), ("multi-label", MultiLabelData)]
)
def test_targets_keep_their_rows_and_missing_ones_are_nan(
    tmp_path: Path, kind: TargetKind, module: type[RegressionData]
) -> None:
    parts = {part: target_table(tmp_path, part, kind) for part in ("train", "test")}
    data = module(parts, TOKENIZER, 10, batch_size=2, seed=1, rc_augment=True)
    assert data.target_names == ("x", "y")
    first, second = list(data.test_dataloader())
    assert isinstance(first, TargetBatch)
    assert first.targets.dtype == torch.float32
    assert torch.isnan(first.targets[1, 0])
    assert first.targets[0].tolist() == [1, 0]
    assert second.lengths.tolist() == [6]
    for batch in data.train_dataloader():
        for ids, length, targets in zip(batch.ids, batch.lengths, batch.targets, strict=True):
            text = TOKENIZER.decode(ids[:length].numpy())
            row = next(
                i for i, s in enumerate(parts["train"].sequences) if text in (s, reverse_complement(s))
            )
            np.testing.assert_array_equal(targets.numpy(), parts["train"].targets[row])


def variant_files(folder: Path) -> tuple[str, Genome, VariantTable]:
    text = letters(300, 8)
    genome = Genome(write_fasta(folder / "g.fa", chr1=text))
    base, wrong = text[100], "A" if text[2] != "A" else "C"
    lines = [
        "chrom,pos,ref,alt,class,score",
        f"chr1,101,{base},{'A' if base != 'A' else 'C'},LOF,-2.5",
        f"chr1,101,{base},{base}GG,FUNC,",
        f"1,60,{text[59:63]},{text[59]},LOF,0.25",
        f"chr1,3,{wrong},{text[2]},FUNC,1",
        "chr9,5,A,C,FUNC,1",
    ]
    path = folder / "v.csv"
    path.write_text("\n".join(lines) + "\n")
    return text, genome, read_variant_table(path, "class", score_column="score")


def test_variants_come_as_windows_of_equal_length(tmp_path: Path) -> None:
    text, genome, table = variant_files(tmp_path)
    data = VariantData({"train": table, "test": table}, genome, TOKENIZER, 40, batch_size=8, seed=0)
    assert data.class_names == ("FUNC", "LOF")
    assert data.skipped["test"] == {"REF is not what the genome has": 1, "the genome has no such contig": 1}
    (batch,) = list(data.test_dataloader())
    assert isinstance(batch, VariantBatch)
    assert batch.labels.tolist() == [1, 0, 1]
    assert batch.lengths.tolist() == [40, 40, 40]
    np.testing.assert_array_equal(batch.scores.numpy(), np.array([-2.5, np.nan, 0.25], np.float32))
    refs, alts = ([TOKENIZER.decode(row.numpy()) for row in part] for part in (batch.ref, batch.alt))
    snv, insertion, deletion = (table.variants[i] for i in range(3))
    assert refs[0] == text[80:120]
    assert alts[0] == text[80:100] + snv.alt + text[101:120]
    assert alts[1] == text[80:100] + insertion.alt + text[101:118]
    assert refs[2] == text[39:79]
    assert alts[2] == text[39:59] + deletion.alt + text[63:82]


def test_pairs_are_turned_round_together_and_workers_change_nothing(tmp_path: Path) -> None:
    text, genome, table = variant_files(tmp_path)

    def run(**options: Any) -> list[Any]:
        data = VariantData({"train": table}, genome, TOKENIZER, 40, batch_size=2, seed=0, stop=20, **options)
        return [[part.tolist() for part in (b.ref, b.alt, b.labels)] for b in data.train_dataloader()]

    flipped = run(rc_augment=True)
    assert flipped == run(rc_augment=True, num_workers=1)
    strands = set()
    for ref, alt, _ in flipped:
        for r, a in zip(ref, alt, strict=True):
            is_reverse = TOKENIZER.decode(r) not in text
            strands.add(is_reverse)
            pair = [TOKENIZER.decode(ids) for ids in (r, a)]
            one, other = map(reverse_complement, pair) if is_reverse else pair
            assert one in text
            assert other not in text
            assert one[:20] == other[:20]
    assert strands == {False, True}


def test_variants_of_a_vcf(tmp_path: Path) -> None:
    genome = Genome(write_fasta(tmp_path / "g.fa", chr1="ACGT" * 30))
    path = tmp_path / "v.vcf"
    path.write_text(
        "##fileformat=VCFv4.2\n##contig=<ID=chr1,length=120>\n"
        '##INFO=<ID=CLASS,Number=1,Type=String,Description="class">\n'
        "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
        "chr1\t50\t.\tC\tT\t.\t.\tCLASS=LOF\nchr1\t51\t.\tG\tA\t.\t.\tCLASS=FUNC\n"
    )
    data = VariantData(
        {"train": read_variant_vcf(path, "CLASS")}, genome, ByteTokenizer(), 16, batch_size=1, seed=3
    )
    seen = {(bytes(b.ref[0].tolist()), bytes(b.alt[0].tolist())) for b in data.train_dataloader()}
    assert seen == {(b"CGTACGTACGTACGTA", b"CGTACGTATGTACGTA"), (b"GTACGTACGTACGTAC", b"GTACGTACATACGTAC")}


def test_variants_of_another_genome_are_refused(tmp_path: Path) -> None:
    _, _, table = variant_files(tmp_path)
    other = Genome(write_fasta(tmp_path / "other.fa", chrX=letters(100)))
    with pytest.raises(ReferenceMismatchError, match=r"none of the 5 variants .*no such contig: 5"):
        VariantData({"train": table}, other, TOKENIZER, 40, batch_size=1, seed=0)


def test_a_rank_without_a_sample_gets_one_that_does_not_count(tmp_path: Path) -> None:
    _, genome, table = variant_files(tmp_path)
    parts = tables(tmp_path)
    options: dict[str, Any] = {"batch_size": 4, "seed": 0, "rank": 3, "world_size": 4}
    classes = ClassificationData(parts, TOKENIZER, 10, **options)
    targets = RegressionData(
        {part: target_table(tmp_path, "t", "regression") for part in ("train", "test")},
        TOKENIZER,
        10,
        **options,
    )
    variants = VariantData({"train": table}, genome, TOKENIZER, 40, **options)
    # 7, 3 and 3 samples in batches of 4: the last rank has none in the last batch.
    assert [batch.labels.tolist() for batch in classes.train_dataloader()][1] == [IGNORED]
    (batch,) = list(targets.test_dataloader())
    assert torch.isnan(batch.targets).all()
    assert [batch.labels.tolist() for batch in variants.train_dataloader()] == [[IGNORED]]


def test_nothing_else_of_the_data_package_imports_lightning() -> None:
    package = Path(genomix_data.__file__).parent
    users = {
        path.relative_to(package).parts[0]
        for path in package.rglob("*.py")
        if re.search(r"^\s*(from|import) lightning", path.read_text(), re.MULTILINE)
    }
    assert users == {"datamodules"}
