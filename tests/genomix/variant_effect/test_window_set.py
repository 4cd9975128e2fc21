"""What windows have in common is kept once, and branches leave early enough to be predicted."""

import pytest

from genomix.variant_effect.window_set import Grid, WindowSet, common_prefix
from tests.genomix.variant_effect.conftest import random_bases

WINDOW = random_bases(64, 8)


def changed(at: int, window: bytes = WINDOW) -> bytes:
    return window[:at] + bytes([b"ACGT"[b"ACGT".index(window[at : at + 1]) - 1]]) + window[at + 1 :]


@pytest.mark.parametrize("at_least", [0, 3, 17])
@pytest.mark.parametrize("n_same", [17, 18, 40, 63, 64])
def test_common_prefix(n_same: int, at_least: int) -> None:
    other = WINDOW if n_same == 64 else changed(n_same)
    assert common_prefix(WINDOW, other, at_least) == n_same
    assert common_prefix(WINDOW, other[:50], at_least) == min(n_same, 50)
    assert common_prefix(b"", b"", 0) == 0


@pytest.mark.parametrize("at", range(64))
def test_branch_leaves_before_the_first_letter_that_differs(at: int) -> None:
    windows = WindowSet(64)
    alt_window = changed(at)
    ref, alt = windows.add_pair(WINDOW, alt_window, ref_end=64, alt_end=64)
    branch = windows.windows[alt]
    if branch.trunk is None:
        assert at < 12, "only a window that shares next to nothing runs whole"
        assert branch.letters == alt_window
        return
    assert branch.trunk == ref
    assert 0 < branch.start < at <= branch.start + 3
    assert WINDOW[: branch.start] + branch.letters == alt_window


def test_alike_once() -> None:
    windows = WindowSet(64)
    first = windows.add_pair(WINDOW, changed(32), ref_end=64, alt_end=64)
    assert windows.add_pair(WINDOW, changed(32), ref_end=64, alt_end=64) == first
    assert windows.add_pair(WINDOW, WINDOW, ref_end=64, alt_end=64) == (first[0], first[0])
    windows.add_pair(WINDOW, changed(31), ref_end=64, alt_end=64)
    assert len(windows) == 3
    assert windows.branches == {first[0]: [1, 2]}
    assert {windows.windows[number].start for number in (1, 2)} == {30}, "neighbours fill one batch"


def test_only_what_is_needed_is_run() -> None:
    windows = WindowSet(64, end_step=4)
    ref, alt = windows.add_pair(WINDOW, changed(32), ref_end=42, alt_end=42)
    assert windows.windows[ref].end == windows.windows[alt].end == 45
    windows.add_pair(WINDOW, changed(35), ref_end=62, alt_end=62)
    assert windows.windows[ref].end == 64, "the trunk is run as far as any of its branches needs it"
    assert windows.windows[alt].end == 45


@pytest.mark.parametrize("window", [1024, 1500, 8000, 8191, 8192])
def test_branches_of_long_windows_leave_at_whole_vectors(window: int) -> None:
    grid = Grid(window)
    starts = {grid.start(n_same) for n_same in range(window)}
    assert {start % 8 for start in starts} == {0}
    assert all(0 <= n_same - 1 - grid.start(n_same) < window // 32 for n_same in range(1, window))


@pytest.mark.parametrize("window", [64, 1023, 1024, 8191, 8192])
def test_middle_of_either_strand_is_one_place(window: int) -> None:
    """SNVs in the middle leave together, on both strands; none runs a step of the grid further than it must."""
    grid = Grid(window, end_step=8)
    forward, reverse = window // 2, window - 1 - window // 2
    assert grid.start(forward) == grid.start(reverse)
    ends = [grid.end(offset + 1 + 16, window) for offset in (forward, reverse)]
    assert ends[0] == ends[1] <= forward + 1 + 16 + 1


def test_windows_that_share_nothing_run_whole() -> None:
    windows = WindowSet(64, shares=False)
    ref = b"ACGT" * 16
    alt = ref[:40] + b"C" + ref[41:]
    assert windows.add_pair(ref, alt, ref_end=64, alt_end=64) == (0, 1)
    assert not windows.branches
    assert [window.trunk for window in windows.windows] == [None, None]
