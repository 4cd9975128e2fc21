"""The next item is made while the last one is used, in a thread of its own."""

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar

_Item = TypeVar("_Item")

LONGEST_WAIT_S = 5.0
"""For the thread to end, when its items are no longer wanted."""


def read_ahead(items: Iterable[_Item], left: threading.Event | None = None) -> Iterator[_Item]:
    """Yield ``items`` in order, the next one made by a thread meanwhile; at most two wait.

    What making an item raises is raised here, in its turn. The thread does not keep an interrupted program alive for
    long, even where it waits for a pipe.

    Args:
        items: What is made.
        left: Set as soon as the items are no longer wanted, so that what makes one can stop before it is done.
    """
    ready: queue.Queue[tuple[bool, object]] = queue.Queue(maxsize=1)
    no_longer = left or threading.Event()

    def put(entry: tuple[bool, object]) -> bool:
        while not no_longer.is_set():
            try:
                ready.put(entry, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for item in items:
                if not put((True, item)):
                    return
        except BaseException as error:  # noqa: BLE001 - handed over, and raised where the item is wanted
            put((False, error))
        else:
            put((False, None))

    thread = threading.Thread(target=work, name="genomix-read-ahead", daemon=True)
    thread.start()
    try:
        while True:
            is_item, value = ready.get()
            if is_item:
                yield value  # type: ignore[misc]
            elif value is None:
                return
            else:
                assert isinstance(value, BaseException)
                raise value
    finally:
        no_longer.set()
        # a thread amid work on a GPU must not be there when Python ends; one that waits for a pipe may
        thread.join(LONGEST_WAIT_S)
