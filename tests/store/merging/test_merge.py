"""Protects the merging of shards: what comes out is the run in one go, and what does not belong together is refused."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from spectui.store.analysis.as_json import report_json
from spectui.store.analysis.report import build_report
from spectui.store.care.check import check
from spectui.store.care.pruning import prune_session
from spectui.store.database import connect
from spectui.store.errors import StoreError
from spectui.store.merging.merge import Merged, merge
from spectui.store.merging.parts import Place
from spectui.store.reading.devices import device_figures
from spectui.store.reading.reader import Reader
from spectui.store.sessions import set_tags
from tests.before.files import differences
from tests.store.merging.shards import CPU, GPU, PROMPTS, make
from tests.store.processes import child, hear
from tests.store.samples import snapshot

COUNTS = ("rollup_task", "rollup_length", "rollup_depth", "rollup_block", "rollup_block_depth")


def merged(out: Path, *paths: Path, **options: Any) -> Merged:
    return merge([Place(path) for path in paths], out, **options)


def three(folder: Path, **changes: Any) -> list[Path]:
    """The shards of a run; `changes` are of the second."""
    return [make(folder / f"{i}.db", f"{i}/3", **(changes if i == 2 else {})) for i in (1, 2, 3)]


def rows(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(connect(path, read_only=True)) as connection:
        return connection.execute(sql).fetchall()


def recorded(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Everything of the only session but its ids, times of day, name and configuration."""
    tables = {
        "generation": "position, prompt_id, task, prompt_text, status, output, finish_reason, prompt_tokens,"
        " token_count, round_count, node_count, match_count, accepted_count, draft_ms, verify_ms, other_ms",
        "round": "position, number, prefix_length, accepted_length, bonus_token_id, cut, round.node_count,"
        " round.draft_ms, round.verify_ms, round.other_ms",
        "node": "position, number, node.*",
        "event": "position, kind, text",
    }
    joins = {
        "generation": "generation",
        "round": "round JOIN generation ON generation.id = generation_id",
        "node": "node JOIN round ON round.id = round_id JOIN generation ON generation.id = generation_id",
        "event": "event JOIN generation ON generation.id = generation_id",
    }
    told = {name: rows(path, f"SELECT {tables[name]} FROM {joins[name]} ORDER BY 1, 2") for name in tables}
    told["node"] = [(*row[:2], *row[3:]) for row in told["node"]]
    return told | {name: rows(path, f"SELECT * FROM {name} ORDER BY 1, 2, 3") for name in COUNTS}


def test_the_session_is_the_one_that_a_run_in_one_go_makes(tmp_path: Path) -> None:
    shards = three(tmp_path)
    whole = make(tmp_path / "whole.db")
    before = snapshot(tmp_path)
    out = tmp_path / "out.db"
    made = merged(out, shards[2], shards[0], shards[1])
    assert snapshot(tmp_path).items() - before.items() == {("out.db", snapshot(tmp_path)["out.db"])}
    assert (made.prompts, made.rounds, made.shards, made.devices) == (8, 40, 3, 1)
    with closing(connect(out)) as db:
        assert check(db) == []
    of_one, of_three = recorded(whole), recorded(out)
    for name, expected in of_one.items():
        assert of_three[name] == pytest.approx(expected) if name in COUNTS else of_three[name] == expected, (
            name
        )
    with Reader(out) as after, Reader(whole) as one:
        summary, plain = after.session("last"), one.session("last")
        assert summary.status == "finished"
        assert not summary.live
        assert summary.config["shard"] == ""
        assert summary.shard is None
        assert summary.tokens == plain.tokens
        assert summary.total_ms == pytest.approx(plain.total_ms)
        assert summary.baseline_count == 9
        assert summary.speedup == pytest.approx(plain.speedup)
        assert (summary.energy_joules, summary.energy_seconds) == (300.0, 30.0)
        assert [event.kind for event in after.events(summary.id)][-1] == "merged"
        told, expected_report = (report_json(build_report(each, "last")) for each in (after, one))
    for report in (told, expected_report):
        for key in ("session", "name", "speedup_range", "baseline_count", "per_million_tokens"):
            del report[key]
    assert differences(expected_report, told) == []


def test_counts_are_of_all_and_times_of_each_class_of_device(tmp_path: Path) -> None:
    shards = [
        make(tmp_path / "1.db", "1/3"),
        make(tmp_path / "2.db", "2/3", machine=GPU, device="cuda:0", plain_ms=60.0),
        make(tmp_path / "3.db", "3/3"),
    ]
    made = merged(tmp_path / "out.db", *shards)
    assert made.devices == 2
    with Reader(tmp_path / "out.db") as reader, Reader(shards[1]) as alone:
        summary, second = reader.session("last"), alone.session("last")
        assert summary.tokens_per_round is not None
        assert (summary.rounds, summary.device) == (40, "cpu + cuda:0")
        assert summary.total_ms == 0.0
        known = (
            summary.tokens_per_second,
            summary.speedup,
            summary.energy_joules,
            summary.baseline_ms,
            summary.costs,
        )
        assert known == (None,) * 5
        assert all(figures.total_ms == 0.0 for figures in reader.figures(summary.id).values())
        cpu, gpu = device_figures(reader, summary.id)
        assert (cpu.machine, gpu.machine) == (CPU, GPU)
        assert gpu.tokens == second.tokens
        assert gpu.total_ms == pytest.approx(second.total_ms)
        assert gpu.speedup == pytest.approx(second.speedup)
        assert gpu.speedup_range == pytest.approx(second.speedup_range)
        assert (gpu.energy_joules, cpu.energy_joules) == (100.0, 200.0)
        assert (cpu.baseline_count, gpu.baseline_count) == (6, 3)
        assert cpu.tokens + gpu.tokens == summary.tokens
        assert {task: of.tokens for task, of in gpu.tasks.items()} == {
            task: of.tokens for task, of in alone.figures(second.id).items()
        }
        report = report_json(build_report(reader, "last", price=2.0))
    assert report["tokens_per_second"] is None
    assert report["per_million_tokens"]["tasks"] == {}
    assert [each["name"] for each in report["devices"]] == ["AMD EPYC", "NVIDIA H200"]
    assert report["devices"][1]["speedup"] == pytest.approx(second.speedup)
    assert report["devices"][1]["per_million_tokens"]["all"]["speculative"]["price"] > 0


def test_replicas_of_shards_stay_who_they_were(tmp_path: Path) -> None:
    shards = [make(tmp_path / "1.db", "1/2", replicas=(CPU, GPU)), make(tmp_path / "2.db", "2/2")]
    made = merged(tmp_path / "out.db", *shards)
    assert made.devices == 2
    replicas = rows(tmp_path / "out.db", "SELECT number, machine FROM replica ORDER BY number")
    assert replicas == [(1, CPU.to_json()), (2, GPU.to_json()), (3, CPU.to_json())]
    with Reader(tmp_path / "out.db") as reader:
        of_cpu, of_gpu = device_figures(reader, 1)
        prompts = reader.fetch("SELECT replica_id, count(*) FROM generation GROUP BY 1 ORDER BY 1")
    assert prompts == [(1, 2), (2, 2), (3, 4)]
    assert (of_cpu.prompts, of_gpu.prompts) == (6, 2)
    assert (of_cpu.baseline_count, of_gpu.baseline_count) == (6, 0)
    assert (of_cpu.energy_joules, of_gpu.energy_joules) == (150.0, 50.0)


Spoil = Callable[[Path], list[Path]]
OTHER_PROMPTS = [*PROMPTS[:-1], PROMPTS[0]]
BROKEN: dict[str, tuple[Spoil, str]] = {
    "missing": (
        lambda folder: three(folder)[:2],
        "nothing was merged: 2 of 8 prompts are missing: shard 3/3 (prompts 5, 6)",
    ),
    "twice": (
        lambda folder: [*three(folder), make(folder / "again.db", "3/3")],
        "nothing was merged: 2 of 8 prompts are there twice, in shard 3/3 (session",
    ),
    "other shards": (
        lambda folder: [*three(folder)[:2], make(folder / "4.db", "4/4")],
        "nothing was merged: 2 of 8 prompts are missing (prompts 5, 6); 2 of 8 prompts are there twice, in shard 1/3",
    ),
    "temperature": (
        lambda folder: three(folder, config={"temperature": 0.8}),
        "is of another run than shard 1/3",
    ),
    "files": (
        lambda folder: three(folder, model_files={"target": {"model.safetensors": "def"}}),
        "the target's model.safetensors has changed",
    ),
    "versions": (
        lambda folder: three(folder, versions={"python": "3.11.9", "spectui": "0.1.0", "torch": "2.12.0"}),
        "torch was 2.13.0 and is 2.12.0",
    ),
    "tree": (lambda folder: three(folder, tree="chain:3"), "tree was full:3x2 and is chain:3"),
    "tokenizer": (lambda folder: three(folder, tokenizer_id="other"), "its tokenizer is another"),
    "prompts": (
        lambda folder: three(folder, prompts=OTHER_PROMPTS),
        "is of another list of prompts than shard 1/3",
    ),
    "unfinished": (
        lambda folder: three(folder, undone=(2,)),
        "has 1 prompt to go; decode them with: spectui run --resume 1 --db",
    ),
    "live": (lambda folder: three(folder, status="running"), "is running; merge it when it has ended"),
    "whole": (lambda folder: [make(folder / "whole.db")], "is no shard"),
    "named twice": (lambda folder: [*three(folder), folder / "1.db"], "1.db is named twice"),
    "no database": (lambda folder: [*three(folder)[:2], folder / "none.db"], "there is no database at"),
    "no session": (lambda folder: [_empty(folder / "empty.db")], "holds no session"),
    "several": (lambda folder: [_two(folder / "two.db")], "holds several sessions; name one"),
    "pruned": (
        lambda folder: [*three(folder)[:2], _pruned(folder / "3.db")],
        "has given up nodes of 2 prompts",
    ),
    "damaged": (
        lambda folder: [*three(folder)[:2], _damaged(folder / "3.db")],
        "3.db is not sound, so nothing was",
    ),
}


def _empty(path: Path) -> Path:
    connect(path).close()
    return path


def _two(path: Path) -> Path:
    return make(make(path, "1/2"), "2/2")


def _pruned(path: Path) -> Path:
    with closing(connect(path)) as db:
        prune_session(db, 1, datetime.now(UTC), lambda *_: None)
    return path


def _damaged(path: Path) -> Path:
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE rollup_task SET nodes = nodes + 1")
    return path


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_merge_is_refused_with_its_reason_and_writes_nothing(tmp_path: Path, fault: str) -> None:
    spoil, reason = BROKEN[fault]
    shards = spoil(tmp_path)
    before = snapshot(tmp_path)
    with pytest.raises(StoreError) as refusal:
        merged(tmp_path / "out.db", *shards)
    assert reason in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert snapshot(tmp_path) == before


def test_shards_of_unlike_machines_merge_whatever_their_paths_prices_and_patch_levels(tmp_path: Path) -> None:
    unlike = {"target": "/node-7/tiny", "price": 3.0, "max_seconds": 60.0, "device": "cuda"}
    versions = {"python": "3.11.9", "spectui": "0.1.0", "torch": "2.13.0"}
    made = merged(tmp_path / "out.db", *three(tmp_path, config=unlike, versions=versions), name="together")
    assert made.name == "together"
    with Reader(tmp_path / "out.db") as reader:
        config = reader.session("together").config
    assert (config["price"], config["max_seconds"]) == (None, None)


def test_sessions_of_one_database_merge_by_name_and_other_counts_of_shards_may_make_it_whole(
    tmp_path: Path,
) -> None:
    both = make(make(make(tmp_path / "runs.db", "1/2"), "2/4"), "4/4")
    with closing(connect(both)) as db:
        set_tags(db, 1, ["night"])
    made = merge([Place(both, session) for session in (1, 2, "last")], tmp_path / "out.db")
    assert made.prompts == 8
    with Reader(tmp_path / "out.db") as reader:
        assert reader.session("last").tags == ("night",)


def test_a_file_that_is_there_stays_unless_it_may_be_replaced(tmp_path: Path) -> None:
    shards = three(tmp_path)
    out = tmp_path / "out.db"
    out.write_text("mine")
    with pytest.raises(StoreError, match="is there already"):
        merged(out, *shards)
    assert out.read_text() == "mine"
    merged(out, *shards, force=True)
    assert rows(out, "SELECT count(*) FROM session") == [(1,)]


def test_killed_on_the_way_it_leaves_no_file_and_the_next_merge_nothing_of_it(tmp_path: Path) -> None:
    three(tmp_path)
    out = tmp_path / "out.db"
    with child("half_a_merge", tmp_path) as process:
        hear(process, "half-way")
        (draft,) = tmp_path.glob(".out.db.*.part")
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert not out.exists()
    _age(draft)
    assert merged(out, *(tmp_path / f"{i}.db" for i in (1, 2, 3))).prompts == 8
    assert not list(tmp_path.glob(".out.db.*"))


def test_the_draft_of_a_merge_at_work_is_left_alone(tmp_path: Path) -> None:
    three(tmp_path)
    with child("half_a_merge", tmp_path) as process:
        hear(process, "half-way")
        (draft,) = tmp_path.glob(".out.db.*.part")
        _age(draft)
        merged(tmp_path / "out.db", *(tmp_path / f"{i}.db" for i in (1, 2, 3)))
        assert draft.exists()
        process.kill()


def _age(path: Path) -> None:
    os.utime(path, (0, 0))
