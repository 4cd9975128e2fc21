"""``genomix generate``: new sequence from a model."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genomix_cli.model_input import (
    DEFAULT_MODEL,
    DeviceOption,
    DtypeOption,
    ModelOption,
    PrecisionLossOption,
    QuietOption,
)

if TYPE_CHECKING:
    from genomix.checkpoint.native import LoadedModel
    from genomix.inference.generate import Generated
    from genomix.inference.sampling import Sampling

LETTERS_A_LINE = 80


def command(
    model: ModelOption = DEFAULT_MODEL,
    prompt: Annotated[str | None, typer.Option(help="Letters to continue.")] = None,
    fasta: Annotated[str | None, typer.Option(help="FASTA of prompts; - is standard input.")] = None,
    n_tokens: Annotated[int, typer.Option("-n", "--n-tokens", min=1, help="Letters to generate.")] = 500,
    samples: Annotated[int, typer.Option(min=1, help="Sequences for each prompt.")] = 1,
    temperature: Annotated[float, typer.Option(help="Logits are divided by it; 0 is greedy.")] = 1.0,
    top_k: Annotated[int, typer.Option(help="Draw from so many likeliest letters; 0: all, 1: greedy.")] = 4,
    top_p: Annotated[float, typer.Option(help="Of those, from the likeliest that add up to this.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Of the draws; batch i draws with seed + i.")] = 0,
    alphabet: Annotated[
        str, typer.Option(help="Letters that may be drawn; nothing else is. 'any' allows every token.")
    ] = "ACGT",
    stop_at_eos: Annotated[bool, typer.Option("--stop-at-eos", help="Let the model end a sequence.")] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Prompts at once.")] = 8,
    output: Annotated[
        str, typer.Option("-o", "--output", help=".fa, .tsv or .jsonl; - is standard output, as FASTA.")
    ] = "-",
    log_probs: Annotated[
        bool, typer.Option("--log-probs", help="Every letter's log probability, in .tsv or .jsonl.")
    ] = False,
    stream: Annotated[
        bool, typer.Option("--stream", help="Print letters as they are drawn; one prompt, no header.")
    ] = False,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "stored",
    allow_precision_loss: PrecisionLossOption = False,
    quiet: QuietOption = False,
) -> None:
    """Continue prompts with new sequence, one letter after the other.

    Log probabilities are the model's own: in nats, over its whole vocabulary, before temperature, top-k and alphabet.

    Example: [bold]genomix generate -m MODEL --prompt ACGT -n 500 -o out.fa[/bold]
    """
    from genomix.inference.fasta import read_fasta, require_nucleotides
    from genomix.inference.generate import generate
    from genomix.inference.limits import check_length
    from genomix.inference.sampling import Sampling
    from genomix_cli.console import progress, say
    from genomix_cli.model_input import load
    from genomix_cli.text_output import text_output
    from genomix_data.atomic import refuse_inputs
    from genomix_data.errors import ConfigError
    from genomix_data.tokenizers import CharTokenizer

    if (prompt is None) == (fasta is None):
        raise ConfigError("give either --prompt ACGT or --fasta prompts.fa.")
    kind = _kind(output)
    refuse_inputs(output, fasta)
    if log_probs and kind == "fasta":
        raise ConfigError("--log-probs needs -o FILE.tsv or -o FILE.jsonl; FASTA has no place for them.")
    prompts = [("prompt", prompt)] if prompt is not None else list(read_fasta(str(fasta), any_letters=True))
    if prompt == "":
        raise ConfigError(
            "--prompt is empty; give at least one letter to begin with, for example --prompt A."
        )
    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p)
    letters = None if alphabet == "any" else alphabet
    loaded, where = load(model, device, dtype, allow_precision_loss)
    for name, text in prompts:
        if isinstance(loaded.tokenizer, CharTokenizer):  # byte models know other letters, too
            require_nucleotides(text, "--prompt" if prompt is not None else f"{fasta}: the record '>{name}'")
        remedy = "Take a shorter prompt, or fewer new letters (-n)."
        check_length(loaded.config, len(text) + n_tokens - 1, f"{name} and {n_tokens:,} new tokens", remedy)
    if stream:
        if len(prompts) * samples != 1:
            raise ConfigError("--stream prints one sequence; give one prompt and --samples 1.")
        for piece in _streamed(loaded, prompts[0][1], n_tokens, sampling, letters, stop_at_eos, seed, where):
            print(piece, end="", flush=True)
        print()
        return
    named = [
        (name if samples == 1 else f"{name}_{number + 1}", text)
        for name, text in prompts
        for number in range(samples)
    ]
    with ExitStack() as stack:
        out = stack.enter_context(text_output(output))
        if kind == "tsv":
            out.write("name\tprompt_len\tsequence\tn_tokens\tmean_log_prob\tstopped")
            out.write("\tlog_probs\n" if log_probs else "\n")
        bar = stack.enter_context(progress("generating", len(named), unit="sequences", quiet=quiet))
        for number, begin in enumerate(range(0, len(named), batch_size)):
            some = named[begin : begin + batch_size]
            results = generate(
                loaded.language_model,
                loaded.tokenizer,
                [text for _, text in some],
                n_tokens,
                sampling=sampling,
                alphabet=letters,
                stop_at_eos=stop_at_eos,
                seed=seed + number,
                device=where,
            )
            for (name, text), result in zip(some, results, strict=True):
                out.write(_record(kind, name, text, result, log_probs))
            bar.advance(len(some))
    if not quiet:
        say(
            f"{len(named):,} sequence{'' if len(named) == 1 else 's'}"
            + ("" if output == "-" else f" -> {output}")
        )


def _kind(output: str) -> str:
    from genomix_data.errors import ConfigError

    suffixes = {".fa": "fasta", ".fasta": "fasta", ".fna": "fasta", ".tsv": "tsv", ".jsonl": "jsonl"}
    if output == "-":
        return "fasta"
    kind = suffixes.get(Path(output).suffix)
    if kind is None:
        raise ConfigError(f"-o {output}: the suffix must be one of {', '.join(suffixes)}.")
    return kind


def _record(kind: str, name: str, prompt: str, result: "Generated", with_log_probs: bool) -> str:
    import json

    if kind == "fasta":
        lines = [
            result.sequence[i : i + LETTERS_A_LINE] for i in range(0, len(result.sequence), LETTERS_A_LINE)
        ]
        about = f"prompt_len={len(prompt)} mean_log_prob={result.mean_log_prob:.4f} stopped={result.stopped}"
        return f">{name} {about}\n" + "\n".join(lines or [""]) + "\n"
    values = [round(float(value), 6) for value in result.log_probs]
    if kind == "tsv":
        cells = [
            name,
            len(prompt),
            result.sequence,
            len(values),
            f"{result.mean_log_prob:.6f}",
            result.stopped,
        ]
        rest = [",".join(map(str, values))] if with_log_probs else []
        return "\t".join(map(str, [*cells, *rest])) + "\n"
    record = {
        "name": name,
        "prompt": prompt,
        "sequence": result.sequence,
        "mean_log_prob": result.mean_log_prob,
        "stopped": result.stopped,
    }
    return json.dumps({**record, "log_probs": values} if with_log_probs else record) + "\n"


def _streamed(
    loaded: "LoadedModel",
    prompt: str,
    n_tokens: int,
    sampling: "Sampling",
    alphabet: str | None,
    stop_at_eos: bool,
    seed: int,
    device: str,
) -> Iterator[str]:
    import numpy as np
    import torch

    from genomix.inference.generate import stream

    tokenizer = loaded.tokenizer
    steps = stream(
        loaded.language_model,
        tokenizer,
        [torch.from_numpy(tokenizer.encode(prompt).astype(np.int64))],
        n_tokens,
        sampling=sampling,
        alphabet=alphabet,
        stop_at_eos=stop_at_eos,
        seed=seed,
        device=device,
    )
    for step in steps:
        token = step.ids.cpu().numpy()
        if not (stop_at_eos and int(token[0]) == tokenizer.eos_id):
            yield tokenizer.decode(token)
