"""What training shows: a bar on a terminal, lines elsewhere and where bars are not wanted."""

import io

import pytest
from rich.console import Console

from genomix.training.screen import Screen


def shown(progress: bool | Console, console: io.StringIO) -> str:
    screen = Screen(progress)
    with screen.bar("pretrain", 2, "step") as bar:
        bar.update(1, {"loss": "1.4"})
        bar.update(2, {"loss": "1.3"})
    return console.getvalue()


@pytest.mark.parametrize(("is_terminal", "unwanted"), [(True, False), (True, True), (False, False)])
def test_lines_without_a_terminal_and_where_a_bar_is_not_wanted(
    monkeypatch: pytest.MonkeyPatch, is_terminal: bool, unwanted: bool
) -> None:
    monkeypatch.delenv("GENOMIX_NO_PROGRESS", raising=False)
    if unwanted:
        monkeypatch.setenv("GENOMIX_NO_PROGRESS", "1")
    text = io.StringIO()
    console = Console(file=text, force_terminal=is_terminal, width=100, color_system=None)
    has_bar = is_terminal and not unwanted
    found = shown(console, text)
    assert ("\x1b[" in found) == has_bar  # a bar moves the cursor
    assert ("pretrain: step 2/2 | loss 1.3" in found) == (not has_bar)


def test_nothing_where_nothing_is_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(False, io.StringIO()) == ""
    assert capsys.readouterr() == ("", "")
