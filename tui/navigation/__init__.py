"""Every screen of the dashboard and every key, declared once.

Bindings, footers, the help, the command palette, `[keys]` of the settings and docs/reference/keys.md are
made of this. To add a screen, write its module, an entry of `DESTINATIONS` with its keys, and a picture of it
(tests/tui/screens). Keys stand in order of importance: a footer shows as many of them as it has room for.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from spectui.tui.navigation.everywhere import APP, WIDGETS
from spectui.tui.navigation.key import Key, key
from spectui.tui.navigation.list_keys import ADVISE, COMPARE, REPORT, SESSIONS
from spectui.tui.navigation.session_keys import CHART, INSPECTOR, LIVE, REPLAY
from spectui.tui.navigation.watch_keys import FLEET, WATCHED


@dataclass(frozen=True)
class Destination:
    """A screen that one can go to by name."""

    screen: str
    """``module:Class`` below `spectui.tui.screens`, imported when somebody goes there."""
    keys: tuple[Key, ...] = ()
    title: str = ""
    """The heading of its keys in the help; "" for a dialog, whose frame names its keys."""
    above: str = ""
    """The place whose keys hold here too."""

    def load(self) -> type[Any]:
        """The class of the screen."""
        module, _, name = self.screen.partition(":")
        screen: type[Any] = getattr(import_module(f"spectui.tui.screens.{module}"), name)
        return screen


_BETWEEN_BUTTONS = (
    key("left", "app.focus_previous", "Previous button"),
    key("right", "app.focus_next", "Next button"),
)

DESTINATIONS: dict[str, Destination] = {
    "sessions": Destination("sessions.screen:SessionsScreen", SESSIONS, "The list of sessions"),
    "live": Destination("live.screen:LiveScreen", LIVE, "A session"),
    "chart": Destination("chart:ChartScreen", CHART, "A chart on the whole screen"),
    "inspector": Destination("inspector:InspectorScreen", INSPECTOR, "The inspector"),
    "replay": Destination("live.replay:ReplayScreen", REPLAY, "A replay", above="live"),
    "compare": Destination("compare:CompareScreen", COMPARE, "A comparison"),
    "report": Destination("report:ReportScreen", REPORT, "The report"),
    "advise": Destination("advise:AdviseScreen", ADVISE, "The advice on trees"),
    "new_run": Destination(
        "new_run:NewRunScreen",
        (
            key("escape", "cancel", "Cancel"),
            # With priority, or what is typed right behind them would go to the field before.
            key("up,shift+tab", "app.focus_previous", "Previous field", priority=True),
            key("down,tab", "app.focus_next", "Next field", priority=True),
            key("ctrl+s", "start", "Start"),
        ),
    ),
    "fleet": Destination("watch.fleet:FleetScreen", FLEET, "Watched servers"),
    "watched": Destination("watch.one:WatchedScreen", WATCHED, "A watched server"),
    "help": Destination("help:HelpScreen", (key("escape,question_mark,q,enter", "dismiss", "Close"),)),
    "search": Destination("dialogs.search:SearchScreen", (key("escape", "cancel", "Cancel"),)),
    "ask": Destination("dialogs.ask:AskScreen", (key("escape", "cancel", "Cancel"),)),
    "export": Destination("dialogs.export:ExportScreen", above="ask"),
    "delete": Destination(
        "dialogs.delete:DeleteScreen",
        (
            key("d", "answer(True)", "Delete it"),
            key("escape,c,q", "answer(False)", "Keep it"),
            *_BETWEEN_BUTTONS,
        ),
    ),
    "leave": Destination(
        "dialogs.leave:LeaveScreen",
        (
            key("k,q", "choose('keep')", "Keep it running"),
            key("s", "choose('stop')", "Stop it"),
            key("escape,c", "cancel", "Stay"),
            *_BETWEEN_BUTTONS,
        ),
    ),
}
"""Every screen by name. The help has the keys of those with a title, in this order."""


def areas() -> dict[str, tuple[Key, ...]]:
    """The keys of every screen and widget that has some, by the name it has in `[keys]` of the settings."""
    screens = {name: destination.keys for name, destination in DESTINATIONS.items() if destination.keys}
    return {"app": APP, **screens, **WIDGETS}
