"""What ``genomix score`` says at its end, and the report that it writes."""

import json
from pathlib import Path

from genomix.provenance import run_record
from genomix.variant_effect import ScoreSummary
from genomix.variant_effect.comparison import ExactComparison
from genomix_cli.console import say
from genomix_data.atomic import atomic_file


def say_summary(summary: ScoreSummary) -> None:
    """Say what was done, and everything that was not, on stderr."""
    say(
        f"{summary.records:,} records, {summary.scored:,} of {summary.alleles:,} alleles scored in "
        f"{summary.seconds:.1f} s ({summary.alleles_per_second:,.0f} alleles/s, {summary.windows:,} windows of "
        f"{summary.window:,} bp)"
    )
    if summary.against_exact is not None:
        say(_told_comparison(summary.against_exact))
    unscored = [
        f"{status.value} {count:,}"
        for status, count in sorted(summary.by_status.items())
        if status.value != "OK"
    ]
    if summary.no_alt:
        unscored.append(f"no ALT {summary.no_alt:,}")
    if unscored:
        say(f"not scored: {', '.join(unscored)}", style="yellow")
    if summary.resumed:
        say(f"of these, {summary.resumed:,} records had been scored before the run was broken off")
    if summary.from_table:
        say(f"looked up in the table: {summary.from_table:,} alleles")
    if summary.from_cache or summary.not_in_cache:
        say(
            f"from the cache: {summary.from_cache:,} alleles; scored and added to it: {summary.not_in_cache:,}"
        )
    if summary.spelled_out:
        say(f"symbolic alleles spelled out (--sv): {summary.spelled_out:,}")
    if summary.on_haplotype or summary.haplotype_skipped:
        told = _told(summary.haplotype_skipped, 6) or "none"
        say(f"scored on a haplotype: {summary.on_haplotype:,} alleles; not, or without a neighbour: {told}")
    if summary.normalized:
        say(f"scored in another spelling (--normalize): {summary.normalized:,} alleles")
    if summary.faults:
        say(f"the VCF breaks its specification (carried as it came): {_told(summary.faults)}", style="yellow")
    if summary.dropped:
        say(f"dropped for a REF mismatch: {summary.dropped:,} records", style="yellow")
    if summary.output:
        say(f"written: {summary.output}")


def write_report(path: Path, summary: ScoreSummary, model: Path, fasta: Path) -> None:
    """Write the summary with versions, machine and command as JSON."""
    record = run_record(model=str(model), fasta=str(fasta), summary=summary.to_dict())
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _told(faults: dict[str, int], limit: int = 3) -> str:
    shown = [f"{fault} ({count:,})" for fault, count in list(faults.items())[:limit]]
    return "; ".join(shown) + (
        f"; and {len(faults) - limit} more, see --report" if len(faults) > limit else ""
    )


def _told_comparison(found: ExactComparison) -> str:
    if found.pearson is None or found.spearman is None or found.largest_difference is None:
        return f"{found.alleles:,} alleles were scored in exact mode too: too few, or too much alike, to correlate"
    return (
        f"beside exact mode, {found.alleles:,} of these alleles: Pearson {found.pearson:.4f}, Spearman "
        f"{found.spearman:.4f}, largest difference of GMX_LLR {found.largest_difference:.3g}"
    )
