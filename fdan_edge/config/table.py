"""The settings as a table, for the documents: `python -m fdan_edge.config` prints it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from fdan_edge.config.setting import Setting, about
from fdan_edge.config.settings import GROUPS


@dataclass(frozen=True)
class SettingRow:
    """One setting, in words for people."""

    group: str
    name: str
    type: str
    default: str
    valid: str  # its choices or range; empty: any value of the type
    text: str


def setting_rows() -> list[SettingRow]:
    """List all settings, group by group."""
    return [
        SettingRow(
            group,
            field.name,
            _type(field.default),
            _written(field.default),
            _valid(about(field)),
            about(field).text,
        )
        for group, settings in GROUPS.items()
        for field in dataclasses.fields(settings)
    ]


def settings_table() -> str:
    """Write all settings as Markdown: a heading and a table for each group."""
    lines: list[str] = []
    for group in GROUPS:
        lines += [f"## {group}", "", "| setting | type | default | valid | |", "|---|---|---|---|---|"]
        lines += [_line(row) for row in setting_rows() if row.group == group]
        lines.append("")
    return "\n".join(lines)


def _line(row: SettingRow) -> str:
    cells = (f"`{row.name}`", row.type, f"`{row.default}`" if row.default else "", row.valid, row.text)
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def _type(default: object) -> str:
    names = {bool: "true or false", int: "whole number", float: "number", str: "text", tuple: "list of names"}
    return names[type(default)]


def _written(default: object) -> str:
    """Write a default as --set takes it."""
    if isinstance(default, bool):
        return str(default).lower()
    return ",".join(default) if isinstance(default, tuple) else str(default)


def _valid(setting: Setting) -> str:
    if setting.choices is not None:
        return ", ".join(choice or "(empty)" for choice in setting.choices)
    if setting.low is not None and setting.high is not None:
        return f"{setting.low:g} to {setting.high:g}"
    return ""
