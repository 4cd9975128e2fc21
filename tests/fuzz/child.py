"""One process of the fuzzer: ``python -m tests.fuzz.child TARGET FIRST_SEED SECONDS FOLDER [FILE...]``.

Prints a JSON line for each input that failed and one at the end. Before an input is read, it is written to the folder,
so that it can be found when the process dies of it.
"""

import json
import resource
import signal
import sys
import time
import traceback
from pathlib import Path
from types import FrameType

from genomix_data.errors import GenomixError
from tests.fuzz.targets import TARGETS, Target

MEMORY = 4 << 30
SECONDS_PER_INPUT = 10


class TooSlowError(Exception):
    """An input took too long."""


def _on_alarm(signum: int, frame: FrameType | None) -> None:
    raise TooSlowError(f"more than {SECONDS_PER_INPUT} s")


def try_input(target: Target, data: bytes, folder: Path) -> str:
    """Return why an input failed; empty where it succeeded or was refused."""
    path = folder / f"current{target.suffix}"
    path.write_bytes(data)
    signal.alarm(SECONDS_PER_INPUT)
    try:
        target.run(path)
    except GenomixError as error:
        return "" if str(error).strip() else "a GenomixError without a message"
    except Exception:  # noqa: BLE001 - whatever comes is what is looked for
        return "".join(traceback.format_exc(limit=-6))
    finally:
        signal.alarm(0)
    return ""


def tell(**row: object) -> None:
    """Write one line for the parent process."""
    sys.stdout.write(json.dumps(row) + "\n")
    sys.stdout.flush()


def main(name: str, first_seed: str, seconds: str, folder: str, *files: str) -> None:
    """Try the inputs of ``files``, or those of seeds from ``first_seed`` on until ``seconds`` are over."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.signal(signal.SIGALRM, _on_alarm)
    target = TARGETS[name]
    seed = int(first_seed)
    if files:
        for file in files:
            reason = try_input(target, Path(file).read_bytes(), Path(folder))
            if reason:
                tell(file=file, reason=reason)
    deadline = time.monotonic() + float(seconds)
    while not files and time.monotonic() < deadline:
        (Path(folder) / "seed").write_text(str(seed))
        reason = try_input(target, target.make(seed), Path(folder))
        if reason:
            tell(seed=seed, reason=reason)
        seed += 1
    tell(done=seed - int(first_seed) if not files else len(files))


if __name__ == "__main__":
    main(*sys.argv[1:])
