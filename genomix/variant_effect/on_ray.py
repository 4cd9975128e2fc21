"""A VCF scored in shards by the workers of a Ray cluster, and merged: the file that one process would have written."""

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic

from genomix.checkpoint.files import read_settings
from genomix.checkpoint.native import LoadedModel
from genomix.checkpoint.shipped import located
from genomix.variant_effect.columns import columns_of
from genomix.variant_effect.contract import ScoreOptions, ScoreSummary
from genomix.variant_effect.merge import merge_shards
from genomix.variant_effect.output import OutputOptions
from genomix.variant_effect.ray_cluster import (
    RayOptions,
    Workers,
    connected,
    hosts_of,
    import_ray,
    nodes_of,
    require_one_gpu,
    results_of,
)
from genomix.variant_effect.resume import open_journal
from genomix.variant_effect.score import language_model
from genomix.variant_effect.shard_summaries import write_summary
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
from genomix_data.errors import ConfigError, preview
from genomix_data.genome import Genome
from genomix_data.vcf import open_vcf
from genomix_data.vcf.opening import RegionsLike
from genomix_data.vcf.sink import is_stdout

SHARDS_PER_WORKER = 8
"""So that workers end at about the same time, and one that dies takes little with it."""

OnShard = Callable[[ScoreSummary, int, int], None]


def score_on_ray(
    vcf: str | os.PathLike[str],
    fasta: str | os.PathLike[str],
    model: str | os.PathLike[str],
    out: str | os.PathLike[str],
    options: ScoreOptions | None = None,
    *,
    cluster: RayOptions | None = None,
    output: OutputOptions | None = None,
    contig_map: Mapping[str, str] | str | os.PathLike[str] | None = None,
    regions: RegionsLike | None = None,
    targets: RegionsLike | None = None,
    table: str | os.PathLike[str] | None = None,
    cache: str | os.PathLike[str] | None = None,
    resume: bool = False,
    on_shard: OnShard | None = None,
) -> ScoreSummary:
    """Score a VCF as `genomix.variant_effect.vcf.score_vcf` does, in shards on a Ray cluster, and merge them.

    Every node must have genomix of one version and see input, genome, model, and the folder of the output under the
    same paths. A shard whose worker dies is scored again by another.

    Args:
        vcf: VCF, VCF.gz or BCF; a file.
        fasta: The genome.
        model: Folder of a language model, or the name of one that ships with the package.
        out: Where to; a file. Until it is whole the shards lie in a folder beside it.
        options: How variants are scored; ``device`` is ``auto``, ``cpu`` or ``cuda``.
        cluster: Where.
        output: What is written.
        contig_map: Other names of contigs.
        regions: Only records that overlap these.
        targets: Only records whose POS is inside these.
        table: Scores that `genomix tile` computed.
        cache: Folder of scores that were computed before; only where all nodes are on this machine.
        resume: Keep shards that are done in a folder ``OUT.resume``, and pass over those that are there.
        on_shard: Called as shards end, with the summary of each, how many are done, and how many there are.

    Returns:
        What was done: the sum of the shards.

    Raises:
        ConfigError: if something asked for cannot be done in shards, or no cluster answers or has room.
        GenomixError: if Ray is not installed, or workers die over a shard again and again; and what `score_vcf` raises.
    """
    started = monotonic()
    how, what, where = options or ScoreOptions(), output or OutputOptions(), cluster or RayOptions()
    _refuse_what_has_no_shards(vcf, out, what)
    import_ray()  # before minutes go by over a large file
    kind = what.type_for(out)
    keep_bcf = kind in ("b", "u") and not how.haplotypes and not how.sv
    refuse_inputs(out, *paths_among(vcf, fasta, table, contig_map))
    model_sha256 = str(read_settings(located(model)).get("weights_sha256"))
    genome = Genome(_absolute(fasta), contig_map=contig_map)
    with open_vcf(vcf, keep_bcf=keep_bcf, regions=regions, targets=targets) as reader:
        if kind in ("b", "u") and reader.dictionary is None:
            raise ConfigError(
                "text that becomes BCF cannot be scored in shards; write VCF.gz (-O z), and `bcftools view -Ob` of "
                "that."
            )
        found = survey(reader, genome, how, what)
    with ExitStack() as stack:
        journal = None
        if resume:
            run = told_run("ray", how, model_sha256, genome)
            selected = (regions, targets, table, contig_map)
            columns = columns_of(how, per_strand=what.per_strand)
            journal = open_journal(vcf, str(vcf), out, kind, [run], columns, selected, how)
            stack.callback(journal.close)
        ray, is_local = stack.enter_context(connected(where))
        workers = Workers.of(where, how.device, nodes_of(ray), is_local)
        if cache is not None:
            refuse_other_machines(hosts_of(ray))
        of = n_shards(found.census.blocks, SHARDS_PER_WORKER * workers.n, journal)
        folder = journal.folder if journal else Path(stack.enter_context(folder_beside(out)))
        run_of_shards = ShardedRun(
            vcf=_absolute(vcf),
            genome=genome,
            options=replace(
                how,
                device="cuda" if workers.gpus else "cpu",
                head=None if how.head is None else _absolute(how.head),
            ),
            output=replace(what, output_type=None, write_index=False),
            regions=regions,
            targets=targets,
            table=None if table is None else _absolute(table),
            cache=None if cache is None else str(Path(cache).absolute()),
            parts=parts_in(folder, SUFFIXES[kind], of, found.census),
        )
        job = _Job(run_of_shards, _absolute(model), socket.gethostname(), workers.threads)
        paths, done = run_of_shards.paths, run_of_shards.done_before()
        actor = workers.actor(ray, ShardWorker)
        shared = ray.put(job)
        missing = [number for number in range(1, of + 1) if number not in done]
        for number, summary in results_of(ray, lambda: actor.remote(shared), missing, workers.n):
            if journal:
                write_summary(paths[number - 1], summary)
            done[number] = summary
            if on_shard is not None:
                on_shard(summary, len(done), of)
        merge_shards(paths, out, replace(what, output_type=kind))
        if journal:
            journal.discard()
    return summary_of(done, found, how, out, monotonic() - started)


@dataclass(frozen=True, slots=True)
class _Job:
    """What a worker must know: everything but which shard."""

    run: ShardedRun
    model: str
    host: str
    threads: int


class ShardWorker:
    """Scores shards, one after the other, with a model that is loaded once; lives in a process of the cluster."""

    def __init__(self, job: _Job) -> None:
        self._job = job
        self._model: LoadedModel | None = None

    def ready(self) -> None:
        """Load the model."""
        import torch

        if self._job.run.cache is not None:
            refuse_other_machines([socket.gethostname()], self._job.host)
        if self._job.run.options.device == "cuda":
            require_one_gpu(torch.cuda.device_count())
        torch.set_num_threads(self._job.threads)
        self._model = language_model(self._job.model)

    def work(self, number: int) -> ScoreSummary:
        """Score a shard into its file."""
        assert self._model is not None, "ready() comes first"
        return self._job.run.score(number, self._model)


def _refuse_what_has_no_shards(vcf: object, out: str | os.PathLike[str] | None, what: OutputOptions) -> None:
    if str(vcf) == "-":
        raise ConfigError("standard input cannot be read by several workers; give a file that all nodes see.")
    if out is None or is_stdout(out):
        raise ConfigError(
            "shards lie beside the output until they are merged, so it cannot be standard output; give -o FILE in a "
            "folder that all nodes see."
        )
    kind = what.type_for(out)
    name = str(out).lower()
    if what.write_index and (kind in ("v", "u", "p") or (kind == "t" and not name.endswith((".gz", ".bgz")))):
        raise ConfigError("an index can be written for .vcf.gz, .bcf and .tsv.gz only; leave out -W.")


def refuse_other_machines(hosts: Sequence[str], here: str | None = None) -> None:
    """Raise a ConfigError if a cache would be shared with another machine.

    Args:
        hosts: Where workers run.
        here: Where the run was started; None: on this machine.
    """
    others = sorted({*hosts} - {here or socket.gethostname()})
    if others:
        raise ConfigError(
            "the processes that share a cache must be on one machine, and the cluster has workers on "
            f"{preview(others)}: the locks of SQLite do not hold between machines. Leave out --cache, or use a cluster "
            "of this machine."
        )


def _absolute(path: str | os.PathLike[str]) -> str:
    """Return a path as workers, which run in other folders, need it; names of shipped models stay."""
    return str(Path(path).absolute()) if Path(path).exists() else str(path)
