"""Keys of the screens of watched servers."""

from __future__ import annotations

from spectui.tui.navigation.everywhere import HELP, THEME
from spectui.tui.navigation.key import bind, key, keys, steps

LEAVE = key("q", "leave", "Leave", "leave", help="leave the dashboard; what was recorded stays")
HOLD = key("space", "hold", "Hold the picture", "hold", help="hold the picture, or go on; recording goes on")
WINDOW = key(
    "w",
    "window",
    "Another window",
    "window",
    help="figures of 5 busy minutes, an hour, the segment, 30 seconds",
)
PLAIN = key(
    "b", "plain", "Another plain server", "plain", help="hold it against another server that decodes plainly"
)
PANES = keys(
    *(
        bind(f"{n}", f"pane({n})", name)
        for n, name in enumerate(("Does it pay", "Positions", "Over time", "Serving", "Events"), 1)
    ),
    hint="pane",
    help="answer, positions, course, serving or events alone; again: all",
    click="pane(1)",
)

WATCHED = (
    LEAVE,
    HELP,
    HOLD,
    WINDOW,
    steps("left_square_bracket", "right_square_bracket", "step_server", "server", "server"),
    PLAIN,
    key(
        "D",
        "drive",
        "Our prompts by task",
        "drive",
        help="the command that sends our prompts through it, by task",
    ),
    key(
        "f,6",
        "pane(6)",
        "Figures and counters",
        "figures",
        help="every figure, and the counters it comes from",
    ),
    PANES,
    key("escape", "back", "Back", "back", help="all panes, all servers, the list of sessions"),
    key("y", "copy", "Copy the figures", "copy"),
    THEME,
)

FLEET = (
    LEAVE,
    HELP,
    key("enter", "open", "Open the server", "server"),
    steps("O", "o", "sort", "column to sort by", "sort"),
    key("i", "reverse", "Reverse the order"),
    HOLD.seen_from_elsewhere("watched"),
    WINDOW.seen_from_elsewhere("watched"),
    PLAIN.seen_from_elsewhere("watched"),
    key("escape", "back", "Back to the list of sessions", "sessions"),
    THEME,
)
