"""A VCF scored in shards by processes of this machine, and merged: the file that one process would have written."""

import os
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from time import monotonic

from genomix.variant_effect.columns import columns_of
from genomix.variant_effect.contract import ScoreOptions, ScoreSummary
from genomix.variant_effect.merge import merge_shards
from genomix.variant_effect.output import OutputOptions, ScoreWriter
from genomix.variant_effect.processes import ScoringProcesses
from genomix.variant_effect.resume import open_journal
from genomix.variant_effect.score import Progress
from genomix.variant_effect.sharded_run import (
    SUFFIXES,
    ShardedRun,
    folder_beside,
    n_shards,
    parts_in,
    summary_of,
    survey,
    told_run,
)
from genomix.variant_effect.vcf import paths_among
from genomix_data.atomic import refuse_inputs
from genomix_data.errors import ConfigError
from genomix_data.genome import Genome
from genomix_data.vcf import open_vcf
from genomix_data.vcf.opening import RegionsLike
from genomix_data.vcf.sink import is_stdout


def score_on_processes(
    vcf: str | os.PathLike[str],
    fasta: str | os.PathLike[str],
    processes: ScoringProcesses,
    out: str | os.PathLike[str] | None,
    options: ScoreOptions | None = None,
    *,
    output: OutputOptions | None = None,
    contig_map: Mapping[str, str] | str | os.PathLike[str] | None = None,
    regions: RegionsLike | None = None,
    targets: RegionsLike | None = None,
    table: str | os.PathLike[str] | None = None,
    cache: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> ScoreSummary:
    """Score a VCF as `genomix.variant_effect.vcf.score_vcf` does, a shard in each process, and merge the shards.

    Args:
        vcf: VCF, VCF.gz or BCF; a file.
        fasta: The genome.
        processes: That have the model, and are at no other work.
        out: Where to; ``-`` or None is standard output. Until it is whole, the shards lie in a folder beside it.
        options: How variants are scored; each process has a ``device`` of its own.
        output: What is written.
        contig_map: Other names of contigs.
        regions: Only records that overlap these.
        targets: Only records whose POS is inside these.
        table: Scores that `genomix tile` computed.
        cache: Folder of scores that were computed before.
        resume: Keep what is done in a folder ``OUT.resume``, and go on from it where it is there.
        progress: Called with the number of alleles done since the last call.

    Returns:
        What was done: the sum of the shards.

    Raises:
        ConfigError: if the input cannot be read by several processes.
        ChildProcessError: if a process dies.
        GenomixError: what `score_vcf` raises.
    """
    started = monotonic()
    how, what = options or ScoreOptions(), output or OutputOptions()
    columns = columns_of(how, per_strand=what.per_strand)
    kind = what.type_for(out)
    if str(vcf) == "-" or (Path(vcf).exists() and not Path(vcf).is_file()):
        name = "standard input" if str(vcf) == "-" else repr(str(vcf))
        raise ConfigError(
            f"{name} cannot be read by several processes; give a file, or leave out --processes."
        )
    if not is_stdout(out) and out is not None:
        refuse_inputs(out, *paths_among(vcf, fasta, table, contig_map))
    keep_bcf = kind in ("b", "u") and not how.haplotypes and not how.sv
    with open_vcf(vcf, keep_bcf=keep_bcf, regions=regions, targets=targets) as reader:
        genome = Genome(fasta, contig_map=contig_map)

        def contig_length(name: str) -> int | None:
            resolved = genome.names.resolve(name)
            return None if resolved is None else genome.contigs[resolved]

        ScoreWriter(out, what, reader, contig_length, (), columns)  # raises what the output cannot be
        found = survey(reader, genome, how, what)
        # text becomes BCF at the end, when all names in it are known
        suffix = SUFFIXES["z" if kind in ("b", "u") and reader.dictionary is None else kind]
    with ExitStack() as stack:
        journal = None
        if resume:
            run_line = told_run("processes", how, processes.model_sha256, genome)
            selected = (regions, targets, table, contig_map)
            journal = open_journal(vcf, str(vcf), out, kind, [run_line], columns, selected, how)
            stack.callback(journal.close)
            folder = journal.folder
        elif is_stdout(out) or out is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        else:
            folder = Path(stack.enter_context(folder_beside(out)))
        of = n_shards(found.census.blocks, processes.n, journal)
        run = ShardedRun(
            vcf=str(vcf),
            genome=genome,
            options=how,
            output=replace(what, output_type=None, write_index=False),
            regions=regions,
            targets=targets,
            table=None if table is None else str(table),
            cache=None if cache is None else str(cache),
            parts=parts_in(folder, suffix, of, found.census),
        )
        done = run.done_before()
        missing = [number for number in range(1, of + 1) if number not in done]
        done.update(processes.score(run, missing, resume=resume, progress=progress))
        merge_shards(run.paths, out, replace(what, output_type=kind), contig_length=contig_length)
        if journal:
            journal.discard()
    return summary_of(done, found, how, out, monotonic() - started)
