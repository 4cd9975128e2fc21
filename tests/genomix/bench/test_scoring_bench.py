"""Variants a second: real records through the real engine, and settings that cannot be measured."""

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from genomix.bench.scoring import MODES, ScoringCase, measure_scoring
from genomix_cli.main import app
from genomix_data.errors import ConfigError


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    told: list[str] = []
    case = ScoringCase(model="hyenadna/demo", variants=12, window=64, horizon=8)
    found = measure_scoring(case, say=told.append)
    assert [line.split(":")[0].strip() for line in told] == list(MODES)
    return found


def test_every_mode_scores_all_records(rows: list[dict[str, Any]]) -> None:
    assert [row["mode"] for row in rows] == list(MODES)
    for row in rows:
        assert row["variants"] == 12
        assert row["variants_per_s"] == pytest.approx(12 / row["seconds"], rel=0.1)
        assert row["horizon"] == (8 if "horizon" in row["mode"] else None)


def test_modes_share_what_they_say(rows: list[dict[str, Any]]) -> None:
    windows = {row["mode"]: row["windows"] for row in rows}
    # three alleles a site, two strands: a REF window and three ALT windows each, or REF windows that sites share
    assert windows["whole"] == windows["exact"] == 2 * (4 + 12)
    assert windows["tiled"] < windows["exact"]


def test_more_variants_than_the_sample_has_are_drawn(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from genomix.bench import scoring

    monkeypatch.setattr(scoring, "GENOME_LEN", 20_000)
    case = ScoringCase(model="hyenadna/demo", variants=4000, window=32)
    fasta, vcf, first = scoring._inputs(case, tmp_path)
    lines = [line.split("\t") for line in vcf.read_text().splitlines() if not line.startswith("#")]
    bases = fasta.read_text().splitlines()[1]
    assert len(lines) == 4000
    assert all(bases[int(line[1]) - 1] == line[3] != line[4] for line in lines)
    assert len({line[1] for line in lines}) == 4000
    assert len([line for line in first.read_text().splitlines() if not line.startswith("#")]) == 400


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"modes": ("whole", "half")}, r"\['half'\] cannot be measured; there is whole, exact"),
        ({"modes": ()}, "nothing cannot be measured"),
        ({"variants": 0}, "must be at least 1"),
        ({"model": "hyenadna/demo", "processes": 2}, "for 2 processes give a checkpoint, such as human-2m"),
    ],
)
def test_what_cannot_be_measured(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ScoringCase(**changes)


def test_the_command_prints_a_table_or_json() -> None:
    given = ["bench", "score", "--variants", "6", "--lengths", "64", "--modes", "exact"]
    table = CliRunner().invoke(app, given)
    assert table.exit_code == 0, table.output
    assert "variants/s" in table.stdout
    two = ["--model", "human-2m", "--processes", "2"]
    result = json.loads(CliRunner().invoke(app, [*given, *two, "--json"]).stdout)
    assert [(row["mode"], row["variants"], row["processes"]) for row in result["rows"]] == [("exact", 6, 2)]
    assert result["meta"]["commit"]
