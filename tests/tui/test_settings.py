"""The user's settings: what is read, what is refused and where, and that keys and defaults take effect."""

from __future__ import annotations

import json
import stat
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Input

from spectui.tui.app import SpectuiApp
from spectui.tui.cli.commands.config import template
from spectui.tui.memory import Memory
from spectui.tui.navigation import areas
from spectui.tui.navigation import keymap as keys
from spectui.tui.screens.help import HelpScreen
from spectui.tui.screens.live.screen import LiveScreen
from spectui.tui.screens.sessions.screen import SessionsScreen
from spectui.tui.settings import Settings, SettingsError, defaults_beside, load, parse
from spectui.tui.widgets.key_bar import KeyBar
from spectui.tui.widgets.rows import Rows
from tests.tui.conftest import app_for, wait_for
from tests.tui.replay import Recording

PATH = Path("config.toml")


def test_everything_that_may_be_set_is_read(tmp_path: Path) -> None:
    text = (
        'theme = "light"\ndatabase = "~/a.db"\nascii = true\nfps = 12\nmouse = false\n'
        '[run]\nmax-new-tokens = 64\ntemperature = 1\ntasks = "code"\n'
        '[keys.live]\ntoggle_follow = "f,ctrl+f"\n'
    )
    settings = parse(text, PATH)
    assert (settings.theme, settings.ascii, settings.fps, settings.mouse) == ("light", True, 12, False)
    assert settings.database == Path.home() / "a.db"
    assert dict(settings.run) == {"max_new_tokens": 64, "temperature": 1.0, "tasks": "code"}
    assert {area: dict(changes) for area, changes in settings.keys.items()} == {
        "live": {"toggle_follow": "f,ctrl+f"}
    }
    assert load(tmp_path / "none.toml") == Settings()


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ('theme = "light"\nthem = "dark"\n', 2, "did you mean 'theme'?"),
        ('theme = "dracula"', 1, "there is no theme 'dracula'; use dark, light, colour-blind-safe or ansi"),
        ('\n\nfps = "12"', 3, "fps is '12'; it must be a whole number"),
        ("fps = true", 1, "it must be a whole number"),
        ("fps = 500", 1, "fps is 500; it must be from 1 to 60"),
        ("# words\nascii = 1\n", 2, "ascii is 1; it must be true or false"),
        ("[run]\nmax-new-token = 3", 2, "did you mean 'max-new-tokens'?"),
        ("[run]\n\nmax-new-tokens = 0", 3, "max-new-tokens is 0; it must be at least 1"),
        ("run = 3", 1, "run is a table; write [run]"),
        ('[keys.liv]\nx = "f"', 1, "did you mean 'live'?"),
        ('[keys.live]\n\ntoggle_folow = "f"', 3, "did you mean 'toggle_follow'?"),
        ('[keys]\nlive.toggle_follow = "hyper+f"', 2, "'hyper+f' is no key"),
        ('[keys.live]\ntoggle_follow = ""', 2, "is no key"),
        ('[keys.live]\ntoggle_follow = "s"', 2, "'s' would be both skip_prompt and toggle_follow"),
        (
            '[keys.live]\nskip_prompt = "question_mark"\ntoggle_follow = "?"',
            3,
            "'?' would be both",
        ),
        ("theme = dark\n", 1, "Invalid value"),
        ('theme = "a\n', 1, ""),
    ],
)
def test_what_is_wrong_is_named_with_file_and_line(text: str, line: int, words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse(text, PATH)
    assert str(caught.value).startswith(f"config.toml:{line}: ")
    assert words in str(caught.value)


def test_files_that_are_no_text_are_named(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_bytes(b'theme = "dark"\n# \xff\n')
    with pytest.raises(SettingsError, match=r"c\.toml:2: this is not UTF-8"):
        load(path)
    with pytest.raises(SettingsError, match="cannot be read"):
        load(tmp_path)


def test_the_file_to_begin_with_names_every_key_and_means_what_it_says() -> None:
    text = template()
    assert tomllib.loads(text) == {}
    for words in ('# theme = "dark"', "# max-new-tokens = 64", "# [keys.live]", '# toggle_follow = "p"'):
        assert words in text
    lines = [line[2:] for line in text.splitlines() if line.startswith("# [") or " = " in line]
    every = "\n".join(line for line in lines if not line.startswith(("database", "prompts", "target")))
    settings = parse(every.replace('tree = "..."', 'tree = "chain:3"').replace('"..."', '"auto"'), PATH)
    assert settings.keys["live"]["step_prompt_minus_1"] == "["
    assert set(settings.keys) == set(areas())


def test_what_is_asked_for_replaces_what_was_chosen_for_something_else() -> None:
    run = {"target": "a", "draft": "b", "tree": "chain:3", "seed": 3, "tasks": "code"}
    assert defaults_beside(run, []) == run
    assert defaults_beside(run, ["draft"]) == {"target": "a", "seed": 3, "tasks": "code"}
    assert defaults_beside(run, ["target", "prompts"]) == {"seed": 3}
    assert "tree" not in defaults_beside(run, ["depth"])


@pytest.fixture
def keymap() -> Iterator[Any]:
    """Changes keys for one test."""

    def change(changes: keys.Keymap) -> None:
        keys.check(changes)
        keys.apply(changes)

    yield change
    keys.apply({})


async def test_keys_can_be_changed_and_are_shown(database: Path, running: Recording, keymap: Any) -> None:
    keymap(
        {
            "live": {"toggle_follow": "f", "step_prompt_1": "K,L"},
            "app": {"help": "f2"},
            "table": {"move_1": "J"},
        }
    )
    app = app_for(database, running.id)
    async with app.run_test(size=(200, 60)) as pilot:
        screen = app.screen
        assert isinstance(screen, LiveScreen)
        await wait_for(pilot, lambda: screen.shown)
        footer = screen.query_one(KeyBar).text
        assert "f follow" in footer
        assert "[ K prompt" in footer
        assert "f2 help" in footer
        await pilot.press("p")
        assert screen.follow
        await pilot.press("f")
        assert not screen.follow
        await pilot.press("f2")
        await wait_for(pilot, lambda: isinstance(app.screen, HelpScreen))
        page = app.screen.query_one(Rows).text
        assert "  f               follow the prompt" in page
        assert "  [  K            previous and next prompt" in page
    keys.apply({})
    assert "toggle_follow" in keys.actions("live")
    assert LiveScreen._merge_bindings().key_to_bindings["p"][0].action == "toggle_follow"


async def test_the_form_begins_with_the_users_defaults(database: Path, finished: Recording) -> None:
    app = SpectuiApp(
        database, settings=Settings(run={"max_new_tokens": 7, "temperature": 0.5, "tasks": "math"})
    )
    async with app.run_test() as pilot:
        await pilot.press("r")
        await wait_for(pilot, lambda: app.screen.query("#max_new_tokens"))
        names = ("max_new_tokens", "temperature", "tasks")
        values = [app.screen.query_one(f"#{name}", Input).value for name in names]
    assert values == ["7", "0.5", "math"]


async def test_the_theme_chosen_last_is_remembered(
    database: Path, finished: Recording, tmp_path: Path
) -> None:
    path = tmp_path / "state" / "dashboard.json"
    app = SpectuiApp(database, memory=Memory(path))
    before = app.theme
    async with app.run_test() as pilot:
        await wait_for(pilot, lambda: isinstance(app.screen, SessionsScreen))
        await pilot.press("t")
        chosen = app.theme
    assert chosen != before
    assert SpectuiApp(database, memory=Memory(path)).theme == chosen
    assert SpectuiApp(database, memory=Memory(path), settings=Settings(theme="light")).theme == "light"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["dashboard.json"]


def test_a_memory_that_is_broken_is_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "dashboard.json"
    path.write_text('{"theme": ["no"], "half')
    memory = Memory(path)
    assert memory.get("theme", str, "dark") == "dark"
    other = Memory(path)
    memory.remember("theme", "light")
    other.remember("chart", 2)
    assert json.loads(path.read_text()) == {"theme": "light", "chart": 2}
    assert Memory(path).get("chart", str) is None
    Memory(tmp_path / "no" / "dashboard.json" / "x").remember("a", 1)
    Memory(Path("/proc/nothing/here")).remember("a", 1)
