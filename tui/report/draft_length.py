"""Advice on the length of drafts, as tables and sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spectui.store.sources import lacking
from spectui.tui.report.grid import Cell, Column, Grid, grid

if TYPE_CHECKING:
    from spectui.decoding.trees.advise.draft_length import Length, LengthAdvice, TaskLengths

WORTH = 1.02
"""Gains below this are none."""
ALWAYS, RARE = 8, 0.01
"""Lengths up to this are listed, and longer ones whose last token is accepted more often than so."""


def length_subject(advice: LengthAdvice) -> str:
    """The session, its server, and how long its drafts were."""
    summary = advice.summary
    server = summary.server.name if summary.server is not None else summary.device
    source = f"rounds from {summary.rounds_from.words}"
    return (
        f"{summary.name}: {summary.target} on {server}, drafts of up to {advice.all.used.drafted}, {advice.all.prompts}"
        f" prompts; {source}"
    )


def length_tables(advice: LengthAdvice) -> list[Grid]:
    """Tokens and speed by length for all, and the length that pays for each task."""
    return [_lengths(advice), *([_tasks(advice)] if len(advice.tasks) > 1 else [])]


def length_words(advice: LengthAdvice) -> list[str]:
    """The verdict, and what cannot be known, a line each."""
    return [verdict(advice), *_longer(advice), *_unknown(advice)]


def verdict(advice: LengthAdvice) -> str:
    """A sentence on the length that pays."""
    used, most = advice.all.used, best(advice.all)
    if most is None:
        return (
            f"Whether speculation pays is not known: drafts of {used.drafted} pay while such a round takes less time"
            f" than {used.tokens:.2f} plain ones."
        )
    assert most.speedup is not None
    if most.speedup[1] < 1:
        return f"Speculation does not pay here: no length up to {used.drafted} is faster than plain decoding."
    if most is used or used.speedup is None:
        return f"Drafts of {most.drafted} pay most of those up to {used.drafted}: {times(most)} plain."
    gain = most.speedup[0] / used.speedup[1]
    if gain >= WORTH:
        words = f"Drafts of {most.drafted} pay more than those of {used.drafted}"
        return f"{words}: {times(most)} plain, not {times(used)}."
    return (
        f"Drafts of {used.drafted}, as run, are {times(used)} plain; of {most.drafted} they are {times(most)},"
        f" which may be more. A run with {most.drafted} would tell."
    )


def best(task: TaskLengths) -> Length | None:
    """The length that may pay most, the one in use unless another may bring more than `WORTH`; None without costs."""
    known = [each for each in task.lengths if each.speedup is not None]
    if not known:
        return None
    most = max(known, key=lambda each: each.speedup[1] if each.speedup else 0.0)
    used = task.used
    if used.speedup is not None and most.speedup is not None and most.speedup[1] < used.speedup[0] * WORTH:
        return used
    return most


def times(length: Length) -> str:
    """``1.21 times``, or ``1.10 to 1.30 times`` where its cost is not measured."""
    assert length.speedup is not None
    low, high = length.speedup
    return f"{low:.2f} times" if f"{low:.2f}" == f"{high:.2f}" else f"{low:.2f} to {high:.2f} times"


def length_json(advice: LengthAdvice) -> dict[str, Any]:
    """The advice as JSON."""
    return {
        "session": advice.summary.id,
        "plain_ms": advice.plain_ms,
        "plain_from": advice.plain_from,
        "round_ms": {str(length): ms for length, ms in advice.round_ms.items()},
        "tasks": {
            task.task: {
                "prompts": task.prompts,
                "rounds_with_a_draft": task.drafting,
                "best": None if (most := best(task)) is None else most.drafted,
                "lengths": [
                    {
                        "drafted": each.drafted,
                        "tokens_per_round": each.tokens,
                        "tokens_ci": each.tokens_ci,
                        "reached": each.reached,
                        "reached_ci": each.reached_ci,
                        "speedup": each.speedup,
                    }
                    for each in task.lengths
                ],
            }
            for task in advice.tasks
        },
        "verdict": verdict(advice),
        "not_known": _unknown(advice),
    }


def _lengths(advice: LengthAdvice) -> Grid:
    columns = [
        Column("drafted", "drafted", "count"),
        Column("tokens", "tok/round", digits=2),
        Column("tokens_ci", "95 %", "interval", digits=2),
        Column("reached", "last one accepted", digits=3),
        Column("reached_ci", "95 %", "interval", digits=3),
        Column("round_ms", "ms a round", digits=1),
        Column("speedup_range", "x plain", "text"),
    ]
    task = advice.all
    rows: list[list[Cell]] = [
        [each.drafted, each.tokens, each.tokens_ci, each.reached, each.reached_ci,
         advice.round_ms.get(each.drafted), None if each.speedup is None else times(each).removesuffix(" times")]
        for each in task.lengths
        if each.drafted <= ALWAYS or each.reached > RARE or each is task.used
    ]  # fmt: skip
    note = (
        "Of drafts cut off at each length: tok/round as if every round began where these did. x plain: times as fast as"
        f" one token at a time, whose time is {advice.plain_from}; between what it is if a round costs as much as the"
        " next longer one that was timed, and if its cost grows evenly with the length."
    )
    return grid("lengths", "Draft length, all tasks", columns, rows, note)


def _tasks(advice: LengthAdvice) -> Grid:
    columns = [
        Column("task", "task", "text"),
        Column("prompts", "prompts", "count"),
        Column("drafting", "rounds with a draft"),
        Column("tokens", f"tok/round at {advice.all.used.drafted}", digits=2),
        Column("tokens_ci", "95 %", "interval", digits=2),
        Column("best", "pays most", "count"),
        Column("speedup_range", "x plain", "text"),
    ]
    rows: list[list[Cell]] = []
    for task in advice.tasks:
        most, used = best(task), task.used
        rows.append(
            [task.task, task.prompts, task.drafting, used.tokens, used.tokens_ci,
             None if most is None else most.drafted, None if most is None else times(most).removesuffix(" times")]
        )  # fmt: skip
    return grid("tasks", "By task", columns, rows)


def _longer(advice: LengthAdvice) -> list[str]:
    lengths, share = advice.all.lengths, advice.all.drafting
    used = advice.all.used
    before = lengths[-2].reached if len(lengths) > 1 else 1.0
    if not used.reached or not before:
        return []
    again = used.reached / before
    most = [used.tokens + share * used.reached * more for more in (1, 2)]
    alike = [used.tokens + share * used.reached * gain for gain in (again, again + again**2)]
    return [
        f"A draft of {used.drafted + 1} was not recorded: it brings at most {most[0]:.2f} tokens a round, and"
        f" {alike[0]:.2f} if its last token is accepted as the one before it was; one of {used.drafted + 2} at most"
        f" {most[1]:.2f}, and {alike[1]:.2f} if both are."
    ]


def _unknown(advice: LengthAdvice) -> list[str]:
    summary = advice.summary
    words = []
    if advice.plain_ms is None:
        words.append(f"The time of a plain step is {advice.plain_from}.")
    elif not advice.round_ms:
        words.append("The times of rounds are not known, so that nothing is said of speed.")
    if not summary.rounds_from.exact:
        words.append("Accepted lengths are an estimate here, and so is all of this.")
    if reason := lacking(summary.source):
        words.append(
            f"Rejected tokens and the share of drafting in a round's time are {reason}; so trees, and drafts from other"
            " places, cannot be replayed."
        )
    return words
