"""Header lines that tell how scores were made."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime

from genomix import __version__
from genomix.checkpoint.native import LoadedModel
from genomix.variant_effect.contract import STATUS_MEANING, ScoreOptions
from genomix.variant_effect.windows import WINDOW_RULE
from genomix_data.genome import Genome


def run_lines(
    model: LoadedModel, genome: Genome, options: ScoreOptions, window: int, command: str | None
) -> list[str]:
    """Return the ``##genomix...`` lines: version, command, model, reference and window rule."""
    date = datetime.now(UTC).isoformat(timespec="seconds")
    identifier = re.sub(r"[^A-Za-z0-9_.+-]", "_", model.path.resolve().name) or "model"
    reference = genome.fingerprint()
    called = " ".join((command or "genomix.variant_effect").split())
    return [
        f"##genomixVersion={__version__}",
        f"##genomixCommand={called}; Date={date}",
        f"##genomixModel=<ID={identifier},SHA256={model.sha256},Context={window},Strand={options.strand},"
        f"Reduce={options.reduce},Dtype={options.dtype},Normalized={'yes' if options.normalize else 'no'}>",
        f"##genomixReference=<ID={re.sub(r'[^A-Za-z0-9_.+-]', '_', str(reference['file']))},"
        f"Bases={reference['n_bases']},Contigs={reference['n_contigs']},ContigsSHA256={reference['contigs_sha256']}>",
        f'##genomixWindow=<ID=rule,Description="{WINDOW_RULE}">',
    ]


def info_lines(options: ScoreOptions, per_strand: bool) -> list[str]:
    """Return the declarations of the INFO keys."""
    unit = "nats" if options.reduce == "sum" else "nats per scored base"
    strands = "mean of both strands" if options.strand == "both" else "forward strand"
    statuses = "; ".join(f"{status} = {meaning}" for status, meaning in STATUS_MEANING.items())
    numbers: Sequence[tuple[str, str]] = [("GMX_LLR", f"{strands}; negative = ALT less likely")]
    if per_strand:
        numbers = [*numbers, ("GMX_LLR_FWD", "forward strand"), ("GMX_LLR_RC", "reverse complement")]
    source = f'Source="genomix",Version="{__version__}"'
    return [
        f"##INFO=<ID={key},Number=A,Type=Float,"
        f'Description="log P(ALT window) - log P(REF window), {unit}, {detail}",{source}>'
        for key, detail in numbers
    ] + [
        f'##INFO=<ID=GMX_STATUS,Number=A,Type=String,Description="Why there is a score or none: {statuses}",{source}>'
    ]
