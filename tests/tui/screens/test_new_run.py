"""The form for a new run: every field checked by what will use it, and a real session at the end."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Input

from spectui.decoding.config import STUDY_TREE, WITH_LOOKUP, RunConfig, drafter_choices
from spectui.decoding.drafters.registry import EAGLE, named_kinds
from spectui.decoding.errors import UsageError
from spectui.prompts import Prompt, PromptError, bundled
from spectui.prompts.chat import ANSWERS
from spectui.store.database import connect
from spectui.tui.app import SpectuiApp
from spectui.tui.screens import new_run
from spectui.tui.screens.live.screen import LiveScreen
from spectui.tui.screens.new_run import (
    FIELDS,
    STUDY,
    NewRunScreen,
    read_form,
)
from spectui.tui.settings import parse
from spectui.tui.widgets.inputs import ChoiceInput
from spectui.tui.widgets.rows import Line
from tests.hub_cache import fill_cache
from tests.tui.conftest import app_for, wait_for
from tests.tui.replay import Recording

DEFAULTS = {field.name: field.value for field in FIELDS}


def read_config(**values: str) -> RunConfig:
    return read_form(DEFAULTS | values)[0]


def read_prompts(**values: str) -> list[Prompt]:
    config, request = read_form(DEFAULTS | values)
    return request.read_prompts(study=config.study, tell=lambda _: None)


def test_the_form_as_it_opens_is_a_run() -> None:
    assert read_config() == RunConfig(max_new_tokens=96)
    assert [p.task for p in read_prompts()] == [
        task for task in ("code", "math", "logic", "chat") for _ in range(3)
    ]


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("max_new_tokens", "many", "--max-new-tokens is 'many'; it must be a whole number"),
        ("max_new_tokens", "0", "--max-new-tokens is 0"),
        ("temperature", "11", "--temperature is 11"),
        ("top_p", "0", "--top-p is 0"),
        ("tree", "full:99x99", "depth must be between"),
        ("device", "tpu", "--device is 'tpu'"),
        ("target", "", "--target is empty"),
        ("price", "cheap", "--price is 'cheap'; it must be a number"),
        ("price", "-1", "--price is -1"),
        ("study", "maybe", "--study is 'maybe'"),
        ("raw", "maybe", "--raw is 'maybe'"),
        ("study", "yes", "--tree left open does not go with --study"),
    ],
)
def test_what_cannot_be_is_said_with_its_flag(field: str, value: str, words: str) -> None:
    with pytest.raises(UsageError, match=words.split(";")[0].replace("(", r"\(")):
        read_config(**{field: value})


def test_prompts_come_from_a_file_or_the_bundle(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text('{"task": "rag", "prompt": "What does the page say?"}\n')
    assert [p.task for p in read_prompts(prompts=str(path))] == ["rag"]
    with pytest.raises(PromptError, match="has no task 'code'"):
        read_prompts(prompts=str(path), tasks="code")
    assert len(read_prompts(tasks="math", per_task="2")) == 2
    with pytest.raises(PromptError, match="no bundled task 'poetry'"):
        read_prompts(tasks="poetry")
    with pytest.raises(UsageError, match="per-task"):
        read_prompts(per_task="none")


def test_prompts_are_not_taken_from_what_the_dashboard_would_wait_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("-", "/dev/zero", str(tmp_path / "pipe"), str(tmp_path)):
        with pytest.raises(UsageError, match="--prompts names no file"):
            read_prompts(prompts=name)


def test_a_prompt_written_where_its_file_belongs_is_no_file() -> None:
    with pytest.raises(PromptError, match="cannot be read: File name too long"):
        read_prompts(prompts="Write a poem of ten lines on rivers. " * 9)


def test_a_price_is_told_to_the_run_and_none_is_none() -> None:
    assert read_config(price="2.5").price == 2.5
    assert read_config(price="").price is None


def form(app: SpectuiApp) -> NewRunScreen:
    screen = app.screen
    assert isinstance(screen, NewRunScreen)
    return screen


async def test_drafts_on_this_machine_are_offered_for_the_target_in_the_form(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_cache(tmp_path, monkeypatch)
    connect(database).close()
    app = app_for(database)
    async with app.run_test(size=(80, 40)) as pilot:
        await pilot.press("r")
        await pilot.pause()
        form(app).query_one("#target", Input).value = "a/target"
        draft = form(app).query_one("#draft", ChoiceInput)
        await wait_for(pilot, lambda: "a/eagle" in draft.choices)
        assert draft.choices[: len(drafter_choices("a/target"))] == drafter_choices("a/target")
        assert "a/for-another" not in draft.choices
        form(app).query_one("#target", Input).value = "embedded"
        await wait_for(pilot, lambda: draft.choices == drafter_choices("embedded"))


async def test_a_mistake_is_shown_and_its_field_focused(database: Path) -> None:
    connect(database).close()
    app = app_for(database)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("r")
        await wait_for(pilot, lambda: isinstance(app.screen, NewRunScreen))
        screen = form(app)
        screen.query_one("#temperature", Input).value = "[red]hot[/red]"
        await pilot.press("enter")
        await wait_for(pilot, lambda: "[red]hot[/red]" in screen.query_one("#problem", Line).text)
        assert app.focused is screen.query_one("#temperature")
        await pilot.press("escape")
        await wait_for(pilot, lambda: not isinstance(app.screen, NewRunScreen))


async def test_empty_fields_show_what_they_stand_for(database: Path) -> None:
    connect(database).close()
    app = app_for(database)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("r")
        await wait_for(pilot, lambda: isinstance(app.screen, NewRunScreen))
        draft, tree = (form(app).query_one(f"#{name}", Input) for name in ("draft", "tree"))
        default = RunConfig()
        assert (draft.placeholder, tree.placeholder) == (default.draft_name, default.tree_label)
        draft.value = "lookup+lookup"  # refused when it is sent, not while it is typed
        await pilot.pause()
        assert isinstance(app.screen, NewRunScreen)


async def test_space_goes_through_the_drafters_and_typing_names_any_other(database: Path) -> None:
    connect(database).close()
    app = app_for(database)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("r")
        await wait_for(pilot, lambda: isinstance(app.screen, NewRunScreen))
        screen = form(app)
        draft = screen.query_one("#draft", ChoiceInput)
        about = screen.query_one("#about", Line)
        await pilot.press("down")
        await wait_for(pilot, lambda: f"default ({RunConfig().draft_name})" in about.text)
        seen = [draft.value]
        for _ in drafter_choices("embedded")[1:]:
            await pilot.press("space")
            seen.append(draft.value)
        assert tuple(seen) == drafter_choices("embedded")
        assert {*(kind.name for kind in named_kinds(embedded=True)), EAGLE.name + WITH_LOOKUP} <= set(seen)
        await pilot.press("space")
        assert draft.value == ""
        await pilot.press(*"my", "space", *"head")
        assert draft.value == "my head"
        screen.query_one("#target", Input).value = "some/model"
        await wait_for(pilot, lambda: not any(EAGLE.name in choice for choice in draft.choices))
        await pilot.press("down")
        await wait_for(pilot, lambda: "auto:FILE gives each task the tree" in about.text)


async def test_the_study_fills_in_its_set_up_and_takes_it_back(
    database: Path, finished: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed: list[tuple[RunConfig, list[Prompt]]] = []

    def start(_: Path, config: RunConfig, prompts: list[Prompt], __: str | None) -> Any:
        handed.append((config, prompts))
        return finished.id

    monkeypatch.setattr(new_run, "start_run", start)
    app = app_for(database)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("r")
        await wait_for(pilot, lambda: isinstance(app.screen, NewRunScreen))
        screen = form(app)
        screen.query_one("#study", Input).focus()
        await pilot.press("space")
        assert {name: screen.query_one(f"#{name}", Input).value for name in STUDY} == STUDY
        await pilot.press("space")
        assert {f.name: screen.query_one(f"#{f.name}", Input).value for f in FIELDS} == DEFAULTS
        await pilot.press("space")
        per_task = screen.query_one("#per_task", Input)
        per_task.value = "3"
        await pilot.press("enter")
        await wait_for(pilot, lambda: "--per-task does not go" in screen.query_one("#problem", Line).text)
        assert app.focused is per_task
        per_task.value = ""
        await pilot.press("enter")
        await wait_for(pilot, lambda: isinstance(app.screen, LiveScreen))
    ((config, prompts),) = handed
    assert (config.study, config.tree, len(prompts)) == (True, STUDY_TREE, len(bundled()))


@pytest.mark.parametrize("target", ["embedded", "some/model"])
def test_every_drafter_on_offer_makes_a_run(target: str) -> None:
    for choice in drafter_choices(target):
        assert read_config(target=target, draft=choice).draft == choice


async def test_starting_opens_the_session(
    database: Path, finished: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker itself is started by the tests of the command line; here, what the form hands over."""
    handed: list[tuple[RunConfig, list[Prompt], str | None]] = []

    def start(path: Path, config: RunConfig, prompts: list[Prompt], name: str | None) -> Any:
        assert path == database
        handed.append((config, prompts, name))
        return finished.id

    monkeypatch.setattr(new_run, "start_run", start)
    app = app_for(database)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("r")
        await wait_for(pilot, lambda: isinstance(app.screen, NewRunScreen))
        form(app).query_one("#per_task", Input).value = "1"
        form(app).query_one("#name", Input).value = "first"
        await pilot.press("enter")
        await wait_for(pilot, lambda: isinstance(app.screen, LiveScreen))
    assert [(c, len(p), n) for c, p, n in handed] == [(RunConfig(max_new_tokens=96), 4, "first")]


async def test_conversations_are_handed_over_whole_with_the_users_own_switches(
    database: Path, finished: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed: list[tuple[RunConfig, list[Prompt]]] = []

    def start(_: Path, config: RunConfig, prompts: list[Prompt], __: str | None) -> Any:
        handed.append((config, prompts))
        return finished.id

    monkeypatch.setattr(new_run, "start_run", start)
    settings = parse("[run]\ntemplate-args = { enable_thinking = false }\n", tmp_path / "config.toml")
    turns = [{"role": role, "content": role} for role in ("system", "user", "assistant")]
    (tmp_path / "chat.json").write_text(json.dumps([{"messages": turns}]))
    app = SpectuiApp(database, settings=settings)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("r")
        await wait_for(pilot, lambda: isinstance(app.screen, NewRunScreen))
        form(app).query_one("#prompts", Input).value = str(tmp_path / "chat.json")
        await pilot.press("enter")
        await wait_for(pilot, lambda: isinstance(app.screen, LiveScreen))
        assert any(ANSWERS in note.message for note in app._notifications)
    ((config, prompts),) = handed
    assert config.template_args == {"enable_thinking": False}
    assert [prompt.text for prompt in prompts] == ["system: system\n\nuser: user"]


async def test_a_worker_that_cannot_start_is_said_in_words(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(*_: object) -> int:
        raise UsageError("the target folder /nowhere is no model folder")

    connect(database).close()
    monkeypatch.setattr(new_run, "start_run", start)
    app = app_for(database)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("r")
        await wait_for(pilot, lambda: isinstance(app.screen, NewRunScreen))
        await pilot.press("enter")
        await wait_for(pilot, lambda: "/nowhere" in form(app).query_one("#problem", Line).text)
