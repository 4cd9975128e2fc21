"""``genomix data``: list, info and check, as a person and as a machine reads them."""

import json
from pathlib import Path

import pytest

from genomix_data import samples
from tests.conftest import RunGenomix


@pytest.fixture
def enhancers(tmp_path: Path) -> Path:
    folder = tmp_path / "enhancers"
    folder.mkdir()
    for part in ("train", "test"):
        name = f"layer1.{part}.csv.gz"
        (folder / name).write_bytes(samples.path(f"ienhancer_2l.{name}").read_bytes())
    return folder


def test_list_shows_every_set_and_one_family(run_genomix: RunGenomix) -> None:
    whole = run_genomix("data", "list", "--json")
    assert whole.returncode == 0, whole.stderr
    assert len(json.loads(whole.stdout)) == 84
    family = run_genomix("data", "list", "genomic_benchmarks")
    assert family.returncode == 0
    lines = family.stdout.splitlines()
    assert len(lines) == 10
    assert any("human_nontata_promoters" in line and "27,097 / 9,034" in line for line in lines)


def test_info_says_how_to_get_it_and_what_to_beware_of(run_genomix: RunGenomix) -> None:
    result = run_genomix("data", "info", "human_nontata_promoters")
    assert result.returncode == 0, result.stderr
    text = " ".join(result.stdout.split())
    for words in (
        "negative 12,355, positive 14,742",
        "Apache-2.0",
        "99.6 %",
        "pip install",
        "c77fce9ea6a59efe",
    ):
        assert words in text
    record = json.loads(run_genomix("data", "info", "human_nontata_promoters", "--json").stdout)
    assert record["n_per_class"]["test"] == {"negative": 4119, "positive": 4915}


def test_check_of_a_right_copy(run_genomix: RunGenomix, enhancers: Path) -> None:
    result = run_genomix("data", "check", "ienhancer_2l/layer1", str(enhancers))
    assert result.returncode == 0, result.stderr
    assert "nothing differs" in result.stderr
    assert "100 of 400 (25.0 %)" in result.stdout


def test_check_of_a_wrong_copy_ends_with_one(run_genomix: RunGenomix, enhancers: Path) -> None:
    result = run_genomix("data", "check", "layer2", str(enhancers), "--json")
    assert result.returncode == 1, result.stderr
    report = json.loads(result.stdout)
    assert report["right"] is False
    assert any(line["status"] == "differs" and line["found"] == "2,968" for line in report["lines"])


def test_check_cuts_sequences_from_the_genome(run_genomix: RunGenomix, tmp_path: Path) -> None:
    for part in ("train", "test"):
        for name in ("negative", "positive"):
            folder = tmp_path / "set" / part
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{name}.csv").write_text("id,region,start,end,strand\n1,chrI,10,261,-\n")
    genome = str(samples.path("yeast_chrI.fa.gz"))
    args = ("data", "check", "human_nontata_promoters", "set")
    assert run_genomix(*args).returncode == 3
    for genomes in (["-g", genome], ["-g", f"negative={genome}", "-g", f"positive={genome}"]):
        result = run_genomix(*args, *genomes, "--json")
        assert result.returncode == 1, result.stderr
        lines = json.loads(result.stdout)["lines"]
        assert {
            "part": "train",
            "what": "length (bp)",
            "expected": "251",
            "found": "251",
            "status": "ok",
        } in lines


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("lists",), "'lists' is not one of list, info, check and species"),
        (("list", "genes"), "no family 'genes'"),
        (("info",), "give the name of a data set"),
        (("info", "nontata"), "Did you mean genomic_benchmarks/human_nontata_promoters"),
        (("check", "brca1_sge"), "give a data set and where it lies"),
        (("check", "brca1_sge", "nowhere"), "'nowhere' does not exist"),
        (("check", "brca1_sge", "x.vcf", "-g", "a=1.fa", "-g", "2.fa"), "once for all classes"),
    ],
)
def test_wrong_words_are_one_line_and_code_three(
    run_genomix: RunGenomix, args: tuple[str, ...], message: str
) -> None:
    result = run_genomix("data", *args)
    assert result.returncode == 3
    assert message in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
