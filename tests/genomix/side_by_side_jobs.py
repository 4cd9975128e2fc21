"""Jobs for the tests of processes side by side; imports little, as every process does."""

import os

from genomix_data.errors import ConfigError


def double(number: int) -> int:
    """Twice the number; three is refused, and seven ends the process."""
    if number == 3:
        raise ConfigError("three is not doubled")
    if number == 7:
        os._exit(9)
    return 2 * number
