"""Reading ahead changes neither the items, nor their order, nor what goes wrong."""

import threading
import time
from collections.abc import Iterator

import pytest

from genomix.checkpoint.native import LoadedModel
from genomix.variant_effect import ScoreOptions
from genomix.variant_effect.assembly import Assembly
from genomix.variant_effect.read_ahead import read_ahead
from genomix.variant_effect.score import Scorer
from genomix.variant_effect.site import Site
from genomix_data.errors import ReferenceMismatchError
from genomix_data.genome import Genome


def test_items_in_order_made_by_another_thread() -> None:
    makers = []

    def items() -> Iterator[int]:
        for number in range(50):
            makers.append(threading.current_thread())
            yield number

    assert list(read_ahead(read_ahead(items()))) == list(range(50))
    assert threading.main_thread() not in makers
    assert list(read_ahead([])) == []


@pytest.mark.parametrize("error", [ValueError("bad record"), KeyboardInterrupt()])
def test_an_error_comes_in_its_turn(error: BaseException) -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise error

    found: list[int] = []
    with pytest.raises(type(error)):
        found.extend(read_ahead(items()))  # extend keeps what came before
    assert found == [1, 2]


def test_one_who_leaves_is_not_waited_for() -> None:
    made = []

    def endless() -> Iterator[int]:
        while True:
            made.append(1)
            yield len(made)

    stream = read_ahead(endless())
    assert next(stream) == 1
    stream.close()  # type: ignore[attr-defined]
    time.sleep(0.3)
    n_made = len(made)
    assert n_made <= 4
    time.sleep(0.2)
    assert len(made) == n_made


def test_what_is_being_made_is_told_that_nobody_waits() -> None:
    """Else an interrupted run on a GPU would wait for the block that it is at."""
    left = threading.Event()
    ended = threading.Event()

    def slow() -> Iterator[int]:
        yield 1
        assert left.wait(60)
        ended.set()
        yield 2

    stream = read_ahead(slow(), left)
    assert next(stream) == 1
    stream.close()  # type: ignore[attr-defined]
    assert ended.is_set()


def sites(sequences: dict[str, bytes], n: int) -> Iterator[Site]:
    for number in range(n):
        pos = 100 + number % 500
        ref = chr(sequences["chr1"][pos - 1])
        yield Site("chr1", pos, ref, ("ACGT"["ACGT".index(ref) - 1], ref + "A"), f"record {number}")


def scorer_of(genome: Genome, model: LoadedModel, *, overlaps: bool) -> Scorer:
    options = ScoreOptions(window=20, device="cpu", horizon=2)
    scorer = Scorer(genome, model, Assembly(genome, {}), options)
    scorer._overlaps = overlaps  # as on a GPU, where it is so by itself
    return scorer


def test_blocks_that_overlap_are_those_that_do_not(
    sequences: dict[str, bytes], genome: Genome, model: LoadedModel
) -> None:
    plain, overlapped = (
        list(scorer_of(genome, model, overlaps=overlaps).score(sites(sequences, 2500), lambda site: site))
        for overlaps in (False, True)
    )
    assert overlapped == plain
    assert len(plain) == 2500


def test_what_is_wrong_in_a_later_block_is_raised(
    sequences: dict[str, bytes], genome: Genome, model: LoadedModel
) -> None:
    def records() -> Iterator[Site]:
        yield from sites(sequences, 1500)
        raise ReferenceMismatchError("of the second block")

    found: list[object] = []
    with pytest.raises(ReferenceMismatchError, match="of the second block"):
        found.extend(scorer_of(genome, model, overlaps=True).score(records(), lambda site: site))
    assert len(found) == 1024
    n_before = threading.active_count()
    stream = scorer_of(genome, model, overlaps=True).score(sites(sequences, 5000), lambda site: site)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert threading.active_count() == n_before
