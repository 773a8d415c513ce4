"""A session that goes on: with the models and versions it began with, its half-done prompts begun again."""

from __future__ import annotations

from spectui.decoding.models.fingerprint import Basis, differences
from spectui.decoding.worker.control import Refused
from spectui.store.rows import SessionSummary
from spectui.store.writing.writer import SessionWriter


def go_on(writer: SessionWriter, before: SessionSummary, then: Basis, now: Basis, *, force: bool) -> None:
    """Prepare a session that was begun before; raises `Refused` when it would not be the same run."""
    differing = []
    if before.rounds:  # else nothing was begun that could come out mixed
        unknown = ["which model files it began with was not recorded"]
        differing = differences(then, now) if then.files else unknown
    if differing and not force:
        raise Refused(
            f"session '{before.name}' cannot go on as it began: {'; '.join(differing)} "
            "(--force goes on all the same)"
        )
    if differing:
        writer.add_event("forced", f"resumed although {'; '.join(differing)}")
    again = writer.restart_unfinished()
    half_done = {0: "no prompt was half-done", 1: "1 half-done prompt began again"}
    writer.add_event("resumed", half_done.get(again, f"{again} half-done prompts began again"))
