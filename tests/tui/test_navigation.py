"""Protects: a key is declared once, and bindings, footer, help, palette, settings and reference all have it."""

from __future__ import annotations

import importlib
import pkgutil
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from textual.dom import DOMNode
from textual.screen import Screen

from spectui import tui
from spectui.tui import screens, widgets
from spectui.tui.app import SpectuiApp
from spectui.tui.cli.commands.config import template
from spectui.tui.navigation import DESTINATIONS, Destination, areas, keymap
from spectui.tui.navigation.everywhere import HELP
from spectui.tui.navigation.key import key
from spectui.tui.navigation.keymap import actions, area_of, declared, name_of
from spectui.tui.screens.help import key_sections
from spectui.tui.widgets.key_bar import KeyBar
from spectui.tui.widgets.rows import Rows
from tests.docs import generated
from tests.tui.conftest import app_for, wait_for
from tests.tui.replay import Recording

BASES = {"BaseScreen", "FedScreen", "PageScreen", "SessionActions", "WatchScreen"}


def classes(below: type[DOMNode]) -> Iterator[type[DOMNode]]:
    """Every class of the dashboard below that one."""
    for package in (screens, widgets):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    seen = [below]
    for cls in seen:
        seen += [each for each in cls.__subclasses__() if each not in seen]
    # A class of the toy below may outlive its module.
    modules = {
        cls: sys.modules.get(cls.__module__) for cls in seen if cls.__module__.startswith("spectui.tui.")
    }
    return (cls for cls, module in modules.items() if getattr(module, cls.__name__, None) is cls)


def test_every_screen_is_a_destination() -> None:
    assert {place.load() for place in DESTINATIONS.values()} == {
        cls for cls in classes(Screen) if cls.__name__ not in BASES
    }
    for name, place in DESTINATIONS.items():
        assert area_of(place.load()) == name


def test_every_class_with_keys_has_them_from_the_declaration() -> None:
    with_keys = {
        area_of(cls): cls.__dict__["BINDINGS"] for cls in classes(DOMNode) if "BINDINGS" in cls.__dict__
    }
    assert with_keys == {area: declared(area) for area in areas()}


def test_every_action_of_a_key_exists() -> None:
    """A key that calls nothing would be dead without a word."""
    owners = {area_of(cls): cls for cls in classes(DOMNode)} | {"app": SpectuiApp}
    for area, keys in areas().items():
        for each in keys:
            clicks = [each.click] if each.click and not each.area else []
            declared_here = [binding.action for binding in each.bindings if not each.area]
            for action in [*declared_here, *clicks]:
                name = action.partition("(")[0]
                holder, _, method = name.rpartition(".")
                if holder != "screen":  # a widget's key may call the screen it is on
                    assert hasattr(SpectuiApp if holder == "app" else owners[area], f"action_{method}"), (
                        action
                    )


def test_every_key_is_explained() -> None:
    assert not [
        (area, key.bindings[0].key) for area, keys in areas().items() for key in keys if not key.words
    ]


def test_a_key_that_a_sentence_names_exists() -> None:
    """A sentence would have a gap in the place of the key."""
    source = "".join(path.read_text(encoding="utf-8") for path in Path(tui.__path__[0]).rglob("*.py"))
    named = set(re.findall(r"key_(?:for|of)\((?:self|'\w+'), f?[\"'](\w+)", source))
    assert len(named) > 10
    known = " ".join(name for area in areas() for name in actions(area))
    assert not [name for name in named if name not in known]


def test_actions_of_an_area_have_different_names() -> None:
    for area, keys in areas().items():
        names = [name_of(binding) for each in keys if not each.area for binding in each.bindings]
        assert len(names) == len(set(names)) == len(actions(area)), area


TOY = '''
"""A screen that a test adds."""

from textual.app import ComposeResult

from spectui.tui.navigation.keymap import bindings
from spectui.tui.screens.base import BaseScreen
from spectui.tui.widgets.key_bar import KeyBar
from spectui.tui.widgets.rows import Line


class ToyScreen(BaseScreen):
    """Says how often its key was pressed."""

    BINDINGS = bindings("toy")
    pressed = 0

    def compose(self) -> ComposeResult:
        yield Line(id="head")
        yield KeyBar(id="keys")

    def action_press(self) -> None:
        self.pressed += 1
'''


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A module of a screen and its entry among the destinations, and nothing else."""
    (tmp_path / "toy.py").write_text(TOY)
    monkeypatch.setattr(screens, "__path__", [*screens.__path__, str(tmp_path)])
    keys = (key("f5", "press", "Press the toy", "press", help="count one more"), HELP)
    monkeypatch.setitem(DESTINATIONS, "toy", Destination("toy:ToyScreen", keys, "The toy"))
    yield
    sys.modules.pop("spectui.tui.screens.toy", None)


async def test_a_screen_is_a_module_and_an_entry(toy: None, database: Path, finished: Recording) -> None:
    """Its key works and is in the footer, the help, the palette, the settings and the page of keys."""
    app = app_for(database)
    async with app.run_test(size=(120, 40)) as pilot:
        await wait_for(pilot, lambda: getattr(app.screen, "sessions", None))
        app.go("toy")
        await wait_for(pilot, lambda: type(app.screen).__name__ == "ToyScreen")
        screen = app.screen
        await pilot.press("f5")
        assert screen.pressed == 1  # type: ignore[attr-defined]
        assert screen.query_one(KeyBar).text.split() == ["f5", "press", "?", "help"]
        assert "Press the toy" in {command.title for command in app.get_system_commands(screen)}
        await pilot.press("question_mark")
        await wait_for(pilot, lambda: app.screen.query("#help-box"))
        page = app.screen.query_one(Rows).text
        assert page.startswith("The toy\n  f5              count one more")
    assert '# press = "f5"  # Press the toy' in template()
    assert "| `f5` | count one more |" in generated.keys()  # noqa: SIM118


async def test_the_help_has_every_section_and_the_keys_in_force(database: Path, finished: Recording) -> None:
    titles = [title for _, title, _ in key_sections()]
    assert titles == [place.title for place in DESTINATIONS.values() if place.title] + ["Everywhere"]
    keymap.apply({"live": {"toggle_follow": "f"}, "app": {"next_theme": "T"}})
    try:
        sections = {area: entries for area, _, entries in key_sections()}
    finally:
        keymap.apply({})
    assert ("f", "follow the prompt being decoded, or stay here") in sections["live"]
    assert sections["app"][1][0] == "T"
