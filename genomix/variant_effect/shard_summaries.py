"""Summaries of shards: their sum is that of the whole, and one beside a shard on disk says that the shard is done."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from genomix.variant_effect.comparison import ExactComparison
from genomix.variant_effect.contract import ScoreSummary, Status
from genomix_data.atomic import atomic_file

_ADDED = (
    "records",
    "dropped",
    "no_alt",
    "normalized",
    "spelled_out",
    "from_table",
    "from_cache",
    "not_in_cache",
    "on_haplotype",
    "resumed",
    "windows",
)


def sum_of(summaries: Sequence[ScoreSummary], exact_sample: int) -> ScoreSummary:
    """Return the summary of a whole from those of its shards, in order.

    Args:
        summaries: At least one.
        exact_sample: Of the run; see `ScoreOptions`.
    """
    # faults are those of the first records of the file, which the first shard has
    whole = replace(summaries[0], by_status={}, haplotype_skipped={})
    for name in _ADDED:
        setattr(whole, name, sum(getattr(each, name) for each in summaries))
    for each in summaries:
        for status, count in each.by_status.items():
            whole.by_status[status] = whole.by_status.get(status, 0) + count
        for reason, count in each.haplotype_skipped.items():
            whole.haplotype_skipped[reason] = whole.haplotype_skipped.get(reason, 0) + count
    compared = [each.against_exact for each in summaries if each.against_exact is not None]
    whole.against_exact = ExactComparison.together(compared, exact_sample) if compared else None
    return whole


def write_summary(path: str, summary: ScoreSummary) -> None:
    """Write the summary of a shard beside it, once the shard is whole."""
    with atomic_file(_beside(path)) as temporary:
        temporary.write_text(json.dumps(asdict(summary)) + "\n", encoding="utf-8")


def read_summary(path: str) -> ScoreSummary | None:
    """Return the summary beside a shard; None where the shard is not done."""
    if not (_beside(path).exists() and Path(path).exists()):
        return None
    found: dict[str, Any] = json.loads(_beside(path).read_text(encoding="utf-8"))
    found["by_status"] = {Status(name): count for name, count in found["by_status"].items()}
    if found["against_exact"] is not None:
        found["against_exact"] = ExactComparison.of(tuple(pair) for pair in found["against_exact"]["pairs"])
    return ScoreSummary(**found)


def _beside(path: str) -> Path:
    return Path(f"{path}.json")
