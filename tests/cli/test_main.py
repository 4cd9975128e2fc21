"""The front door: help without torch, one line for bad input, exit codes."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from genomix_cli import main as cli
from genomix_data.errors import InputFileError
from tests.conftest import RunGenomix

FULL = Path("/dev/full")
VERBS = sorted(verb for commands in cli.VERBS.values() for verb in commands)


def test_help_lists_every_verb_and_imports_nothing_heavy(run_genomix: RunGenomix) -> None:
    result = run_genomix("--help")
    assert result.returncode == 0
    for verb in VERBS:
        assert verb in result.stdout
    probe = (
        "import sys; import genomix_cli.main; "
        "print([m for m in ('torch', 'lightning', 'hydra', 'numpy', 'pysam', 'matplotlib') if m in sys.modules])"
    )
    loaded = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_explains_itself(run_genomix: RunGenomix, verb: str) -> None:
    result = run_genomix(verb, "--help")
    assert result.returncode == 0, result.stderr
    assert "Example" in result.stdout


def test_no_arguments_is_help(run_genomix: RunGenomix) -> None:
    assert "Usage" in (run := run_genomix()).stdout + run.stderr


def test_version(run_genomix: RunGenomix) -> None:
    assert run_genomix("--version").stdout.startswith("genomix 0.")


def test_unknown_verb_is_a_usage_error(run_genomix: RunGenomix) -> None:
    result = run_genomix("scroe")
    assert result.returncode == 2
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (
            InputFileError("x.fa is empty. Check the download."),
            3,
            "error: x.fa is empty. Check the download.",
        ),
        (FileNotFoundError(errno.ENOENT, "No such file", "gone.fa"), 3, "'gone.fa' does not exist"),
        (PermissionError(errno.EACCES, "Permission denied", "mine.fa"), 3, "no permission to open 'mine.fa'"),
        (OSError(errno.ENOSPC, "No space left on device", "out.vcf"), 1, "no space left on the device"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (RuntimeError("kernel\nfell over"), 1, "RuntimeError: kernel fell over"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_what_a_command_raises_becomes_one_line_and_a_code(
    raised: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def command() -> None:
        raise raised

    with pytest.raises(typer.Exit) as exit_:
        cli.ends_well(command)()
    assert exit_.value.exit_code == code
    printed = capsys.readouterr().err
    assert said in printed
    assert printed.count("\n") == 1


def test_an_exit_code_chosen_by_a_command_is_kept() -> None:
    def command() -> None:
        raise typer.Exit(4)

    with pytest.raises(typer.Exit) as exit_:
        cli.ends_well(command)()
    assert exit_.value.exit_code == 4


def test_a_shell_completes_verbs_and_options(
    run_genomix: RunGenomix, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "complete" in run_genomix("--show-completion", "bash").stdout
    monkeypatch.setenv("_GENOMIX_COMPLETE", "complete_bash")
    for words, expected in (("genomix sc", "score"), ("genomix score --mo", "--model")):
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
        assert expected in run_genomix().stdout.split()


@pytest.mark.skipif(not FULL.exists(), reason="this system has no full device")
def test_help_that_cannot_be_written_is_one_line() -> None:
    command = [sys.executable, "-m", "genomix_cli.main", "--help"]
    with FULL.open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert "no space left on the device" in done.stderr
    assert "Traceback" not in done.stderr
