"""Header lines that tell how scores were made."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime

from genomix import __version__
from genomix.checkpoint.files import read_settings
from genomix.checkpoint.native import LoadedModel
from genomix.checkpoint.shipped import located
from genomix.variant_effect.columns import STATUS_KEY, Column
from genomix.variant_effect.contract import STATUS_MEANING, ScoreOptions
from genomix.variant_effect.windows import WINDOW_RULE
from genomix_data.genome import Genome
from genomix_data.variant_tiles import TILE_RULE


def run_lines(
    model: LoadedModel,
    genome: Genome,
    options: ScoreOptions,
    window: int,
    command: str | None,
    more: Sequence[str] = (),
) -> list[str]:
    """Return the ``##genomix...`` lines: version, command, model, reference, window rule, and ``more``."""
    date = datetime.now(UTC).isoformat(timespec="seconds")
    identifier = _identifier(model.path.resolve().name) or "model"
    reference = genome.fingerprint()
    stride = options.stride_for(window)
    rule = WINDOW_RULE if stride is None else TILE_RULE
    scored = (
        "all bases of a window but its first are scored"
        if options.horizon is None
        else f"scored are the variant and {options.horizon} bases after it, as each strand reads"
    )
    called = " ".join((command or "genomix.variant_effect").split())
    return [
        f"##genomixVersion={__version__}",
        f"##genomixCommand={called}; Date={date}",
        f"##genomixModel=<ID={identifier},SHA256={model.sha256},Context={window},Strand={options.strand},"
        f"Reduce={options.reduce},Dtype={options.dtype},Normalized={'yes' if options.normalize else 'no'}"
        f"{f',Protocol={options.protocol}' if options.protocol else ''}{_of_whole_windows(options)}>",
        f"##genomixReference=<ID={_identifier(str(reference['file']))},"
        f"Bases={reference['n_bases']},Contigs={reference['n_contigs']},ContigsSHA256={reference['contigs_sha256']}>",
        f"##genomixWindow=<ID=rule,Mode={options.mode},Stride={'.' if stride is None else stride},"
        f'Horizon={"." if options.horizon is None else options.horizon},Description="{rule}; {scored}">',
        *more,
    ]


def _of_whole_windows(options: ScoreOptions) -> str:
    """Return what else the scores ``cos``, ``l2`` and ``head`` depend on, so that a table of others is not taken."""
    said = {
        "Layer": options.layer,
        "HeadSHA256": read_settings(located(options.head)).get("weights_sha256") if options.head else None,
        "HeadClass": options.head_class,
    }
    return "".join(f",{key}={_identifier(value)}" for key, value in said.items() if value)


def info_lines(columns: Sequence[Column]) -> list[str]:
    """Return the declarations of the INFO keys."""
    statuses = "; ".join(f"{status} = {meaning}" for status, meaning in STATUS_MEANING.items())
    source = f'Source="genomix",Version="{__version__}"'
    return [
        f'##INFO=<ID={column.key},Number=A,Type=Float,Description="{column.description}",{source}>'
        for column in columns
    ] + [
        f"##INFO=<ID={STATUS_KEY},Number=A,Type=String,"
        f'Description="Why there is a score or none: {statuses}",{source}>'
    ]


def _identifier(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.+-]", "_", name)
