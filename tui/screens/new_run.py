"""The form for a new run: the fields of `RunConfig`, checked by `RunConfig` itself."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textual import events, on
from textual.app import ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label
from textual.worker import Worker, WorkerState

from spectui.decoding.config import (
    AUTO,
    DEVICES,
    DTYPES,
    EMBEDDED_TARGET,
    STUDY_TOKENS,
    STUDY_TREE,
    WITH_LOOKUP,
    RunConfig,
)
from spectui.decoding.drafters.registry import accepted_weights, default_kind, either, named_kinds
from spectui.decoding.errors import DecodingError, UsageError
from spectui.prompts import Prompt, PromptError, interleave, select
from spectui.prompts.loader import Tell
from spectui.prompts.source import STDIN
from spectui.store.errors import StoreError
from spectui.store.paths import expanded
from spectui.tui.model.transcript import wrap
from spectui.tui.navigation.keymap import bindings, named
from spectui.tui.screens.base import Dashboard
from spectui.tui.start import start_run, study_prompts
from spectui.tui.terminal.textsafe import sanitize_line
from spectui.tui.widgets.inputs import ChoiceInput, SteadyInput
from spectui.tui.widgets.rows import Cell, Line, Row


@dataclass(frozen=True)
class Field:
    """One line of the form."""

    name: str
    label: str
    hint: str
    value: str = ""
    kind: type = str
    about: str = ""
    """Said below the form while the field has the focus, after the choices where it has some."""
    choices: tuple[str, ...] = ()


DEFAULTS = RunConfig()
NO, YES = "no", "yes"


def drafter_choices(target: str) -> tuple[str, ...]:
    """The choices of the draft field: the target's default, then the named drafters that fit it."""
    embedded = target in ("", EMBEDDED_TARGET)
    names = [kind.name for kind in named_kinds(embedded=embedded)]
    default = default_kind(embedded=embedded).name
    names.insert(names.index(default) + 1, f"{default}{WITH_LOOKUP}")
    return ("", *names)


FIELDS = (
    Field("target", "target", f"{EMBEDDED_TARGET}, a hub id or a folder", DEFAULTS.target),
    Field(
        "draft",
        "drafter",
        "space: next; or a model, head",
        DEFAULTS.draft,
        about=f"Or the id or folder of {either(accepted_weights())}.",
        choices=drafter_choices(DEFAULTS.target),
    ),
    Field(
        "tree",
        "tree",
        "empty: what pays most here",
        DEFAULTS.tree,
        about=f"{AUTO}:FILE gives each task the tree that a plan file names. Or "
        "dynamic:8x4 (nodes x depth), full:3x2 (depth x branching), chain:5, a file.",
    ),
    Field("tasks", "tasks", "such as code,math; empty: all"),
    Field("per_task", "per task", "how many of each; empty: all", "3"),
    Field("prompts", "prompts file", "JSON Lines, CSV, chats, ..."),
    Field("max_new_tokens", "new tokens", "most for one prompt", "96", int),
    Field("temperature", "temperature", "0 decodes greedily", f"{DEFAULTS.temperature:g}", float),
    Field("top_p", "top p", "nucleus kept when sampling", f"{DEFAULTS.top_p:g}", float),
    Field(
        "raw",
        "raw",
        "space: yes, bare logits",
        NO,
        bool,
        about="Without the repetition penalty and the like of generation_config.json.",
        choices=(NO, YES),
    ),
    Field("seed", "seed", "of the sampling", str(DEFAULTS.seed), int),
    Field("device", "device", "space: next; or cuda:N", DEFAULTS.device, choices=DEVICES),
    Field("dtype", "dtype", "space: next", DEFAULTS.dtype, choices=DTYPES),
    Field(
        "study",
        "study",
        "space: yes, fills in the rest",
        NO,
        about=f"The published set-up: all prompts, {STUDY_TREE}, greedy, probabilities.",
        choices=(NO, YES),
    ),
    Field(
        "price",
        "price",
        "of an hour of the device",
        kind=float,
        about="What the device costs an hour, in any currency: shows what a million tokens cost, in the same.",
    ),
    Field("name", "name", "empty: a memorable one"),
)


STUDY = {
    "tree": STUDY_TREE,
    "tasks": "",
    "per_task": "",
    "max_new_tokens": str(STUDY_TOKENS),
    "temperature": "0",
    "top_p": "1",
}
"""The values that a study fills into the form."""


WIDTH = 78
"""Cells that the form takes; hints stand beside its fields where it has them all."""


class NewRunScreen(ModalScreen[int | None]):
    """A form whose result is the id of the session that it started, or None."""

    app: Dashboard
    CSS_PATH = "new_run.tcss"
    BINDINGS = bindings("new_run")

    def __init__(self, database: Path) -> None:
        super().__init__()
        self.database = database
        self._starting = False

    def compose(self) -> ComposeResult:
        """A line for each field, what is wrong, two buttons."""
        with VerticalScroll(id="form"):
            for field in FIELDS:
                with Horizontal(classes="field"):
                    yield Label(field.label, classes="name", markup=False)
                    usual = self.app.settings.run.get(field.name)
                    value = field.value if usual is None else _written(usual)
                    if field.choices:
                        yield ChoiceInput(value, field.choices, id=field.name)
                    else:
                        yield SteadyInput(value, id=field.name)
                    yield Label(field.hint, classes="hint", markup=False)
            yield Line(id="about")
            yield Line(id="problem")
            with Horizontal(id="form-buttons"):
                yield Button("Start run", id="start", variant="primary", compact=True)
                yield Button("Cancel", id="cancel", compact=True)

    def on_mount(self) -> None:
        """Begin with the first field."""
        form = self.query_one("#form")
        form.border_title = "new run"
        form.border_subtitle = f"enter starts  {named(self, 'esc')} cancels"
        self._show_defaults()
        self.query_one("#target").focus()

    @on(Input.Changed, "#target, #draft")
    def _show_defaults(self) -> None:
        """Show what an empty draft and an empty tree stand for, given the fields before them."""
        target, tree = (self.query_one(f"#{name}", Input) for name in ("target", "tree"))
        draft = self.query_one("#draft", ChoiceInput)
        draft.choices = drafter_choices(target.value.strip())
        with contextlib.suppress(UsageError):  # said when the form is sent
            meant = RunConfig(target=target.value.strip() or DEFAULTS.target)
            draft.placeholder = meant.draft_name
            tree.placeholder = meant.changed(draft=draft.value).tree_label

    @on(Input.Changed, "#study")
    def _fill_in_the_study(self, event: Input.Changed) -> None:
        """Its set-up when it is chosen, and what the form began with when it no longer is."""
        chosen = event.value.strip()
        inputs = {name: self.query_one(f"#{name}", Input) for name in STUDY}
        filled = all(field.value == STUDY[name] for name, field in inputs.items())
        if chosen == YES or (chosen == NO and filled):
            began = {field.name: field.value for field in FIELDS}
            for name, field in inputs.items():
                field.value = STUDY[name] if chosen == YES else began[name]

    @on(events.DescendantFocus)
    @on(Input.Changed)
    def _explain(self) -> None:
        """Mark the field with the focus, and say what it may be."""
        focused = self.focused
        for line in self.query(".field"):
            line.set_class(focused in line.children, "-here")
        field = next((f for f in FIELDS if focused is not None and f.name == focused.id), None)
        rows: list[Row] = []
        if isinstance(focused, ChoiceInput):
            rows.append(_choice_row(focused))
        if field is not None and self.has_class("-narrow"):
            rows += self._wrapped(field.hint, "muted")
        if field is not None:
            rows += self._wrapped(field.about, "muted")
        about = self.query_one("#about", Line)
        about.styles.height = max(len(rows), 2)
        about.set_rows(rows)

    def on_resize(self, event: events.Resize) -> None:
        """Show the hint of the field with the focus below, where hints do not fit beside the fields."""
        self.set_class(event.size.width < WIDTH, "-narrow")
        self._explain()

    @on(Input.Submitted)
    def _submitted(self) -> None:
        self.action_start()

    @on(Button.Pressed, "#start")
    def _pressed_start(self) -> None:
        self.action_start()

    @on(Button.Pressed, "#cancel")
    def _pressed_cancel(self) -> None:
        self.action_cancel()

    def action_cancel(self) -> None:
        """Close without starting anything."""
        self.dismiss(None)

    def action_start(self) -> None:
        """Check everything, then create the session and its worker."""
        if self._starting:
            return
        values = {field.name: self.query_one(f"#{field.name}", Input).value.strip() for field in FIELDS}
        try:
            config = read_config(values)
            # Too rare for a line of the form; and the study is what it is.
            usual = {} if config.study else self.app.settings.run
            config = config.changed(template_args=dict(usual.get("template_args", {})))
            notes: list[str] = []
            chosen = read_prompts(values, notes.append)
        except (DecodingError, PromptError) as error:
            self._complain(str(error))
            return
        for note in notes:
            self.app.notify(sanitize_line(note), markup=False)
        self._starting = True
        self._say("starting the worker…", "muted")
        self.run_worker(
            lambda: start_run(self.database, config, chosen, values["name"] or None),
            name="start run",
            group="start",
            thread=True,
            exit_on_error=False,
        )

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """Close once the session is created, or show the error."""
        if event.worker.group != "start":
            return
        if event.state == WorkerState.SUCCESS:
            self.dismiss(event.worker.result)
        elif event.state == WorkerState.ERROR:
            self._starting = False
            error = event.worker.error
            known = isinstance(error, StoreError | DecodingError | PromptError)
            self._complain(str(error) if known else f"{type(error).__name__}: {error}")

    def _complain(self, message: str) -> None:
        """Show what is wrong, and go to the field it is about."""
        self._say(f"✗ {sanitize_line(message)}", "bad")
        named = re.match(r"--([a-z-]+)", message)
        field = named.group(1).replace("-", "_") if named else "tree" if message.startswith("tree") else ""
        if field in {f.name for f in FIELDS}:
            self.query_one(f"#{field}").focus()

    def _say(self, message: str, role: str) -> None:
        rows = self._wrapped(message, role)
        problem = self.query_one("#problem", Line)
        problem.styles.height = max(len(rows), 1)
        problem.set_rows(rows)

    def _wrapped(self, message: str, role: str) -> list[Row]:
        return [((line, role),) for line in wrap(message, self.query_one("#problem", Line).size.width or 70)]


def _written(usual: object) -> str:
    """A default of the user's own as it stands in a field."""
    if isinstance(usual, bool):
        return YES if usual else NO
    return f"{usual:g}" if isinstance(usual, float) else str(usual)


def _choice_row(field: ChoiceInput) -> Row:
    """The choices on a line, the one that holds marked; the default goes by what it stands for."""
    cells: list[Cell] = []
    for choice in field.choices:
        chosen = choice == field.value.strip()
        name = choice or f"default ({field.placeholder})"
        cells += [(" · " if cells else "", "faint"), (name, "strong marked" if chosen else "text")]
    return tuple(cells)


def read_config(values: Mapping[str, str]) -> RunConfig:
    """The configuration that the form's texts mean. Raises `UsageError` with the flag it is about."""
    fields: dict[str, Any] = {}
    for name in ("study", "raw"):
        if values[name] not in (NO, YES):
            raise UsageError(f"--{name} is '{values[name]}'; it must be {YES} or {NO}")
    for field in FIELDS:
        if field.name not in RunConfig.__dataclass_fields__ or field.name in ("study", "raw"):
            continue
        convert: Callable[[str], Any] = field.kind
        if not values[field.name] and getattr(DEFAULTS, field.name) is None:
            continue
        try:
            fields[field.name] = convert(values[field.name])
        except ValueError:
            kind = "a whole number" if field.kind is int else "a number"
            flag = field.name.replace("_", "-")
            raise UsageError(f"--{flag} is '{values[field.name]}'; it must be {kind}") from None
    return RunConfig(**fields, study=values["study"] == YES, raw=values["raw"] == YES)


def read_prompts(values: Mapping[str, str], tell: Tell | None = None) -> list[Prompt]:
    """The prompts that the form's texts mean, tasks interleaved; `tell` hears what was left out of them.

    Raises `PromptError` or `UsageError`.
    """
    per_task: int | None = None
    if values["per_task"]:
        if not values["per_task"].isdecimal() or int(values["per_task"]) < 1:
            raise UsageError(f"--per-task is '{values['per_task']}'; it must be at least 1, or empty")
        per_task = int(values["per_task"])
    file = expanded(values["prompts"]) if values["prompts"] else None
    if file is not None and (str(file) == STDIN or (file.exists() and not file.is_file())):
        raise UsageError("--prompts names no file; what comes from a pipe or a device is for spectui run")
    choose = study_prompts if values["study"] == YES else select
    return interleave(choose(file, values["tasks"].strip() or None, per_task, tell))
