"""Keys of the list of sessions, and of the screens about whole sessions: comparison, report, advice."""

from __future__ import annotations

from spectui.tui.navigation import session_keys
from spectui.tui.navigation.everywhere import COMMANDS, HELP, PAGE, THEME
from spectui.tui.navigation.key import bind, key, keys, steps
from spectui.tui.navigation.session_keys import LEAVE

SESSIONS = (
    LEAVE,
    HELP,
    key("enter", "open", "Open the session", "open"),
    key("r", "new_run", "Start a new run", "new run"),
    # With priority, as what is typed right behind it would go to the list: over a slow line keys come in bursts.
    key(
        "slash",
        "filter",
        "Filter the sessions",
        "filter",
        help='filter as you type: words, #tag, task:code, -word, >2026-11-01 (or <; a month, a year), "two words"',
        priority=True,
    ),
    key("m", "mark", "Mark the session, or unmark it", "mark", help="mark two to four sessions"),
    key("c", "compare", "Compare the marked sessions", "compare"),
    keys(
        bind("o", "sort(1)", "Sort by the next column"),
        bind("O", "sort(-1)", "Sort by the previous column"),
        hint="sort",
        help="sort by the next, the previous column",
        click="sort(1)",
    ),
    session_keys.REPORT,
    session_keys.ADVISE,
    key("v", "toggle_card", "Show or hide the summary", "summary"),
    key("e", "rename", "Rename the session", "rename"),
    key("number_sign", "tag", "Tag the session", "tags"),
    key("n", "note", "Write a note about the session", "note"),
    key("d", "delete", "Delete the session, once the dashboard is left", "delete"),
    key("x", "export", "Export the session: CSV, JSON, Parquet, a database", "export"),
    key("y", "copy", "Copy the summary", "copy"),
    THEME,
    COMMANDS,
    key("i", "reverse", "Reverse the order"),
    key("u", "undo", "Bring back the session deleted last"),
    key("escape", "all", "Show all sessions again"),
)

COMPARE = (
    key("escape,q", "back", "Back to the list of sessions", "back"),
    HELP,
    keys(
        *(bind(f"{n}", f"pane({n})", name) for n, name in enumerate(("Charts", "Figures", "Outputs"), 1)),
        hint="pane",
        help="chart, figures or outputs; again: that pane alone",
        click="next_pane",
    ),
    steps("H", "h", "chart", "chart", "chart"),
    key("o", "task", "Chart of one task, or of all", "task"),
    keys(
        bind("left", "read(-1)", "Value to the left", priority=True),
        bind("right", "read(1)", "Value to the right", priority=True),
        hint="read",
        help="move the chart's cursor, or scroll the figures",
    ),
    steps("left_square_bracket", "right_square_bracket", "prompt", "prompt", "prompt"),
    steps("N", "n", "difference", "prompt whose outputs differ", "differ"),
    key("r", "again", "Work the figures out again", "again"),
    key("y", "copy", "Copy the figures", "copy"),
    THEME,
)

REPORT = (
    LEAVE,
    HELP,
    key("escape,R", "back", "Back", "back"),
    PAGE[0].seen_from_elsewhere("report_view", hint="scroll", click="end"),
    steps("left_square_bracket", "right_square_bracket", "section", "section", "section"),
    key("w", "save", "Write the report to a file", "write to a file"),
    key("y", "copy", "Copy the report as text", "copy"),
    key("r", "again", "Work the report out again", "again"),
    THEME,
)

ADVISE = (
    LEAVE,
    HELP,
    key("escape,A", "back", "Back", "back"),
    key("w", "save", "Write the trees to a plan file", "write a plan file"),
    key("y", "copy", "Copy the advice as text", "copy"),
    key("r", "again", "Weigh the trees again", "again"),
    THEME,
)
