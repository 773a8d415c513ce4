"""The check of a server that needs no reference: a greedy round accepts exactly what the target's argmax says."""

from __future__ import annotations

from spectui.store.rows import SessionSummary


def explained_words(summary: SessionSummary, first: tuple[int, int] | None = None) -> str:
    """The greedy rounds that the target's argmax explains, in a sentence; "" where no server recorded it.

    `first` is the first that it does not: position of its prompt and its number.
    """
    greedy, wrong = summary.greedy_rounds, summary.greedy_rounds - summary.explained_rounds
    if not greedy:
        return ""
    if not wrong:
        return f"the target's argmax explains all {greedy:,} greedy rounds"
    word = "request" if summary.of_clients else "prompt"
    where = f", the first in {word} {first[0] + 1:,}, round {first[1]:,}" if first is not None else ""
    return (
        f"the target's argmax does not explain {wrong:,} of {greedy:,} greedy rounds{where}: what the server answers is"
        " not what its model says"
    )
