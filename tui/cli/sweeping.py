"""The running of a sweep: one ordinary run after the other, each followed to its end; nothing is done twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from spectui.decoding.errors import DecodingError
from spectui.prompts.errors import PromptError
from spectui.store.errors import StoreError
from spectui.store.reading.reader import Reader
from spectui.store.sweeps.cells import PROMPTS_OF, Cell, Sweep, begin_sweep, sweep_named
from spectui.tui.cli.commands.run import configured
from spectui.tui.cli.follow import follow
from spectui.tui.cli.result import failure, limit_reached
from spectui.tui.sweep_file import SweepPlan, unfit

if TYPE_CHECKING:
    from spectui.decoding.config import RunConfig
    from spectui.decoding.worker.launch import Replicas
    from spectui.prompts.lines import Prompt
    from spectui.tui.cli.options import State

Say = Callable[[str], None]
VARIED = ("draft", "tree", "temperature")
"""Fields of a configuration that differ from cell to cell."""


@dataclass
class Outcome:
    """The end of a sweep's turn."""

    failed: list[tuple[Cell, str]] = field(default_factory=list)
    """Cells that did not finish, and why."""
    stopped: bool = False
    """True where the user ended it."""


class SweepRun:
    """A sweep of a file, over a database. Raises what reading prompts and options raises."""

    def __init__(self, state: State, plan: SweepPlan, say: Say, replicas: Replicas | None = None) -> None:
        from spectui.tui.start import check_replicas

        self._replicas = replicas
        self._database = state.database
        self._state = state
        self._plan = plan
        self._say = say
        self._prompts = self._read_prompts()
        tasks = list(dict.fromkeys(prompt.task for prompt in self._prompts))
        reasons = {
            (draft, tree): unfit(lambda chosen: configured(state, chosen)[0], plan, draft, tree)
            for draft in plan.drafters
            for tree in plan.trees[draft]
        }
        for (draft, tree), reason in reasons.items():
            if reason is not None:
                say(f"left out: {draft} with {tree}: {reason}")
        self.cells = plan.cells(plan.tasks or tasks, lambda draft, tree: reasons[draft, tree] is None)
        if not self.cells:
            raise StoreError(
                f"sweep '{plan.name}' has no session: none of its drafters can draft any of its trees"
            )
        one = self.cells[0]
        config = self._config(one.draft, one.tree, one.temperature)
        check_replicas(config, replicas)  # once, rather than by each session as it begins
        self._common = self._options(config)

    def progress(self) -> Sweep | None:
        """The sweep as far as it is; None before it was begun."""
        if not self._database.exists():
            return None
        with Reader(self._database) as reader:
            try:
                return sweep_named(reader, self._plan.name)
            except StoreError:
                return None

    def run(self) -> Outcome:
        """Run every cell that is not done."""
        from spectui.store.database import connect

        with closing(connect(self._database)) as db:
            sweep_id = begin_sweep(db, self._plan.name, self.cells, self._common)
        outcome = Outcome()
        for number, cell in enumerate(self.cells, start=1):
            sweep = self.progress()
            if sweep is None or cell in sweep.done:
                continue
            self._say(f"[{number}/{len(self.cells)}] {cell.words}")
            try:
                session = self._begin(cell, number, sweep_id, sweep)
            except (DecodingError, StoreError) as error:
                self._say(str(error))
                outcome.failed.append((cell, str(error)))
                continue
            with Reader(self._database) as reader:
                summary = follow(reader, self._database, session, self._say, stop_on_interrupt=True)
                problem = failure(reader, summary, self._database)
                limit = limit_reached(reader, summary)
            if summary.live or (summary.status == "stopped" and limit is None):
                outcome.stopped = True
                return outcome
            if problem is not None:
                self._say(problem)
                outcome.failed.append((cell, problem))
        return outcome

    def _begin(self, cell: Cell, number: int, sweep_id: int, sweep: Sweep) -> int:
        """The session of a cell, with a worker at work on it."""
        from spectui.tui.start import resume_run, start_run

        session = sweep.sessions.get(cell)
        if cell in sweep.running and session is not None:
            self._say(f"session {session} is at work already")
            return session
        if session is not None:
            return resume_run(self._database, session, replicas=self._replicas)
        config = self._config(cell.draft, cell.tree, cell.temperature)
        prompts = [prompt for prompt in self._prompts if prompt.task == cell.task]
        return start_run(
            self._database,
            config,
            prompts,
            self._free_name(number),
            replicas=self._replicas,
            cell=(sweep_id, cell.to_json()),
        )

    def _config(self, draft: str, tree: str, temperature: float) -> RunConfig:
        return configured(self._state, self._plan.chosen(draft, tree, temperature))[0]

    def _read_prompts(self) -> Sequence[Prompt]:
        tasks = None if self._plan.tasks is None else ",".join(self._plan.tasks)
        chosen = self._plan.chosen("", "", 0.0) | ({} if tasks is None else {"tasks": tasks})
        _, request = configured(self._state, chosen)
        try:
            return request.read_prompts(study=False, tell=self._say)
        except PromptError as error:
            # Of the file where it names them; else of the user's own settings.
            if tasks is not None and " task '" in str(error):
                raise self._plan.fault(("tasks",), str(error)) from error
            if "prompts" in self._plan.options:
                raise self._plan.fault(("run", "prompts"), str(error)) from error
            raise

    def _options(self, config: RunConfig) -> dict[str, Any]:
        """Everything that the sessions have in common: configuration, and a digest of each task's prompts."""
        from spectui.store.merging.shards import digest_of
        from spectui.tui.start import anchored, prompt_records

        whole = json.loads(anchored(config).to_json())
        settings = {key: value for key, value in whole.items() if key not in VARIED}
        digests = {
            f"{PROMPTS_OF}{task}": digest_of(prompt_records([p for p in self._prompts if p.task == task]))
            for task in dict.fromkeys(prompt.task for prompt in self._prompts)
        }
        return settings | digests

    def _free_name(self, number: int) -> str | None:
        """The name of a cell's session; None, a made-up one, where another session has it."""
        name = f"{self._plan.name}-{number:0{len(str(len(self.cells)))}d}"
        with Reader(self._database) as reader:
            taken = reader.fetch("SELECT 1 FROM session WHERE name = ?", name)
        return None if taken or len(name) > 80 else name
