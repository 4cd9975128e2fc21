"""The section of a report that sets a result beside published ones, each with the protocol that it was made by."""

from collections.abc import Mapping, Sequence
from typing import Any

from genomix.evaluation.metric_names import METRIC_NAMES
from genomix.report.page import Section, Table

_FIRST = ("model", "metric", "value", "spread", "protocol", "source", "note")


def published_section(published: Any, ours: Mapping[str, Any], protocol: str, *, what: str) -> list[Section]:
    """Return the section; nothing where nothing was published.

    Args:
        published: Rows of names and values, as result.json has them.
        ours: Our test metrics by name.
        protocol: How ours were made, for the table.
        what: The same in words.
    """
    given = published if isinstance(published, Sequence) and not isinstance(published, str) else ()
    rows = [dict(row) for row in given if isinstance(row, Mapping)]
    if not rows:
        return []
    known = list(dict.fromkeys(name for row in rows for name in row))
    columns = [name for name in _FIRST if name in known] + [name for name in known if name not in _FIRST]
    metrics = list(dict.fromkeys(str(row.get("metric", "")) for row in rows))
    own = [
        {"model": "this one", "metric": name, "value": ours[name], "protocol": protocol}
        for name in metrics
        if isinstance(ours.get(name), float)
    ]
    cells = [[_cell(name, row.get(name)) for name in columns] for row in [*own, *rows]]
    return [
        Section(
            title="Beside published numbers",
            paragraphs=[
                "Numbers compare only where the protocol is the same: how the epoch was chosen, on which split, over "
                f"how many seeds. This one: {what}.",
            ],
            tables=[Table(columns=columns, rows=cells)],
        )
    ]


def _cell(column: str, value: Any) -> str:
    if value is None:
        return ""
    if column == "metric":
        return METRIC_NAMES.get(str(value), str(value))
    if isinstance(value, float):
        return f"{value:.3f}" if column == "value" else f"{value:.4g}"
    return str(value)
