"""The table of model cards, as Markdown that a card takes as it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from spectui.tui.terminal.cells import counted
from spectui.tui.terminal.textsafe import sanitize_line

if TYPE_CHECKING:
    from spectui.store.analysis.card import Card, CardFigure


def card_lines(card: Card) -> Iterator[str]:
    """The table, a row for each subset, and a line on how it was measured."""
    width = max(len(row.positions) for row in card.rows)
    head = ("subset", "acceptance_length", *(f"pos_{place}" for place in range(width)))
    yield _line(*head)
    yield _line(*("---" for _ in head))
    for row in card.rows:
        shares = (_figure(each, 100, 1, "%") for each in row.positions)
        yield _line(sanitize_line(row.subset), _figure(row.acceptance_length, 1, 3, ""), *shares)
    session, last = card.session, card.rows[-1]
    amount = f"{counted(last.prompts, 'prompt')}, {counted(last.steps, 'verification')}"
    yield ""
    drafter = f" with {session.drafter}" if session.drafter else ""
    server = "" if session.server is None else f" on {session.server.name}"
    text = (
        f"{session.target}{drafter}, {session.tree}{server}, {_sampling(session.config)};"
        f" {amount} with a draft. In brackets: 95 % intervals over prompts."
    )
    yield sanitize_line(text)
    if card.undrafted:
        none = f", none of {', '.join(card.undrafted_tasks)}" if card.undrafted_tasks else ""
        yield sanitize_line(f"{card.undrafted:,} finished prompts had no draft and are in no row{none}.")
    if card.left_out:
        yield f"{card.left_out:,} prompts that did not finish are left out."


def card_json(card: Card) -> dict[str, Any]:
    """The table as JSON, shares from 0 to 1."""
    return {
        "session": card.session.id,
        "left_out": card.left_out,
        "undrafted": card.undrafted,
        "undrafted_tasks": list(card.undrafted_tasks),
        "rows": [
            {
                "subset": row.subset,
                "prompts": row.prompts,
                "steps": row.steps,
                "acceptance_length": {"value": row.acceptance_length.value, "ci": row.acceptance_length.ci},
                "positions": [{"value": each.value, "ci": each.ci} for each in row.positions],
            }
            for row in card.rows
        ],
    }


def _figure(figure: CardFigure, scale: int, digits: int, unit: str) -> str:
    value = f"{figure.value * scale:.{digits}f}{unit}"
    if figure.ci is None:
        return value
    low, high = (f"{end * scale:.{digits}f}" for end in figure.ci)
    return f"{value} [{low}, {high}]"


def _sampling(config: dict[str, Any]) -> str:
    temperature = config.get("temperature") or 0
    return f"temperature {temperature:g}" if temperature else "greedy"


def _line(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
