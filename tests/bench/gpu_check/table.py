"""A markdown table of the lines of a run, also of one that was cut off."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Line = dict[str, Any]
OTHER = ("at", "section", "figure", "value", "unit", "void", "prompt")
"""Fields of a figure that do not say what it is of."""
PLAIN = ("arm", "of")
"""Fields whose values say enough."""


def read(path: Path) -> list[Line]:
    """The lines of a file; one that was cut in the middle is left out."""
    lines: list[Line] = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict):
            lines.append(line)
    return lines


def table(lines: list[Line]) -> str:
    """Machine, verdict, checks that did not hold, and every figure, as markdown."""
    out = [_heading(lines), ""]
    checks = [line for line in lines if "check" in line]
    failed = [line for line in checks if not line["holds"]]
    out.append(f"{len(checks) - len(failed)} of {len(checks)} checks hold.")
    out += [f"- **{line.get('section', '')}: {line['check']}**: {_facts(line)}" for line in failed]
    out += [f"- **{line.get('section', '')}: error**: {'; from: '.join(line['raised'])}"
            for line in lines if "raised" in line]  # fmt: skip
    out += [f"- left out: {line['skipped']}: {line['reason']}" for line in lines if "skipped" in line]
    for letter in dict.fromkeys(line["section"] for line in lines if "section" in line):
        of_section = [line for line in lines if line.get("section") == letter]
        title = next((line["section_title"] for line in of_section if "section_title" in line), "")
        rows = [*_captures(of_section), *_figures(of_section)]
        out += ["", f"### {letter}. {title}", "", *rows] if rows else []
    return "\n".join(out)


def _heading(lines: list[Line]) -> str:
    facts = {line["fact"]: line for line in lines if "fact" in line}
    versions, device = facts.get("versions", {}), facts.get("device", {})
    verdict = next((line["verdict"] for line in lines if "verdict" in line), "cut off")
    named = ", ".join(
        f"{name} {versions[name]}" for name in ("python", "torch", "transformers") if name in versions
    )
    note = next((f" ({line['note']})" for line in lines if "note" in line), "")
    return f"**{device.get('name', 'unknown device')}**, {versions.get('date', 'no date')}, {named}: {verdict}{note}"


def _facts(line: Line) -> str:
    return "; ".join(f"{name} {value}" for name, value in line.items()
                     if name not in ("at", "section", "check", "holds") and value not in ([], {}, None))  # fmt: skip


def _captures(lines: list[Line]) -> list[str]:
    """A row for each check that says what was captured: graphs, their nodes, and the time that capturing took."""
    rows = []
    for line in lines:
        parts = {name: part for name, part in line.items() if isinstance(part, dict) and "graphs" in part}
        if parts:
            graphs = sum(part["graphs"] for part in parts.values())
            seconds = sum(part["seconds"] for part in parts.values())
            nodes = "; ".join(f"{name} {', '.join(map(str, part['nodes']))}" for name, part in parts.items())
            rows.append(f"| {line['check']} | {graphs} | {seconds:.2f} | {nodes} |")
    return ["| captured | graphs | seconds | nodes |", "|---|---:|---:|---|", *rows, ""] if rows else []


def _figures(lines: list[Line]) -> list[str]:
    """A row for each figure, those of the same thing side by side."""
    rows: dict[str, dict[str, str]] = {}
    for line in lines:
        if "figure" in line:
            of = ", ".join(
                str(value) if name in PLAIN else f"{name} {value}"
                for name, value in line.items() if name not in OTHER
            )  # fmt: skip
            value = "unmeasured" if line["value"] is None else f"{line['value']:g}"
            name = line["figure"] + (f" of prompt {line['prompt']}" if "prompt" in line else "")
            name += f" [{line['unit']}]" if "unit" in line else ""
            rows.setdefault(of, {})[name] = f"({value})" if line.get("void") else value
    if not rows:
        return []
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    head = [f"| | {' | '.join(names)} |", f"|---|{'---:|' * len(names)}"]
    return head + [
        f"| {of} | {' | '.join(row.get(name, '') for name in names)} |" for of, row in rows.items()
    ]
