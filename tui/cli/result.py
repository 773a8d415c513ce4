"""The figures of a session: the table at the end of a run, and the same as JSON."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectui.store.sources import WATCH
from spectui.tui.cli.options import State
from spectui.tui.cli.output import duration, prose, table
from spectui.tui.model.speedups import range_words, unknown_words
from spectui.tui.terminal.cells import NOTHING, count, counted, number

if TYPE_CHECKING:
    from spectui.store.counts.metrics import Interval
    from spectui.store.reading.devices import DeviceFigures
    from spectui.store.reading.reader import Reader
    from spectui.store.rows import SessionSummary, TaskFigures

HEAD = ("task", "prompts", "rounds", "nodes", "tokens", "match", "accepted length", "95 %", "tok/round")


def as_json(reader: Reader, summary: SessionSummary) -> dict[str, Any]:
    """The figures of a session; None where there is nothing to divide by. `seconds` is decoding time."""
    figures = reader.figures(summary.id)
    return {
        "session": summary.id,
        "name": summary.name,
        "status": summary.status,
        "error": summary.error,
        "silent_seconds": summary.silent_seconds,
        "prompts_failed": summary.prompts_failed,
        "prompts": sum(task.prompts for task in figures.values()),
        "rounds": summary.rounds,
        "nodes": summary.nodes,
        "tokens": summary.tokens,
        "match_rate": summary.match_rate,
        "accepted_at_risk": summary.accepted_at_risk,
        "mean_accepted_length": summary.mean_accepted_length,
        "tokens_per_round": summary.tokens_per_round,
        "tokens_per_second": summary.tokens_per_second,
        "seconds": summary.total_ms / 1000 if summary.devices == 1 else None,
        "speedup": summary.speedup,
        "speedup_range": summary.speedup_range,
        "baseline_count": summary.baseline_count,
        "tasks": {
            name: {
                "prompts": task.prompts,
                "rounds": task.rounds,
                "nodes": task.nodes,
                "tokens": task.tokens,
                "match_rate": task.match_rate,
                "accepted_at_risk": task.accepted_at_risk,
                "mean_accepted_length": task.mean_accepted_length,
                "tokens_per_round": task.tokens_per_round,
            }
            for name, task in figures.items()
        },
    }


def print_figures(reader: Reader, summary: SessionSummary) -> None:
    """The table per task and the totals under it."""
    from spectui.store.explained import explained_words
    from spectui.tui.report.spending import spending_words

    if summary.source == WATCH:
        prose(f"a watched server, without rounds of ours: spectui report {summary.id} has its figures")
        return
    figures = reader.figures(summary.id)
    intervals = reader.intervals(summary.id)
    if figures:
        table(HEAD, [_row(task, intervals.get(name)) for name, task in figures.items()])
        lone = [name for name in figures if name not in intervals]
        if lone:
            prose(f"no 95 % interval for {', '.join(lone)}: that takes two finished prompts that differ")
    rounds = f"{counted(summary.tokens, 'token')} in {counted(summary.rounds, 'round')}"
    if summary.devices > 1:
        prose(
            f"{rounds}, {number(summary.tokens_per_round)} tok/round, on {summary.devices} classes of devices, whose"
            " times are not added up:"
        )
    else:
        prose(
            f"{rounds} and {duration(summary.total_ms / 1000)} of decoding: "
            f"{number(summary.tokens_per_second, 1)} tok/s, {number(summary.tokens_per_round)} tok/round"
            f"{_speedup(summary)}"
        )
    if summary.server is not None:
        prose(f"rounds of {summary.server.name}, from {summary.rounds_from.words}")
    if words := explained_words(summary):
        prose(words)
    unknown = unknown_words(summary)
    if unknown is not None:
        prose(unknown)
    if summary.devices > 1:
        from spectui.store.reading.devices import device_figures

        for each in device_figures(reader, summary.id):
            prose(
                f"{each.machine.words}: {counted(each.prompts, 'prompt')}, {counted(each.tokens, 'token')} in "
                f"{duration(each.total_ms / 1000)} of decoding, {number(each.tokens_per_second, 1)} tok/s"
                f"{_speedup(each)}"
            )
    words = spending_words(summary)
    if words:
        plain_words = words.replace(" s/M tok", " s of decoding").replace("/M tok", "")
        prose(f"a million tokens take {plain_words.replace('price', 'a price of')}")


def resume_command(session: int, database: Path) -> str:
    """The command that goes on with a session."""
    return f"spectui run --resume {session}{database_option(database)}"


def database_option(database: Path) -> str:
    """`` --db FILE`` where commands take another database by themselves; else ""."""
    return "" if database == State().database else f" --db {shlex.quote(str(database))}"


def failure(reader: Reader, summary: SessionSummary, database: Path) -> str | None:
    """The reason for which a run is no success, with its log; None when it is one."""
    from spectui.decoding.worker.launch import log_path

    # A worker that died before it could say anything still has a log.
    log = f" (log: {summary.log_path or log_path(database, summary.id)})"
    as_asked = limit_reached(reader, summary) is not None
    if not as_asked and summary.error and summary.status in ("interrupted", "stopped"):
        return summary.error  # it was to go on and was refused
    if summary.status == "failed":
        return (summary.error or "the run failed") + log
    goes_on = "spectui watch --vllm-dir DIR" if summary.of_clients else resume_command(summary.id, database)
    again = f"; go on with: {goes_on}"
    if summary.status == "interrupted":
        return f"session {summary.id} was interrupted: its worker is gone{log}{again}"
    if not as_asked and summary.status != "finished":
        return f"session {summary.id} is {summary.status}{again}"
    if summary.prompts_failed:
        generations = reader.generations(summary.id, texts=False)
        first = next(generation for generation in generations if generation.status == "failed")
        every = summary.prompts_failed == summary.prompt_count
        how_many = "every prompt" if every else f"{summary.prompts_failed} of {summary.prompt_count} prompts"
        return f"{how_many} failed, the first with: {first.error}{log}"
    return None


def limit_reached(reader: Reader, summary: SessionSummary) -> str | None:
    """The limit that ended a run in order, in words; None when something else did."""
    last = reader.events(summary.id)[-1:]
    return last[0].text if summary.status == "stopped" and last and last[0].kind == "limit" else None


def _speedup(summary: SessionSummary | DeviceFigures) -> str:
    if summary.speedup is None:
        return ""
    return f", {summary.speedup:.2f}x one token at a time ({range_words(summary)})"


def _row(task: TaskFigures, interval: Interval | None) -> tuple[str, ...]:
    spread = f"{interval.low:.2f} to {interval.high:.2f}" if interval else NOTHING
    return (
        task.task,
        count(task.prompts),
        count(task.rounds),
        count(task.nodes),
        count(task.tokens),
        number(task.match_rate),
        number(interval.value if interval else task.mean_accepted_length),
        spread,
        number(task.tokens_per_round),
    )
