"""Protects: of several prompts at work one is followed, all can be walked through, and replicas are shown."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from spectui.store.clock import now
from spectui.store.device_class import DeviceClass
from spectui.tui.widgets.replica_panel import ReplicaPanel
from tests.tui.conftest import app_for, live_screen, shown, wait_for
from tests.tui.replay import Recording

HOSTS = ("node-1", "node-2", "node-3")


class Shared(Recording):
    """A session whose prompts are decoded on replicas."""

    def begin(self) -> None:
        super().begin()
        self.rows = [self.writer.join_replica("ray", host, 100 + i)[0] for i, host in enumerate(HOSTS)]
        for place, row in enumerate(self.rows):
            machine = DeviceClass("NVIDIA H200" if place else "NVIDIA A100", "bfloat16").to_json()
            self.writer.update_replicas(
                {row: {"device": "cuda:0", "machine": machine, "stage": "decoding", "heartbeat_at": now()}}
            )

    def on_replica(self, place: int, *, tokens: int, finish: str | None) -> int:
        """Decode the next prompt there."""
        generation = self.prompt(tokens=tokens, finish=finish)
        self.db.execute("UPDATE generation SET replica_id = ? WHERE id = ?", (self.rows[place], generation))
        self.db.commit()
        return generation


@pytest.fixture
def recording(database: Path) -> Shared:
    recording = Shared(database)
    recording.begin()
    recording.on_replica(0, tokens=60, finish="finished")
    recording.on_replica(0, tokens=60, finish=None)
    recording.on_replica(1, tokens=60, finish=None)
    return recording


async def test_one_of_several_is_followed_and_the_others_are_a_key_away(
    database: Path, recording: Shared
) -> None:
    async with app_for(database, recording.id).run_test(size=(140, 40)) as pilot:
        screen = live_screen(pilot)
        await wait_for(pilot, lambda: shown(screen, 2))
        # Another begins: nothing jumps.
        recording.on_replica(2, tokens=30, finish=None)
        await wait_for(pilot, lambda: screen.state and screen.state.generations[3].status == "running")
        assert shown(screen, 2)
        for position in (3, 1, 2):
            await pilot.press("n")
            await wait_for(pilot, partial(shown, screen, position))
            assert screen.follow
        await pilot.press("N")
        await wait_for(pilot, lambda: shown(screen, 1))
        # At its end the newest of the others is followed.
        assert screen.shown is not None
        recording.writer.finish_generation(screen.shown.id, "finished")
        await wait_for(pilot, lambda: shown(screen, 3))


async def test_replicas_are_shown_with_what_they_do(database: Path, recording: Shared) -> None:
    recording.writer.update_replicas({recording.rows[2]: {"left_at": now(), "reason": "its machine is gone"}})
    async with app_for(database, recording.id).run_test(size=(140, 40)) as pilot:
        screen = live_screen(pilot)
        await wait_for(pilot, lambda: shown(screen, 2))
        panel = screen.query_one(ReplicaPanel)
        await wait_for(pilot, lambda: "replica 2" in panel.text)
        first, second = panel.text.splitlines()
        assert "node-1 cuda:0" in first
        assert "prompt 2 math" in first
        assert "1 done" in first
        assert "tok/s" in first
        assert "prompt 3 logic" in second
        assert second.rstrip().endswith("1 gone")
        await pilot.press("5")
        await wait_for(pilot, lambda: "its machine is gone" in screen.body.replicas.text)
        assert "2 replicas at work, 1 gone" in str(screen.query_one("#replicas").border_title)
        assert "NVIDIA A100, bfloat16" in screen.body.replicas.text
        # A row leads to the prompt that its replica has.
        await pilot.press("home", "enter")
        await wait_for(pilot, lambda: shown(screen, 1))


async def test_a_plain_run_has_no_row_for_them(database: Path, running: Recording) -> None:
    async with app_for(database, running.id).run_test(size=(120, 40)) as pilot:
        screen = live_screen(pilot)
        await wait_for(pilot, lambda: shown(screen, 2))
        assert not screen.query_one(ReplicaPanel).display
        await pilot.press("n")
        assert shown(screen, 2)
