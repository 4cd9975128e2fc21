"""What is wrong with an override, in one line for the person who typed it."""

from difflib import get_close_matches

from hydra.core.override_parser.types import Override

from genomix_data.errors import ConfigError, preview

MOST_SHOWN = 24
"""Options of a group that an error lists."""


def bad_syntax(text: str) -> ConfigError:
    """Return the error for an override that Hydra's grammar does not know."""
    if "=" not in text:
        return ConfigError(
            f"{text!r} is not an override; write key=value, for example trainer.max_steps=2000. "
            "Options of the command begin with a dash (see --help)."
        )
    key = text.partition("=")[0]
    return ConfigError(
        f"cannot read the override {text!r}. A value with spaces, commas, brackets, '=' or quotes "
        f"needs quotes of its own: '{key}=\"VALUE\"'. A list is written {key}=[a,b]."
    )


def check_option(override: Override, options: dict[str, list[str]]) -> None:
    """Check that a ``group=option`` override names an option that exists.

    Raises:
        ConfigError: with the options that there are, and the one that may be meant.
    """
    group, value = override.key_or_group, override.value()
    if override.is_delete() or not isinstance(value, str):
        raise ConfigError(f"{group} is a group of settings; choose one of {', '.join(options[group])}.")
    if value in options[group]:
        return
    close = get_close_matches(value, options[group], n=1, cutoff=0.5)
    by_size = [option for option in options[group] if option.rsplit("/", 1)[-1] == value]
    meant = f"did you mean {(by_size or close)[0]!r}? " if by_size or close else ""
    raise ConfigError(
        f"{group}={value} does not exist; {meant}There are {preview(options[group], MOST_SHOWN)}."
    )


def one_line(error: Exception) -> str:
    """Return the first line of what an error says."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
