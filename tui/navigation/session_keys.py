"""Keys of the screens that show one session: live, replayed, its nodes, a chart."""

from __future__ import annotations

from dataclasses import replace

from spectui.tui.navigation.everywhere import HELP, PAGES, READ, SCROLL, THEME
from spectui.tui.navigation.key import bind, key, keys

CHARTS = keys(
    bind("h", "toggle_chart(1)", "Next chart"),
    bind("H", "toggle_chart(-1)", "Previous chart"),
    help="next and previous chart",
    hint="chart",
    click="toggle_chart(1)",
)
ROUNDS = keys(
    bind("left", "step_round(-1)", "Previous round", priority=True),
    bind("right", "step_round(1)", "Next round", priority=True),
    help="previous and next round: its tree and its text",
    hint="round",
    click="step_round(-1)",
)
TEN_ROUNDS = keys(
    bind("shift+left", "step_round(-10)", "Ten rounds back", priority=True),
    bind("shift+right", "step_round(10)", "Ten rounds on", priority=True),
    help="ten rounds back, ten rounds on",
    hint="ten",
)
PROMPTS = keys(
    bind("left_square_bracket", "step_prompt(-1)", "Previous prompt"),
    bind("right_square_bracket", "step_prompt(1)", "Next prompt"),
    help="previous and next prompt",
    hint="prompt",
)
PANES = keys(
    bind("1", "pane(1)", "Text"),
    bind("2", "pane(2)", "Tree"),
    bind("3", "pane(3)", "Charts"),
    bind("4", "pane(4)", "Prompts"),
    help="text, tree, charts, prompts; the same again: alone on the screen",
    hint="pane",
    click="next_pane",
)
LEAVE = key("q", "leave", "Leave", help="leave the dashboard; asks whether a run goes on", hint="leave")
INSPECT = key(
    "enter",
    "inspect",
    "Inspect the tree of this round",
    help="inspect every node of this round",
    hint="inspect",
)
REJECTED = key(
    "x",
    "toggle_rejected",
    "Show or hide rejected drafts",
    help="show or hide rejected drafts",
    hint="rejected",
)

LIVE = (
    LEAVE,
    HELP,
    key(
        "space",
        "toggle_run",
        "Pause or resume the run",
        help="pause the run, or resume it; replay a session that is over",
        hint={"live": "pause", "over": "replay"},
    ),
    ROUNDS,
    INSPECT,
    PROMPTS,
    CHARTS,
    REJECTED,
    key(
        "z",
        "zoom_chart",
        "Show the chart on the whole screen",
        help="this chart on the whole screen",
        hint="zoom",
    ),
    key("R", "report", "Report on acceptance", help="report on acceptance", hint="report"),
    key(
        "A",
        "advise",
        "Which tree pays for which task",
        help="the tree that pays for each task",
        hint="advise",
    ),
    key(
        "slash",
        "inspect(True)",
        "Search the session",
        help="search the session for a text or a token",
        hint="search",
    ),
    key(
        "r", "replay", "Replay from this round", help="replay the session from here", hint={"live": "replay"}
    ),
    key("s", "skip_prompt", "Skip this prompt", help="skip the prompt being decoded", hint={"live": "skip"}),
    key(
        "p",
        "toggle_follow",
        "Follow the text, or stop",
        help="follow the prompt being decoded, or stay here",
        hint={"live": "follow"},
    ),
    PANES,
    key("escape", "back", "All sessions", help="back to the list of sessions", hint="sessions"),
    key("y", "copy", "Copy the text of this prompt", help="copy the answer to this prompt", hint="copy"),
    THEME,
    keys(*SCROLL, *PAGES).seen_from_elsewhere(
        "token_stream", help="scroll the text; away from its end it stops following"
    ),
    keys(
        bind("g,home", "top", "Top of the text"),
        bind("G,end", "end", "End of the text"),
        help="top and end of the text",
    ),
    key("v", "whole_prompt", "Show the whole prompt", help="show the whole prompt, or its beginning"),
)

REPLAY = (
    key("escape", "back", "Leave the replay", help="back to the session", hint="back"),
    HELP,
    key("space", "toggle_run", "Play, or hold", help="play, or hold", hint="play"),
    ROUNDS.seen_from_elsewhere("live", help="previous and next round", click="step_round(1)"),
    TEN_ROUNDS,
    keys(
        bind("less_than_sign", "change_speed(-1)", "Slower"),
        bind("greater_than_sign", "change_speed(1)", "Faster"),
        help="slower, faster: 0.25 to 32 times, then as fast as the screen can",
        hint="speed",
    ),
    key(
        "colon",
        "go_to",
        "Go to a prompt or a time",
        help="go to 12 (a prompt), 12.88 (its round 88), 1:30 (a time) or 50%",
        hint="go to",
    ),
    PROMPTS.seen_from_elsewhere("live", help="start of this prompt, then the one before; the next prompt"),
    INSPECT.seen_from_elsewhere("live", help="hold, and inspect this round"),
    CHARTS.seen_from_elsewhere("live"),
    PANES.seen_from_elsewhere("live"),
    REJECTED.seen_from_elsewhere("live"),
    LEAVE.seen_from_elsewhere("live"),
    keys(
        bind("home", "to_start", "Start of the session"),
        bind("end", "to_end", "End of the session"),
        help="start and end of the session",
    ),
)

INSPECTOR = (
    key("escape", "back", "Back", help="back", hint="back"),
    HELP,
    keys(
        bind("n", "rejected(1)", "Next rejected node"),
        bind("N", "rejected(-1)", "Previous rejected node"),
        help="next and previous rejected node, over all rounds",
        hint="rejected",
        click="rejected(1)",
    ),
    replace(ROUNDS, help="previous and next round", click="step_round(1)"),
    key(
        "slash",
        "search",
        "Search the session",
        help="search the session for a text, or #123 for a token",
        hint="search",
    ),
    key("r", "replay", "Replay from this round", help="replay from this round", hint="replay"),
    TEN_ROUNDS,
    key("y", "copy", "Copy this round", help="copy the nodes of this round", hint="copy"),
    replace(LEAVE, help="leave the dashboard"),
    THEME,
)

CHART = (
    key("escape,q,z,enter", "back", "Back", help="back", hint="back"),
    HELP,
    READ.seen_from_elsewhere("plot", help=READ.help, hint="read", click="read(1)"),
    keys(
        bind("h", "chart(1)", "Next chart"),
        bind("H", "chart(-1)", "Previous chart"),
        help="next and previous chart",
        hint="chart",
        click="chart(1)",
    ),
    keys(
        *(bind(str(n), f"toggle_task({n})", f"Show or hide task {n}") for n in range(1, 9)),
        help="show or hide a task",
        hint="show, hide",
        click="all",
    ),
    key("0", "all", "Show all tasks", help="show all tasks", hint="all"),
    key("y", "copy", "Copy the values", help="copy every value", hint="copy"),
    THEME,
)
