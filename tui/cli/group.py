"""The top command. Commands import what they need when they run: `spectui --help` stays instant."""

from __future__ import annotations

import click

from spectui.decoding.machine.versions import own_version
from spectui.tui.cli.commands.advise import advise
from spectui.tui.cli.commands.attach import attach
from spectui.tui.cli.commands.audit import audit
from spectui.tui.cli.commands.bench import bench
from spectui.tui.cli.commands.compare import compare
from spectui.tui.cli.commands.config import config
from spectui.tui.cli.commands.distill import distill
from spectui.tui.cli.commands.doctor import doctor
from spectui.tui.cli.commands.logs import logs
from spectui.tui.cli.commands.models import models
from spectui.tui.cli.commands.prompts import prompts
from spectui.tui.cli.commands.report import report
from spectui.tui.cli.commands.run import run
from spectui.tui.cli.commands.sessions import sessions
from spectui.tui.cli.commands.sweep import sweep
from spectui.tui.cli.commands.watch import watch
from spectui.tui.cli.dashboard import display_options, has_terminal, open_dashboard
from spectui.tui.cli.guard import GuardedGroup
from spectui.tui.cli.options import State, shared_options


@click.group(cls=GuardedGroup, invoke_without_command=True)
@display_options
@shared_options
@click.version_option(own_version(), message="%(prog)s %(version)s")
@click.pass_context
def main(context: click.Context) -> int:
    """Watch speculative decoding: run it, see every accepted and rejected token, browse past sessions.

    Without a command, opens the dashboard.
    """
    if context.invoked_subcommand is not None:
        return 0
    if not has_terminal():
        from spectui.decoding.errors import UsageError

        raise UsageError("the dashboard needs a terminal; here, try: spectui sessions ls")
    return open_dashboard(context.ensure_object(State))


for command in (
    run,
    sweep,
    attach,
    watch,
    sessions,
    logs,
    report,
    compare,
    advise,
    audit,
    models,
    prompts,
    bench,
    distill,
    doctor,
    config,
):
    main.add_command(command)
