"""The options of a run: those of its configuration, of its prompts, and of its session's name.

Command line, settings file and form are made from them, in the order of `run_options`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectui.decoding.config import AT_LEAST_1, RunConfig
from spectui.decoding.errors import UsageError
from spectui.decoding.options import Form, Option, Part, option, options_of
from spectui.store.paths import expanded

if TYPE_CHECKING:
    from spectui.prompts.lines import Prompt
    from spectui.prompts.loader import Tell


@dataclass(frozen=True)
class Request:
    """The part of a run that is not its configuration: its prompts and the name of its session."""

    tasks: str | None = option(
        None,
        "--tasks",
        "Only these tasks (default: all).",
        metavar="A,B,...",
        example='"code,math"',
        part=Part.PROMPTS,
        form=Form("tasks", "such as code,math; empty: all"),
    )
    per_task: int | None = option(
        None,
        "--per-task",
        "Only the first N prompts of each task.",
        metavar="N",
        rule=AT_LEAST_1,
        example="3",
        part=Part.PROMPTS,
        form=Form("per task", "how many of each; empty: all", begin="3"),
    )
    prompts: Path | None = option(
        None,
        "--prompts",
        "File of your own prompts, or - for stdin (default: the bundled prompts). JSON Lines of "
        '{"task": ..., "prompt": ...}, conversations, API requests, common data sets, CSV, or one prompt per line; '
        "also compressed.",
        metavar="FILE",
        read=expanded,
        part=Part.PROMPTS,
        form=Form("prompts file", "JSON Lines, CSV, chats, ..."),
    )
    name: str | None = option(
        None,
        "--name",
        "Name of the session (default: a made-up one).",
        metavar="NAME",
        setting="",
        part=Part.SESSION,
        form=Form("name", "empty: a memorable one"),
    )

    @classmethod
    def taken_from(cls, values: dict[str, Any]) -> Request:
        """The request among `values`, which are taken out of them."""
        return cls(**{each.name: values.pop(each.name, None) for each in fields(cls)})

    def read_prompts(self, *, study: bool, tell: Tell) -> list[Prompt]:
        """The prompts asked for; `tell` is called with what was left out of them. Raises `PromptError`.

        Those of a study are all, for it compares tasks: raises `UsageError` where only a part is wanted, or there
        is one task.
        """
        from spectui.prompts.loader import select

        for name in ("tasks", "per_task"):
            if study and getattr(self, name) is not None:
                flag = options_of(Request)[name].flag
                raise UsageError(
                    f"{flag} does not go with --study: it compares all tasks, and fewer prompts tell less"
                )
        prompts = select(self.prompts, self.tasks, self.per_task, tell)
        present = {prompt.task for prompt in prompts}
        if study and len(present) < 2:
            raise UsageError(
                f"--prompts {self.prompts} has only the task '{present.pop()}', and --study compares tasks"
            )
        return prompts


def run_options(config: type[RunConfig] = RunConfig) -> list[Option]:
    """Every option of a run, by the part that it stands in."""
    declared = [*options_of(config).values(), *options_of(Request).values()]
    return sorted(declared, key=lambda each: each.part)
