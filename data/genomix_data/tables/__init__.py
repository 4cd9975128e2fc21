"""Labelled sequences for classification: CSV, TSV and Genomic Benchmarks folders, and their splits."""

from genomix_data.tables.genomic_benchmarks import read_genomic_benchmarks
from genomix_data.tables.splits import (
    TableSplits,
    overlap_report,
    read_splits,
    stratified_split,
    without_overlap,
)
from genomix_data.tables.table import SequenceTable, read_sequences, read_table

__all__ = [
    "SequenceTable",
    "TableSplits",
    "overlap_report",
    "read_genomic_benchmarks",
    "read_sequences",
    "read_splits",
    "read_table",
    "stratified_split",
    "without_overlap",
]
