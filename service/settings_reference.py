"""Reference of all settings, as text for `--help` and as Markdown.

`python -m service.settings_reference` prints the table.
"""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import wrap
from typing import NamedTuple

from service.settings import Settings, default_of, variable_of

_HELP_WIDTH = 100
_HELP_INDENT = " " * 6
_COLUMNS = ("Variable", "Default", "Unit", "Meaning", "Values")


class SettingReference(NamedTuple):
    """One setting."""

    variable: str
    default: str
    unit: str
    meaning: str
    values: str


def all_settings() -> Iterator[SettingReference]:
    """Describe every setting."""
    for name, field in Settings.model_fields.items():
        extra = field.json_schema_extra
        yield SettingReference(
            variable=variable_of(name),
            default=default_of(name),
            unit=str(extra.get("unit", "")) if isinstance(extra, dict) else "",
            meaning=field.description or "",
            values=field.title or "",
        )


def settings_help() -> str:
    """Render all settings as text for `--help`."""
    lines = []
    for variable, default, unit, meaning, values in all_settings():
        lines.append(f"  {variable}")
        facts = f"Default: {default}. {f'Unit: {unit}. ' if unit else ''}Valid: {values}."
        for text in (meaning, facts):
            lines += [_HELP_INDENT + line for line in wrap(text, _HELP_WIDTH, break_on_hyphens=False)]
    return "\n".join(lines)


def settings_table() -> str:
    """Render all settings as a Markdown table."""
    rows = [_COLUMNS, ("---",) * len(_COLUMNS)]
    for variable, default, *texts in all_settings():
        rows.append((f"`{variable}`", f"`{default}`", *(text.replace("|", "\\|") for text in texts)))
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


if __name__ == "__main__":
    print(settings_table(), end="")
