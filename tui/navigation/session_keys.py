"""Keys of the screens that show one session: live, replayed, its nodes, a chart."""

from __future__ import annotations

from dataclasses import replace

from spectui.tui.navigation.everywhere import HELP, PAGES, READ, SCROLL, THEME
from spectui.tui.navigation.key import bind, key, keys, steps

LEAVE = key("q", "leave", "Leave", "leave", help="leave the dashboard; asks whether a run goes on")
ROUNDS = replace(
    steps("left", "right", "step_round", "round", "round", priority=True), click="step_round(-1)"
)
TEN_ROUNDS = keys(
    bind("shift+left", "step_round(-10)", "Ten rounds back", priority=True),
    bind("shift+right", "step_round(10)", "Ten rounds on", priority=True),
    hint="ten",
    help="ten rounds back, ten rounds on",
)
PROMPTS = steps("left_square_bracket", "right_square_bracket", "step_prompt", "prompt", "prompt")
CHARTS = steps("H", "h", "toggle_chart", "chart", "chart")
RUNNING = steps(
    "N",
    "n",
    "step_running",
    "prompt being decoded",
    "",
    help="follow the next and the previous of several prompts being decoded",
)
INSPECT = key("enter", "inspect", "Inspect every node of this round", "inspect")
REJECTED = key("x", "toggle_rejected", "Show or hide rejected drafts", "rejected")
REPORT = key("R", "report", "Report on acceptance", "report")
ADVISE = key("A", "advise", "Advice: the tree that pays for each task", "advise")
PANES = keys(
    *(
        bind(f"{n}", f"pane({n})", name)
        for n, name in enumerate(("Text", "Tree", "Charts", "Prompts", "Replicas"), 1)
    ),
    hint="pane",
    help="text, tree, charts or prompts; again: that pane alone; 5: the replicas of the run",
    click="next_pane",
)

LIVE = (
    LEAVE,
    HELP,
    key(
        "space",
        "toggle_run",
        "Pause or resume the run",
        {"live": "pause", "over": "replay"},
        help="pause the run, or resume it; replay a session that is over",
    ),
    ROUNDS,
    INSPECT,
    PROMPTS,
    RUNNING,
    CHARTS,
    REJECTED,
    key("z", "zoom_chart", "Show the chart on the whole screen", "zoom"),
    REPORT,
    ADVISE,
    key("slash", "inspect(True)", "Search the session for a text or a token", "search"),
    key("r", "replay", "Replay the session from here", {"live": "replay"}),
    key("s", "skip_prompt", "Skip the prompt being decoded", {"live": "skip"}),
    key("p", "toggle_follow", "Follow the prompt being decoded, or stay here", {"live": "follow"}),
    PANES,
    key("escape", "back", "Back to the list of sessions", "sessions"),
    key("y", "copy", "Copy the answer to this prompt", "copy"),
    THEME,
    keys(*SCROLL, *PAGES, help="scroll the text; away from its end it stops following").seen_from_elsewhere(
        "token_stream"
    ),
    keys(
        bind("g,home", "top", "Top of the text"),
        bind("G,end", "end", "End of the text"),
        help="top and end of the text",
    ),
    key("v", "whole_prompt", "Show the whole prompt, or its beginning"),
)

REPLAY = (
    key("escape", "back", "Back to the session", "back"),
    HELP,
    key("space", "toggle_run", "Play, or hold", "play"),
    ROUNDS.seen_from_elsewhere("live", click="step_round(1)"),
    TEN_ROUNDS,
    keys(
        bind("less_than_sign", "change_speed(-1)", "Slower"),
        bind("greater_than_sign", "change_speed(1)", "Faster"),
        hint="speed",
        help="slower, faster: 0.25 to 32 times, then as fast as the screen can",
    ),
    key(
        "colon",
        "go_to",
        "Go to a prompt or a time",
        "go to",
        help="go to 12 (a prompt), 12.88 (its round 88), 1:30 (a time) or 50%",
    ),
    PROMPTS.seen_from_elsewhere("live", help="start of this prompt, then the one before; the next prompt"),
    INSPECT.seen_from_elsewhere("live", help="hold, and inspect every node of this round"),
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
    key("escape", "back", "Back", "back"),
    HELP,
    steps(
        "N",
        "n",
        "rejected",
        "rejected node",
        "rejected",
        help="next and previous rejected node, over all rounds",
    ),
    replace(ROUNDS, click="step_round(1)"),
    key("slash", "search", "Search the session for a text, or #123 for a token", "search"),
    key("r", "replay", "Replay from this round", "replay"),
    TEN_ROUNDS,
    key("y", "copy", "Copy the nodes of this round", "copy"),
    LEAVE,
    THEME,
)

CHART = (
    key("escape,q,z,enter", "back", "Back", "back"),
    HELP,
    READ.seen_from_elsewhere("plot", hint="read", click="read(1)"),
    steps("H", "h", "chart", "chart", "chart"),
    keys(
        *(bind(str(n), f"toggle_task({n})", f"Show or hide task {n}") for n in range(1, 9)),
        hint="show, hide",
        help="show or hide a task",
        click="all",
    ),
    key("0", "all", "Show all tasks", "all"),
    key("y", "copy", "Copy every value", "copy"),
    THEME,
)
