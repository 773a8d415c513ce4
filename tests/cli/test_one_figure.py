"""A figure has one name and one value wherever it is shown: lists, cards, tables, JSON."""

from __future__ import annotations

import json
from pathlib import Path

from spectui.store.reading.reader import Reader
from spectui.tui.screens.sessions.columns import session_columns
from spectui.tui.terminal.cells import share
from tests.cli.conftest import Invoke
from tests.tui.replay import Recording

RATES = ("match_rate", "accepted_at_risk", "mean_accepted_length", "tokens_per_round")


def test_match_and_what_is_accepted_at_risk_are_told_apart_everywhere(database: Path, invoke: Invoke) -> None:
    database.parent.mkdir(parents=True)
    run = Recording(database, prompts=4)
    run.begin()
    for _ in range(4):
        run.prompt(tokens=60)
    run.end()
    with run.db:
        (match, risked) = run.db.execute(
            "SELECT 1.0 * sum(match_count) / sum(nodes), 1.0 * sum(accepted_count) / sum(at_risk_count)"
            " FROM rollup_task"
        ).fetchone()
    assert abs(match - risked) > 0.05  # else nothing is told apart here

    listed = json.loads(invoke("sessions", "ls", "--json").stdout)[0]
    shown = json.loads(invoke("sessions", "show", "--json").stdout)
    for figures in (listed, shown, shown["figures"]):
        assert abs(figures["match_rate"] - match) < 1e-9
        assert abs(figures["accepted_at_risk"] - risked) < 1e-9
        assert not [key for key in figures if "alpha" in key]
    for name in RATES:
        assert shown["figures"][name] == shown[name]
        assert all(name in task for task in shown["figures"]["tasks"].values())

    head, row = invoke("sessions", "ls").stdout.splitlines()[:2]
    assert "alpha" not in head
    assert row[head.index("match") :].split()[0] == f"{match:.2f}"
    columns = {column.title: column for column in session_columns()}
    with Reader(database) as reader:
        assert columns["α"].cell(reader.session("last"))[0] == share(match)
