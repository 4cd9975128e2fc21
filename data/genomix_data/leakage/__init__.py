"""What a test set shares with its training set, and splits that share nothing."""

from genomix_data.leakage.clusters import sequence_clusters
from genomix_data.leakage.report import ClassLeakage, LeakageReport, leakage_report
from genomix_data.leakage.splits import (
    chromosome_split,
    cluster_split,
    pooled,
    random_split,
    split_by_group,
)

__all__ = [
    "ClassLeakage",
    "LeakageReport",
    "chromosome_split",
    "cluster_split",
    "leakage_report",
    "pooled",
    "random_split",
    "sequence_clusters",
    "split_by_group",
]
