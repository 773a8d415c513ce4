"""`spectui watch`: the servers that people run, asked for their counters once a second."""

from __future__ import annotations

import signal
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from spectui.tui.cli.dashboard import display_options, has_terminal
from spectui.tui.cli.options import Finite, State, json_option, not_empty, shared_options

if TYPE_CHECKING:
    from spectui.servers.watch.fleet import LiveFleet
    from spectui.servers.watch.payoff import Plain

ALERT, UNREACHED = 3, 4
"""Exit codes of ``--once``: something is to be looked at; a server does not tell its counters."""
PROBED = (8000, 8080, 30000)
"""Ports of vLLM, llama.cpp and SGLang, tried on this machine when no server is named."""
ONCE_S = 1.2
"""Between the two polls of ``--once``."""


@click.command()
@click.argument("urls", nargs=-1, metavar="[URL]...")
@click.option(
    "--baseline-server",
    metavar="URL",
    callback=not_empty,
    help="A server without speculation on the like hardware, which the others are held against.",
)
@click.option(
    "--api-key-env",
    metavar="NAME",
    callback=not_empty,
    help="Environment variable that holds the key of the first URL's host; sent to no other, never stored or printed.",
)
@click.option("--once", is_flag=True, help="Ask twice within a second or so, print, and end.")
@click.option("--fail-on-alert", is_flag=True, help="With --once: end with 3 when there is an alert.")
@click.option(
    "--export",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the figures for Prometheus's textfile collector, every five seconds.",
)
@click.option(
    "--keep",
    "keep_days",
    type=Finite(0.01, 3650),
    default=30.0,
    show_default=True,
    metavar="DAYS",
    help="Keep samples for so long.",
)
@click.option("--no-record", is_flag=True, help="Record nothing.")
@click.option(
    "--vllm-dir",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Record what servers with our recorder write there (SPECTUI_VLLM_DIR), every request and node of it.",
)
@click.option(
    "--tokenizer",
    type=click.Path(path_type=Path, exists=True),
    metavar="PATH",
    help="With --vllm-dir: the model's folder or tokenizer.json, for texts of tokens (default: the server's).",
)
@click.option("--no-text", is_flag=True, help="With --vllm-dir: keep figures alone, and no token.")
@click.option("--headless", is_flag=True, help="Print events as lines even in a terminal.")
@json_option
@display_options
@shared_options
@click.pass_obj
def watch(
    state: State,
    urls: tuple[str, ...],
    baseline_server: str | None,
    api_key_env: str | None,
    once: bool,
    fail_on_alert: bool,
    export: Path | None,
    keep_days: float,
    no_record: bool,
    vllm_dir: Path | None,
    tokenizer: Path | None,
    no_text: bool,
    headless: bool,
    as_json: bool,
) -> int:
    """Watch servers, and say whether speculation pays on them.

    Each URL is a vLLM, llama.cpp or SGLang server; without any, those of this machine are looked for. Nothing is sent
    but questions for counters. What they answer is recorded as a session.
    With --vllm-dir nothing is asked: what a vLLM with our recorder writes becomes a session for each start of it.
    """
    from spectui.decoding.errors import UsageError
    from spectui.servers.watch.fleet import LiveFleet, read_servers

    if (as_json or fail_on_alert) and not once:
        raise UsageError(f"{'--json' if as_json else '--fail-on-alert'} goes with --once")
    if vllm_dir is not None:
        from spectui.tui.cli.recordings import watch_folder

        if no_record:
            raise UsageError("--vllm-dir records; leave out --no-record")
        if urls or baseline_server or export or fail_on_alert:
            raise UsageError("--vllm-dir reads files alone: watch a URL with another spectui watch")
        shown = has_terminal() and not headless
        return watch_folder(
            state, vllm_dir, tokenizer, text=not no_text, once=once, as_json=as_json, shown=shown
        )
    if tokenizer is not None or no_text:
        raise UsageError(f"{'--no-text' if no_text else '--tokenizer'} goes with --vllm-dir")
    servers = read_servers(urls or _probed(), baseline_server)
    fleet = LiveFleet(servers, api_key_env or "")
    if once:
        fleet.remembered = _remembered(state, fleet)
        return _once(fleet, as_json=as_json, fail_on_alert=fail_on_alert, export=export)
    database = None if no_record else state.database
    if has_terminal() and not headless:
        return _dashboard(state, fleet, database, export, keep_days)
    return _lines(state, fleet, database, export, keep_days)


def _remembered(state: State, fleet: LiveFleet) -> dict[str, Plain]:
    from spectui.tui.watching.recorded import remembered_plains

    return remembered_plains(state.database, [server.url for server in fleet.servers])


def _probed() -> tuple[str, ...]:
    """Servers on this machine that tell counters. Raises `UsageError` without any."""
    from spectui.decoding.errors import UsageError
    from spectui.servers.watch.poller import tells_counters

    addresses = tuple(address for port in PROBED if tells_counters(address := f"http://127.0.0.1:{port}"))
    if not addresses:
        ports = ", ".join(map(str, PROBED))
        raise UsageError(
            f"name a server, as in: spectui watch http://HOST:8000 (none tells counters here on {ports})"
        )
    return addresses


def _once(fleet: LiveFleet, *, as_json: bool, fail_on_alert: bool, export: Path | None) -> int:
    from spectui.servers.watch.export import exposition
    from spectui.servers.watch.sources import as_json as view_json
    from spectui.store.files import write_text
    from spectui.tui.cli.output import json_line, line, table
    from spectui.tui.watching.once import once_rows, once_words

    fleet.ask_all()
    time.sleep(ONCE_S)
    fleet.ask_all()
    fleet.look_for_alerts()
    views = fleet.views(columns=0)
    alerts = [event for view in views for event in view.alerts]
    if export is not None:
        write_text(export, exposition(views), public=True)
    if as_json:
        json_line({"servers": [view_json(view) for view in views], "alerts": len(alerts)})
    else:
        head, rows = once_rows(views)
        table(head, rows, left=3)
        for words in once_words(views):
            line(words)
    if any(not view.answers for view in views):
        return UNREACHED
    return ALERT if alerts and fail_on_alert else 0


def _dashboard(
    state: State, fleet: LiveFleet, database: Path | None, export: Path | None, keep_days: float
) -> int:
    from spectui.tui.cli.dashboard import open_dashboard
    from spectui.tui.watching.recorder import Recorder, Watching

    recall = partial(_remembered, state, fleet)
    with fleet, Recorder(fleet, database, export=export, keep_days=keep_days, recall=recall) as recorder:
        return open_dashboard(state, watching=Watching(fleet, recorder))


def _lines(
    state: State, fleet: LiveFleet, database: Path | None, export: Path | None, keep_days: float
) -> int:
    """Print what happens until it is interrupted."""
    from spectui.tui.cli.output import line
    from spectui.tui.watching.once import EventLines
    from spectui.tui.watching.recorder import Recorder

    events = EventLines(fleet)
    trouble = ""
    recall = partial(_remembered, state, fleet)

    def tell() -> None:
        for words in events.fresh():
            line(words)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    try:
        with fleet, Recorder(fleet, database, export=export, keep_days=keep_days, recall=recall) as recorder:
            while True:
                time.sleep(0.5)
                tell()
                if recorder.trouble != trouble:
                    trouble = recorder.trouble
                    if trouble:
                        line(trouble, err=True)
    except KeyboardInterrupt:
        tell()
    return 0
