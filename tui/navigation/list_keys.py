"""Keys of the list of sessions, and of the screens about whole sessions: comparison, report, advice."""

from __future__ import annotations

from spectui.tui.navigation.everywhere import COMMANDS, HELP, PAGE, THEME
from spectui.tui.navigation.key import bind, key, keys
from spectui.tui.navigation.session_keys import LEAVE

SESSIONS = (
    LEAVE,
    HELP,
    key("enter", "open", "Open the session", help="open the session", hint="open"),
    key("r", "new_run", "Start a run", help="start a new run", hint="new run"),
    # With priority, as what is typed right behind it would go to the list: over a slow line keys come in bursts.
    key(
        "slash",
        "filter",
        "Filter the sessions",
        help='filter as you type: words, #tag, task:code, -word, >2026-11-01 (or <; a month, a year), "two words"',
        hint="filter",
        priority=True,
    ),
    key("m", "mark", "Mark the session, or unmark it", help="mark two to four sessions", hint="mark"),
    key("c", "compare", "Compare the marked sessions", help="compare the marked sessions", hint="compare"),
    keys(
        bind("o", "sort(1)", "Sort by the next column"),
        bind("O", "sort(-1)", "Sort by the previous column"),
        help="sort by the next, the previous column",
        hint="sort",
        click="sort(1)",
    ),
    key("R", "report", "Report on acceptance", help="report on acceptance", hint="report"),
    key(
        "A",
        "advise",
        "Which tree pays for which task",
        help="the tree that pays for each task",
        hint="advise",
    ),
    key("v", "toggle_card", "Show or hide the summary", help="show or hide the summary", hint="summary"),
    key("e", "rename", "Rename the session", help="rename the session", hint="rename"),
    key("number_sign", "tag", "Tag the session", help="tags of the session", hint="tags"),
    key("n", "note", "Write a note about the session", help="a note about the session", hint="note"),
    key(
        "d",
        "delete",
        "Delete the session",
        help="delete the session, once the dashboard is left",
        hint="delete",
    ),
    key(
        "x",
        "export",
        "Export the session",
        help="export the session: CSV, JSON, Parquet, a database",
        hint="export",
    ),
    key("y", "copy", "Copy the summary", help="copy the summary", hint="copy"),
    THEME,
    COMMANDS,
    key("i", "reverse", "Reverse the order", help="reverse the order"),
    key("u", "undo", "Bring back the session deleted last", help="bring back the session deleted last"),
    key("escape", "all", "Show all sessions", help="show all sessions again"),
)

COMPARE = (
    key("escape,q", "back", "Back", help="back to the list of sessions", hint="back"),
    HELP,
    keys(
        bind("1", "pane(1)", "Charts"),
        bind("2", "pane(2)", "Figures"),
        bind("3", "pane(3)", "Outputs"),
        help="chart, figures, outputs; the same again: alone on the screen",
        hint="pane",
        click="next_pane",
    ),
    keys(
        bind("h", "chart(1)", "Next chart"),
        bind("H", "chart(-1)", "Previous chart"),
        help="next and previous chart",
        hint="chart",
        click="chart(1)",
    ),
    key("o", "task", "Chart of one task, or of all", help="chart of one task, or of all", hint="task"),
    keys(
        bind("left", "read(-1)", "Value to the left", priority=True),
        bind("right", "read(1)", "Value to the right", priority=True),
        help="move the chart's cursor, or scroll the figures",
        hint="read",
    ),
    keys(
        bind("left_square_bracket", "prompt(-1)", "Previous prompt"),
        bind("right_square_bracket", "prompt(1)", "Next prompt"),
        help="previous and next prompt",
        hint="prompt",
    ),
    keys(
        bind("n", "difference(1)", "Next prompt whose outputs differ"),
        bind("N", "difference(-1)", "Previous prompt whose outputs differ"),
        help="next and previous prompt whose outputs differ",
        hint="differ",
        click="difference(1)",
    ),
    key("r", "again", "Work the figures out again", help="work the figures out again", hint="again"),
    key("y", "copy", "Copy the figures", help="copy the figures", hint="copy"),
    THEME,
)

REPORT = (
    LEAVE,
    HELP,
    key("escape,R", "back", "Back", help="back", hint="back"),
    PAGE[0].seen_from_elsewhere("report_view", help="scroll", hint="scroll", click="end"),
    keys(
        bind("left_square_bracket", "section(-1)", "Previous section"),
        bind("right_square_bracket", "section(1)", "Next section"),
        help="previous and next section",
        hint="section",
    ),
    key("w", "save", "Write the report to a file", help="write the report to a file", hint="write to a file"),
    key("y", "copy", "Copy the report as text", help="copy the report as text", hint="copy"),
    key("r", "again", "Work the report out again", help="work the report out again", hint="again"),
    THEME,
)

ADVISE = (
    LEAVE,
    HELP,
    key("escape,A", "back", "Back", help="back", hint="back"),
    key(
        "w",
        "save",
        "Write the trees to a plan file",
        help="write the trees to a plan file",
        hint="write a plan file",
    ),
    key("y", "copy", "Copy the advice as text", help="copy the advice as text", hint="copy"),
    key("r", "again", "Weigh the trees again", help="weigh the trees again", hint="again"),
    THEME,
)
