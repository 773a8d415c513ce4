"""The form for a new run, made of the options of a run (`tui.run_options`)."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from stat import S_ISREG

from textual import events, on
from textual.app import ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label
from textual.worker import Worker, WorkerState

from spectui.decoding.config import STUDY_TOKENS, STUDY_TREE, RunConfig, drafter_choices
from spectui.decoding.errors import DecodingError, UsageError
from spectui.decoding.options import NO, YES, Form, Option
from spectui.prompts import PromptError
from spectui.prompts.source import STDIN
from spectui.store.errors import StoreError
from spectui.tui.model.transcript import wrap
from spectui.tui.navigation.keymap import bindings, key_for
from spectui.tui.run_options import Request, run_options
from spectui.tui.screens.base import Dashboard
from spectui.tui.start import start_run
from spectui.tui.terminal.textsafe import sanitize_line
from spectui.tui.widgets.inputs import ChoiceInput, SteadyInput
from spectui.tui.widgets.rows import Cell, Line, Row


@dataclass(frozen=True)
class Field:
    """One line of the form."""

    option: Option
    form: Form

    @property
    def name(self) -> str:
        """Name of the option's field, and id of the line's input."""
        return self.option.name

    @property
    def value(self) -> str:
        """The text that it begins with."""
        return written(self.option.default) if self.form.begin is None else self.form.begin

    @property
    def choices(self) -> tuple[str, ...]:
        """Values that the space bar goes through."""
        return (NO, YES) if self.option.kind is bool else self.form.choices


def written(value: object) -> str:
    """A value as it stands in a field."""
    if isinstance(value, bool):
        return YES if value else NO
    if value is None:
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


DEFAULTS = RunConfig()
FIELDS = [Field(each, each.form) for each in run_options() if each.form is not None]


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
        self._offered: dict[str, list[str]] = {}
        """Drafts on this machine, by target."""

    def compose(self) -> ComposeResult:
        """A line for each field, what is wrong, two buttons."""
        with VerticalScroll(id="form"):
            for field in FIELDS:
                with Horizontal(classes="field"):
                    yield Label(field.form.label, classes="name", markup=False)
                    usual = self.app.settings.run.get(field.option.setting)
                    value = field.value if usual is None else written(usual)
                    if field.choices:
                        yield ChoiceInput(value, field.choices, id=field.name)
                    else:
                        yield SteadyInput(value, id=field.name)
                    yield Label(field.form.hint, classes="hint", markup=False)
            yield Line(id="about")
            yield Line(id="problem")
            with Horizontal(id="form-buttons"):
                yield Button("Start run", id="start", variant="primary", compact=True)
                yield Button("Cancel", id="cancel", compact=True)

    def on_mount(self) -> None:
        """Begin with the first field."""
        form = self.query_one("#form")
        form.border_title = "new run"
        form.border_subtitle = f"enter starts  {key_for(self, 'cancel')} cancels"
        self._show_defaults()
        self._look_for_drafts()
        self.query_one("#target").focus()

    @on(Input.Changed, "#target, #draft")
    def _show_defaults(self) -> None:
        """Show what an empty draft and an empty tree stand for, given the fields before them."""
        target, tree = (self.query_one(f"#{name}", Input) for name in ("target", "tree"))
        draft = self.query_one("#draft", ChoiceInput)
        draft.choices = (*drafter_choices(target.value.strip()), *self._offered.get(target.value.strip(), ()))
        with contextlib.suppress(UsageError):  # said when the form is sent
            meant = RunConfig(target=target.value.strip() or DEFAULTS.target)
            draft.placeholder = meant.draft_name
            tree.placeholder = meant.changed(draft=draft.value).tree_label

    @on(Input.Changed, "#target")
    def _look_for_drafts(self) -> None:
        """Look on the disk, which takes a moment, for drafts to offer."""
        target = self.query_one("#target", Input).value.strip()
        if target not in self._offered:
            look = partial(self._find_drafts, target)
            self.run_worker(look, group="drafts", thread=True, exclusive=True, exit_on_error=False)

    def _find_drafts(self, target: str) -> None:
        from spectui.decoding.models.local import drafts_offered

        self._offered[target] = drafts_offered(target or DEFAULTS.target)
        if self.is_attached:
            self.app.call_from_thread(self._show_defaults)

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
            rows += self._wrapped(field.form.hint, "muted")
        if field is not None:
            rows += self._wrapped(field.form.about, "muted")
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
        """Close; a run whose worker is being started goes on."""
        self.dismiss(None)

    def action_start(self) -> None:
        """Check everything, then create the session and its worker."""
        if self._starting:
            return
        values = {field.name: self.query_one(f"#{field.name}", Input).value for field in FIELDS}
        try:
            config, request = read_form(values)
            # Too rare for a line of the form; and the study is what it is.
            usual = {} if config.study else self.app.settings.run
            config = config.changed(template_args=dict(usual.get("template_args", {})))
            notes: list[str] = []
            prompts = request.read_prompts(study=config.study, tell=notes.append)
        except (DecodingError, PromptError) as error:
            self._complain(str(error))
            return
        for note in notes:
            self.app.notify(sanitize_line(note), markup=False)
        self._starting = True
        self._say("starting the worker…", "muted")
        self.run_worker(
            lambda: start_run(self.database, config, prompts, request.name),
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
        flag = "--tree" if message.startswith("tree") else message.partition(" ")[0]
        for field in FIELDS:
            if field.option.flag == flag:
                self.query_one(f"#{field.name}").focus()

    def _say(self, message: str, role: str) -> None:
        rows = self._wrapped(message, role)
        problem = self.query_one("#problem", Line)
        problem.styles.height = max(len(rows), 1)
        problem.set_rows(rows)

    def _wrapped(self, message: str, role: str) -> list[Row]:
        return [((line, role),) for line in wrap(message, self.query_one("#problem", Line).size.width or 70)]


def _choice_row(field: ChoiceInput) -> Row:
    """The choices on a line, the one that holds marked; the default goes by what it stands for."""
    cells: list[Cell] = []
    for choice in field.choices:
        chosen = choice == field.value.strip()
        name = choice or f"default ({field.placeholder})"
        cells += [(" · " if cells else "", "faint"), (name, "strong marked" if chosen else "text")]
    return tuple(cells)


def read_form(values: Mapping[str, str]) -> tuple[RunConfig, Request]:
    """The run that the form's texts mean. Raises `UsageError` with the flag it is about."""
    parsed = {field.name: field.option.parse(values[field.name].strip()) for field in FIELDS}
    request = Request.taken_from(parsed)
    file = request.prompts
    if file is not None and (str(file) == STDIN or _is_something_else(file)):
        raise UsageError("--prompts names no file; what comes from a pipe or a device is for spectui run")
    return RunConfig(**parsed), request


def _is_something_else(path: Path) -> bool:
    """True for a folder, a pipe, a device; whether a file can be read is told where it is read."""
    try:
        return not S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):
        return False
