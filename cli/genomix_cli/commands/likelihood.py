"""``genomix likelihood``: how likely a model finds sequences."""

from typing import Annotated, Literal

import typer

from genomix_cli.model_input import (
    DEFAULT_MODEL,
    DeviceOption,
    DtypeOption,
    ModelOption,
    PrecisionLossOption,
    QuietOption,
)


def command(
    fasta: Annotated[str, typer.Argument(metavar="IN.fa", help="FASTA, gzip ok; - is standard input.")],
    model: ModelOption = DEFAULT_MODEL,
    output: Annotated[str, typer.Option("-o", "--output", help="TSV to write; - is standard output.")] = "-",
    per_token: Annotated[
        bool, typer.Option("--per-token", help="A row a letter instead of a row a sequence.")
    ] = False,
    by_position: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="A row for each N positions from the first letter on, over all sequences, instead.",
            show_default=False,
        ),
    ] = None,
    strand: Annotated[
        Literal["forward", "both"], typer.Option(help="Both averages with the reverse complement.")
    ] = "forward",
    bos: Annotated[
        bool,
        typer.Option("--bos", help="Put a beginning-of-sequence token in front: scores the first letter."),
    ] = False,
    count_n: Annotated[bool, typer.Option("--count-n", help="Let N count as a letter.")] = False,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Sequences at once; default: by memory.")
    ] = None,
    chunk: Annotated[int, typer.Option(min=1, help="Tokens at a time of long sequences.")] = 8192,
    position_scale: Annotated[
        float | None,
        typer.Option(
            help="StripedHyena 2 beyond its context: divide rotary positions by this; default: as stored.",
            show_default=False,
        ),
    ] = None,
    rope_base: Annotated[
        float | None,
        typer.Option(
            help="Likewise: base of the rotary frequencies; default: as stored.", show_default=False
        ),
    ] = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "stored",
    allow_precision_loss: PrecisionLossOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write the log-likelihood (nats), perplexity and bits per base of each sequence of a FASTA.

    The first letter has nothing before it and does not count; nor does N. Sequences of any length take bounded memory.

    Examples:

        [bold]genomix likelihood genes.fa -m MODEL -o genes.tsv[/bold]

        [bold]genomix likelihood long.fa -m MODEL --by-position 8192 --position-scale 4[/bold]
    """
    from collections.abc import Iterator
    from functools import partial

    from genomix.inference.fasta import read_fasta
    from genomix.inference.limits import check_length
    from genomix.inference.score_sequences import PositionSums, likelihoods
    from genomix.models.stripedhyena2.positions import change_positions
    from genomix_cli.console import progress, say
    from genomix_cli.model_input import load
    from genomix_cli.text_output import text_output
    from genomix_data.alphabet import reverse_complement
    from genomix_data.atomic import refuse_inputs
    from genomix_data.errors import ConfigError

    if per_token and by_position is not None:
        raise ConfigError("--per-token and --by-position write different tables; give one of them.")
    if (per_token or by_position is not None) and strand == "both":
        name = "--per-token" if per_token else "--by-position"
        raise ConfigError(f"{name} writes one strand; leave out --strand both.")
    refuse_inputs(output, fasta)
    loaded, where = load(model, device, dtype, allow_precision_loss)
    change_positions(loaded.language_model, position_scale=position_scale, rope_base=rope_base)

    def strands() -> Iterator[tuple[tuple[str, str], str]]:
        for name, letters in read_fasta(fasta):
            check_length(
                loaded.config, len(letters) + bos, f"{name} of {len(letters):,} bp", "Cut it into pieces."
            )
            yield (name, letters), letters
            if strand == "both":
                yield (name, letters), reverse_complement(letters)

    score = partial(
        likelihoods,
        loaded.language_model,
        loaded.tokenizer,
        prepend_bos=bos,
        count_n=count_n,
        batch_size=batch_size,
        device=where,
        chunk=chunk,
    )
    n_sequences, n_scored, total = 0, 0, 0.0
    sums = None if by_position is None else PositionSums(by_position)
    with text_output(output) as out, progress("scoring", unit="bp", quiet=quiet) as bar:
        if per_token:
            out.write("name\tposition\tbase\tlog_prob\n")
        elif sums is None:
            out.write(
                "name\tlength\tn_scored\tlog_likelihood\tmean_log_likelihood\tperplexity\tbits_per_base\n"
            )
        scores = iter(score(strands()))
        for found in scores:
            name, letters = found.key
            n, likelihood = found.n_scored, found.log_likelihood
            if strand == "both":
                likelihood = 0.5 * (likelihood + next(scores).log_likelihood)
            first = len(letters) - len(found.log_probs)
            if sums is not None:
                sums.add(found, first)
            elif per_token:
                for offset, value in enumerate(found.log_probs.tolist(), start=first):
                    out.write(f"{name}\t{offset + 1}\t{letters[offset]}\t{value:.6g}\n")
            else:
                out.write(f"{name}\t{len(letters)}\t{n}\t{likelihood:.6f}\t{_rates(likelihood, n)}\n")
            n_sequences, n_scored, total = n_sequences + 1, n_scored + n, total + likelihood
            bar.advance(len(letters))
        if sums is not None:
            out.write("start\tend\tn_scored\tmean_log_likelihood\tperplexity\tbits_per_base\n")
            for start, end, n, likelihood in sums.rows():
                out.write(f"{start}\t{end}\t{n}\t{_rates(likelihood, n)}\n")
    if not quiet:
        mean, perplexity, bits = _rates(total, n_scored).split("\t")
        say(
            f"{n_sequences:,} sequences, {n_scored:,} scored bases: mean {mean} nats, perplexity {perplexity}, "
            f"{bits} bits per base"
        )


def _rates(likelihood: float, n_scored: int) -> str:
    """Return mean log-likelihood, perplexity and bits per base; ``nan`` where nothing was scored."""
    import math

    if n_scored == 0:
        return "nan\tnan\tnan"
    mean = likelihood / n_scored
    return f"{mean:.6f}\t{math.exp(-mean):.6f}\t{-mean / math.log(2):.6f}"
