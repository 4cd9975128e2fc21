"""Tables on standard output: whole on any terminal."""

import re
from collections.abc import Callable

import pytest
from rich.console import Console

from genomix_cli.rows_output import print_rows

COLUMNS = ("data set", "sequences", "what")
ROWS = [("family/a_long_name_to_copy", "27,097 / 9,034", "promoters"), ("family/b", "", "enhancers")]


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None], None]:
    """Make standard output a terminal of so many columns; None is a file."""

    def of_width(width: int | None) -> None:
        monkeypatch.setenv("COLUMNS", str(width or 80))
        monkeypatch.setattr(Console, "is_terminal", property(lambda self: width is not None))

    return of_width


@pytest.mark.parametrize("width", [None, 200, 80, 60, 30, 10])
def test_no_cell_is_cut_short(
    width: int | None, screen: Callable[[int | None], None], capsys: pytest.CaptureFixture[str]
) -> None:
    screen(width)
    print_rows(COLUMNS, ROWS, right=("sequences",))
    printed = capsys.readouterr().out
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in printed.splitlines()]
    joined = re.sub(r"\s", "", "".join(lines))
    for row in ROWS:
        for cell in row:
            assert cell.replace(" ", "") in joined
    assert "…" not in joined
    if width is not None:
        assert max(map(len, lines)) <= width
    if width is None or width >= 60:
        assert any("family/a_long_name_to_copy" in line for line in lines)


def test_a_file_holds_one_line_a_row(
    screen: Callable[[int | None], None], capsys: pytest.CaptureFixture[str]
) -> None:
    screen(None)
    wide = [(name, sequences, what * 30) for name, sequences, what in ROWS]
    print_rows(COLUMNS, wide)
    assert len(capsys.readouterr().out.splitlines()) == 1 + len(wide)


def test_a_narrow_terminal_names_what_it_shows(
    screen: Callable[[int | None], None], capsys: pytest.CaptureFixture[str]
) -> None:
    screen(40)
    print_rows(COLUMNS, ROWS)
    lines = [line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()]
    assert lines[-2:] == ["family/b", "  what enhancers"]  # what is empty is not named
