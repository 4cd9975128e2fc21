"""The windows of many alleles, each distinct stretch of tokens once: trunks, and branches that leave them at a variant.

A trunk is a window that runs whole. An ALT window that begins as its REF window does is a branch of it, and only what
comes after their common prefix is run again. Branches leave at the points of a grid, a few tokens before the first base
that differs, so that those of many variants have one length and fill a batch.
"""

from dataclasses import dataclass

from genomix.operators.gated_hyena import WHOLE_VECTORS

GRID_POINTS = 32
"""Points of the grid in a window: a branch runs at most this part of a window again."""
SMALLEST_PREFIX = 8
"""An ALT window that shares less than one such part of its tokens runs whole, in the batches of whole windows."""


@dataclass(slots=True)
class Window:
    """A trunk, or a branch of one.

    Attributes:
        letters: A, C, G, T, N; of a branch from position ``start`` on.
        end: Positions of the window that are run: the model sees all tokens before ``end``.
        start: Tokens that a branch shares with its trunk; 0 for a trunk.
        trunk: Number of a branch's trunk; None for a trunk.
    """

    letters: bytes
    end: int
    start: int = 0
    trunk: int | None = None


class WindowSet:
    """Distinct windows, numbered in the order in which they came.

    Args:
        window: Length of most windows, in bp; the grid of the starts of branches is laid out for it.
        end_step: Where windows are not run to their end, ends are rounded up to a grid of this many positions.
        shares: Whether ALT windows may be branches; else each runs whole.
    """

    def __init__(self, window: int, *, end_step: int = 1, shares: bool = True) -> None:
        self._shares = shares
        self.windows: list[Window] = []
        self.branches: dict[int, list[int]] = {}
        self.probes: dict[int, set[int]] = {}
        self.n_letters = 0
        self._grid = Grid(window, end_step)
        self._numbers: dict[bytes | tuple[int, int, bytes], int] = {}

    def __len__(self) -> int:
        return len(self.windows)

    def add(self, window: bytes, end: int) -> int:
        """Return the number of a window that runs whole, a new one if it has not come before.

        Args:
            window: All its letters.
            end: Positions of it that are needed, at least 2.
        """
        end = self._grid.end(end, len(window))
        number = self._numbers.setdefault(window, len(self.windows))
        if number == len(self.windows):
            self.windows.append(Window(window, end))
            self.n_letters += end
        elif end > self.windows[number].end:
            self.n_letters += end - self.windows[number].end
            self.windows[number].end = end
        return number

    def add_pair(
        self, ref: bytes, alt: bytes, *, ref_end: int, alt_end: int, n_shared: int = 0
    ) -> tuple[int, int]:
        """Return the numbers of a REF and an ALT window.

        Args:
            ref: All letters of the REF window.
            alt: All letters of the ALT window, as many or fewer.
            ref_end: Positions of REF that are needed, at least 2.
            alt_end: Positions of ALT that are needed, at least 2.
            n_shared: Letters at their beginning that are known to be the same.
        """
        if ref == alt:
            number = self.add(ref, max(ref_end, alt_end))
            return number, number
        start = self._grid.start(common_prefix(ref, alt, n_shared))
        alt_end = self._grid.end(alt_end, len(alt))
        if not self._shares or start * SMALLEST_PREFIX < alt_end:
            return self.add(ref, ref_end), self.add(alt, alt_end)
        trunk = self.add(ref, max(ref_end, alt_end))
        start = min(start, alt_end - 2)
        tail = alt[start:alt_end]
        number = self._numbers.setdefault((trunk, start, tail), len(self.windows))
        if number == len(self.windows):
            self.windows.append(Window(tail, alt_end, start, trunk))
            self.branches.setdefault(trunk, []).append(number)
            self.n_letters += len(tail)
        return trunk, number

    def probe(self, trunk: int, at: int) -> None:
        """Ask for the entropy of the prediction of the base after position ``at`` of a window that runs whole."""
        assert self.windows[trunk].trunk is None, "branches are not probed"
        self.probes.setdefault(trunk, set()).add(at)


@dataclass(frozen=True, slots=True)
class Grid:
    """Where branches may leave and where windows may end, so that those of many variants have one length.

    Args:
        window: Length of most windows, in bp.
        end_step: Where windows are not run to their end, ends are rounded up to a grid of this many positions.
    """

    window: int
    end_step: int = 1

    @property
    def centre(self) -> int:
        """Where an SNV in the middle differs on one of the strands; on the other there, or one later."""
        return (self.window - 1) // 2

    @property
    def step(self) -> int:
        """Positions between two points at which branches leave."""
        return self._rounded(max(1, self.window // GRID_POINTS))

    @property
    def first_start(self) -> int:
        """A point at which branches leave: one at which those of SNVs in the middle may, on both strands."""
        return self._rounded(self.centre - 1)

    @property
    def first_end(self) -> int:
        """A point at which windows end: of an SNV in the middle, with scored bases that ``end_step`` divides."""
        return self.centre + 2

    def _rounded(self, place: int) -> int:
        """Return a place up to which a GPU likes to run; the same on every device, as scores are."""
        whole = WHOLE_VECTORS["cuda"]
        # in short windows a few tokens more in each branch would cost more than they bring
        is_long = self.window >= 4 * whole * GRID_POINTS
        return place // whole * whole if is_long else place

    def start(self, n_same: int) -> int:
        """Return the last point of the grid before the first letter that differs; the token there predicts it."""
        origin = self.first_start
        return max(0, origin + (n_same - 1 - origin) // self.step * self.step)

    def end(self, end: int, length: int) -> int:
        """Return the first point of the grid at or after ``end``, at most the length of the window."""
        assert 2 <= end <= length, (end, length)
        origin = self.first_end
        return min(length, origin - (origin - end) // self.end_step * self.end_step)


def common_prefix(a: bytes, b: bytes, at_least: int = 0) -> int:
    """Return how many letters two sequences have in common at their beginning.

    Args:
        a: One.
        b: The other.
        at_least: Letters that are known to be the same.
    """
    low, high = at_least, min(len(a), len(b))
    step = 1
    while low < high and a[low : low + step] == b[low : low + step]:
        low = min(low + step, high)
        step *= 2
    high = min(low + step, high)
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
