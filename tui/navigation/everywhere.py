"""Keys that every screen has, and those of widgets."""

from __future__ import annotations

from collections.abc import Mapping

from spectui.tui.navigation.key import Key, bind, key, keys

APP = (
    key("question_mark,f1", "help", "Help", "help", help="this page: keys, charts and words"),
    key("t", "next_theme", "Next theme", "theme", help="next theme: dark, light, colour-blind-safe, ansi"),
    key("ctrl+p", "command_palette", "Commands", "commands", help="every command by name"),
    key("ctrl+q,ctrl+c", "leave", "Leave", help="leave the dashboard", priority=True),
    key("ctrl+z", "suspend_process", "To the shell; fg comes back", priority=True),
    key("tab", "focus_next", "Next pane").seen_from_elsewhere("textual"),
)
"""Keys of every screen."""

HELP, THEME, COMMANDS = (each.seen_from_elsewhere("app") for each in APP[:3])

READ = keys(
    bind("left", "step(-1)", "Value to the left"),
    bind("right", "step(1)", "Value to the right"),
    help="move the cursor that reads values",
)
SCROLL = (bind("up,k", "scroll_by(-1)"), bind("down,j", "scroll_by(1)"))
PAGES = (bind("pageup", "scroll_page(-1)"), bind("pagedown", "scroll_page(1)"))
PAGE = (
    keys(bind("up,k", "scroll_up"), bind("down,j", "scroll_down"), help="scroll"),
    key("g", "scroll_home", "Top of the page"),
    key("G", "scroll_end", "End of the page"),
)
_CURSOR = (
    key("up", "screen.move(-1)", "", help="move the cursor of the list"),
    key("down", "screen.move(1)", "", help="move the cursor of the list"),
)

WIDGETS: Mapping[str, tuple[Key, ...]] = {
    "advice_view": PAGE,
    "filter_input": _CURSOR,
    "histogram": (key("enter", "screen.zoom_chart", "", help="the chart on the whole screen"),),
    "plot": (READ, key("home", "edge(0)", "First value"), key("end", "edge(1)", "Last value")),
    "report_view": PAGE,
    "search_input": _CURSOR,
    "table": (
        keys(bind("up,k", "move(-1)"), bind("down,j", "move(1)"), help="move the cursor"),
        keys(bind("pageup", "page(-1)"), bind("pagedown", "page(1)"), help="a page up, a page down"),
        keys(bind("home,g", "edge(0)"), bind("end,G", "edge(1)"), help="first and last row"),
        key("enter", "choose", "", help="open the row"),
    ),
    "token_stream": (keys(*SCROLL, help="scroll"), keys(*PAGES, help="a page up, a page down")),
}
"""Keys of widgets, which hold while the widget has the focus."""
