"""Benchmark data sets by name, from local files; nothing is downloaded."""

from genomix_data.benchmarks.check import CheckReport, check_benchmark
from genomix_data.benchmarks.find import find_benchmark
from genomix_data.benchmarks.load import Benchmark, load_benchmark, load_folder
from genomix_data.benchmarks.registry import BenchmarkSet, benchmark_sets, get_benchmark

__all__ = [
    "Benchmark",
    "BenchmarkSet",
    "CheckReport",
    "benchmark_sets",
    "check_benchmark",
    "find_benchmark",
    "get_benchmark",
    "load_benchmark",
    "load_folder",
]
