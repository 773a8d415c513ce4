"""Turns every error into one line on stderr and an exit code; `--debug` adds the traceback."""

from __future__ import annotations

import os
import sqlite3
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import click

from spectui.tui.cli.options import State
from spectui.tui.terminal.textsafe import sanitize_line

FAILED, MISUSED = 1, 2


class GuardedGroup(click.Group):
    """The top command: runs the others and reports their errors."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """As click's, but with errors in one line and command results as exit codes."""
        state = State()
        _open_standard_streams()
        try:
            code = super().main(args, "spectui", complete_var, standalone_mode=False, obj=state, **extra)
        except (Exception, KeyboardInterrupt) as error:
            if (
                isinstance(error, click.UsageError) and error.ctx is None
            ):  # click's parser forgets whose it was
                error.ctx = self._context(sys.argv[1:] if args is None else args)
            code = report(error, state)
        code = code if isinstance(code, int) else 0
        try:
            sys.stdout.flush()
        except OSError as error:
            code = report(error, state) or code
            _give_up(1)
        if standalone_mode:
            sys.exit(code)
        return code

    def _context(self, args: Sequence[str]) -> click.Context:
        """The command that arguments name, as far as they name one."""
        context = click.Context(self, info_name="spectui")
        for each in args:
            command = context.command.commands.get(each) if isinstance(context.command, click.Group) else None
            if command is not None:
                context = click.Context(command, context, each)
        return context

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; its errors end here, except those of click's own parsing, which `main` gets."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except (Exception, KeyboardInterrupt) as error:
            raise click.exceptions.Exit(report(error, ctx.ensure_object(State))) from error


def report(error: BaseException, state: State) -> int:
    """Print the line for `error` and return the exit code."""
    if isinstance(error, BrokenPipeError):
        _give_up(1)  # the reader, such as `head`, has had enough: no failure
        return 0
    message, code = _explain(error, state)
    try:
        if state.debug:
            traceback.print_exception(error)
        click.echo(f"spectui: {sanitize_line(message)}", err=True)
    except OSError:  # nobody can be told; the exit code says it
        _give_up(2)
    return code


def _explain(error: BaseException, state: State) -> tuple[str, int]:
    from spectui.decoding.errors import DecodingError, UsageError
    from spectui.prompts.errors import PromptError
    from spectui.store.errors import LOCKED, StoreError
    from spectui.tui.settings import SettingsError

    match error:
        case KeyboardInterrupt() | click.Abort():
            return "interrupted", FAILED
        case click.UsageError():
            command = error.ctx.command_path if error.ctx else "spectui"
            return f"{error.format_message()} (see: {command} --help)", MISUSED
        case click.ClickException():
            return error.format_message(), error.exit_code
        case StoreError() if LOCKED in str(error):
            from spectui.tui.feeds.writes import locked_words

            return locked_words(state.database, error), MISUSED
        case UsageError() | PromptError() | StoreError() | SettingsError():
            return str(error), MISUSED
        case DecodingError():
            return str(error), FAILED
        case UnicodeEncodeError():
            return "an argument is no text in UTF-8; write it again", MISUSED
        case sqlite3.Error():
            return f"database {state.database}: {error}", FAILED
        case RuntimeError() if "home directory" in str(error):
            return "there is no home folder; set HOME to a folder of yours", MISUSED
        case OSError():
            what = error.strerror or str(error)
            return f"{error.filename}: {what}" if error.filename else what, FAILED
        case _:
            hint = "" if state.debug else "; --debug shows where"
            return f"{type(error).__name__}: {error}{hint}", FAILED


def _give_up(stream: int) -> None:
    """Point stdout (1) or stderr (2) at nothing, so that the interpreter's last flush cannot fail."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, stream)
    os.close(nothing)


def _open_standard_streams() -> None:
    """Give stdin, stdout and stderr that were closed a place to read nothing from and write nothing to.

    Python has None in their place, and the next file opened would get their number, and what is printed.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            nothing = os.open(os.devnull, os.O_RDWR)
            if nothing != number:
                os.dup2(nothing, number)
                os.close(nothing)
            os.set_inheritable(number, True)
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))
