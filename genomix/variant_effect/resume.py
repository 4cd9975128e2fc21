"""How a run that was broken off goes on: what its journal says, and what must be the same."""

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from genomix.variant_effect.columns import Column
from genomix.variant_effect.comparison import ScoreSample
from genomix.variant_effect.contract import ScoreOptions, ScoreSummary, Status
from genomix_data.errors import ConfigError
from genomix_data.journal import Journal
from genomix_data.vcf.sink import is_stdout

LONGEST_TEXT = 200
"""Characters of a selection that the journal spells out; of a longer one it has the SHA-256."""
_NOT_IN_HEADER = ("check_ref", "sv", "ignore_contig_lengths", "exact_sample")
_HAPLOTYPE = "haplotype:"
_COUNTED = ("normalized", "spelled_out", "from_table", "from_cache", "not_in_cache", "on_haplotype")


def open_journal(
    vcf: str | os.PathLike[str] | None,
    name: str,
    out: str | os.PathLike[str] | None,
    kind: str,
    run_lines: Sequence[str],
    columns: Sequence[Column],
    selected: Sequence[object],
    options: ScoreOptions,
) -> Journal:
    """Return the journal beside an output, new or as an earlier run left it.

    Args:
        vcf: The input; None where it is made by the program itself.
        name: What the input is called; tells one from another where it is no file.
        out: The output.
        kind: Its type.
        run_lines: Header lines on how scores are made.
        columns: That are written.
        selected: Regions, targets, a table, and other names of contigs.
        options: What of them the header does not say: which records have scores, and which come back.

    Raises:
        ConfigError: where there can be no journal, or it is of another run.
    """
    if out is None or is_stdout(out) or (vcf is not None and str(vcf) == "-"):
        raise ConfigError(
            "a run can go on only from a file to a file; give an input, and -o, that are no pipes."
        )
    if kind == "p":
        raise ConfigError(
            "a Parquet file cannot be resumed; write .tsv.gz, and make it Parquet by `genomix merge`."
        )
    run: dict[str, Any] = {
        "input": [name] if vcf is None else _identity(Path(vcf)),
        "output_type": kind,
        # the command may differ in what changes no score, such as --threads; the date does
        "header": [line for line in run_lines if not line.startswith("##genomixCommand=")],
        "columns": [f"{column.key}: {column.description}" for column in columns],
        "selected": [_short(str(each)) for each in selected],
        "options": {name: getattr(options, name) for name in _NOT_IN_HEADER},
    }
    return Journal(f"{out}.resume", run)


def _short(text: str) -> str:
    return text if len(text) < LONGEST_TEXT else hashlib.sha256(text.encode()).hexdigest()


def _identity(path: Path) -> list[Any]:
    if not path.exists():
        return [str(path.absolute())]
    found = path.stat()
    return [str(path.absolute()), found.st_size, found.st_mtime_ns]


def add_counts(summary: ScoreSummary, counts: Counter[str]) -> None:
    """Add what happened to the alleles of a block; see `genomix.variant_effect.plan.Work`."""
    for name in _COUNTED:
        setattr(summary, name, getattr(summary, name) + counts[name])
    for name, count in counts.items():
        if name.startswith(_HAPLOTYPE):
            reason = name.removeprefix(_HAPLOTYPE)
            summary.haplotype_skipped[reason] = summary.haplotype_skipped.get(reason, 0) + count


def state_of(summary: ScoreSummary, sample: ScoreSample, n_records: int, seconds: float) -> dict[str, Any]:
    """Return where a run stands: ``n_records`` of the input are done, in so many seconds since it went on."""
    return {
        "records": n_records,
        "summary": {
            **{
                name: getattr(summary, name)
                for name in ("records", "dropped", "no_alt", "windows", *_COUNTED)
            },
            "by_status": {status.value: count for status, count in summary.by_status.items()},
            "haplotype_skipped": summary.haplotype_skipped,
            "seconds": summary.seconds + seconds,
        },
        "sample": sample.to_json(),
    }


def restore(journal: Journal, summary: ScoreSummary, sample: ScoreSample, first: int) -> int:
    """Set summary and sample to where the journal stands, and return the number of the next record.

    Args:
        journal: Open.
        summary: Of the run.
        sample: Likewise.
        first: Number of the first record of all.
    """
    if journal.state is None:
        return first
    state = journal.state
    found: dict[str, Any] = dict(state["summary"])
    summary.by_status = {Status(name): count for name, count in found.pop("by_status").items()}
    for name, value in found.items():
        setattr(summary, name, value)
    summary.resumed = summary.records
    sample.restore(state["sample"])
    return int(state["records"])
