"""Protects: names, tags and notes of sessions, and deleting them."""

from __future__ import annotations

import random
import re

import pytest
from sqlite_utils import Database

from spectui.store.care.check import check
from spectui.store.care.space import delete_session
from spectui.store.errors import StoreError
from spectui.store.labels import fresh_name, read_tags
from spectui.store.reading.reader import Reader
from spectui.store.sessions import create_session, rename_session, set_notes, set_tags
from spectui.store.writing.writer import SessionWriter
from tests.store.samples import claimed_writer, make_session, record_all


def test_names_are_memorable_and_differ(db: Database) -> None:
    for _ in range(50):
        make_session(db)
    names = [session.name for session in Reader(db).sessions()]
    assert len(set(names)) == 50
    assert all(re.fullmatch(r"[a-z]+-[a-z]+", name) for name in names)


def test_names_do_not_run_out() -> None:
    random.seed(0)
    taken: set[str] = set()
    for _ in range(12_000):
        name = fresh_name(taken)
        assert name not in taken
        taken.add(name)


@pytest.mark.parametrize("name", ["", "  ", "12", "last", "a\nb", "\x1b[31m", "x" * 81])
def test_names_that_could_not_be_used_are_refused(db: Database, name: str) -> None:
    with pytest.raises(StoreError) as refusal:
        make_session(db, name=name)
    assert len(str(refusal.value).splitlines()) == 1
    assert db["session"].count == 0


def test_a_name_is_given_once(db: Database) -> None:
    make_session(db, name="friday")
    with pytest.raises(StoreError, match="named 'friday' already"):
        make_session(db, name=" friday ")
    other = make_session(db, name="monday")
    with pytest.raises(StoreError, match="named 'friday' already"):
        rename_session(db, other, "friday")
    rename_session(db, other, "monday")
    rename_session(db, other, "tuesday")
    assert Reader(db).session("tuesday").id == other
    with pytest.raises(StoreError, match="no session 99"):
        rename_session(db, 99, "x")


def test_tags_are_words_each_once(db: Database) -> None:
    session_id = make_session(db)
    assert Reader(db).session(session_id).tags == ()
    set_tags(db, session_id, read_tags("  #Study, slow slow ,gpu\tgpu "))
    assert Reader(db).session(session_id).tags == ("gpu", "slow", "study")
    set_tags(db, session_id, read_tags(" , "))
    assert Reader(db).session(session_id).tags == ()


@pytest.mark.parametrize("tags", [["x" * 33], ["\x1b[31m"], ["two words"], [f"t{i}" for i in range(17)]])
def test_tags_that_could_not_be_used_are_refused(db: Database, tags: list[str]) -> None:
    session_id = make_session(db)
    with pytest.raises(StoreError) as refusal:
        set_tags(db, session_id, tags)
    assert len(str(refusal.value).splitlines()) == 1
    assert Reader(db).session(session_id).tags == ()


def test_notes_replace_what_stood_there(db: Database) -> None:
    session_id = make_session(db)
    set_notes(db, session_id, " the fan was off\n")
    set_notes(db, session_id, "again, with the fan")
    assert Reader(db).session(session_id).notes == "again, with the fan"
    with pytest.raises(StoreError, match="2001 characters"):
        set_notes(db, session_id, "x" * 2001)
    with pytest.raises(StoreError, match="no session 99"):
        set_notes(db, 99, "x")


def test_a_session_needs_prompts(db: Database) -> None:
    with pytest.raises(StoreError, match="at least one prompt"):
        create_session(db, config_json="{}", target="t", drafter="d", tree="chain:1", prompts=[])
    assert db["session"].count == 0


def test_a_deleted_session_leaves_nothing_but_the_others(db: Database) -> None:
    doomed = record_all(db, ["code"], 5)
    kept = record_all(db, ["math"], 5)
    delete_session(db, doomed)
    assert [session.id for session in Reader(db).sessions()] == [kept]
    counts = {table: db[table].count for table in ("generation", "round", "node", "rollup_task")}
    assert counts == {"generation": 1, "round": 5, "node": 70, "rollup_task": 1}
    assert check(db) == []


def test_a_session_at_work_is_not_deleted(db: Database) -> None:
    writer = claimed_writer(db)
    with pytest.raises(StoreError, match="stop it before deleting"):
        delete_session(db, 1)
    writer.set_status("stopped")
    delete_session(db, 1)
    with pytest.raises(StoreError, match="is gone"):
        writer.heartbeat(0.0, 0)
    with pytest.raises(StoreError, match="is gone"):
        SessionWriter(db, 1)
