"""Protects exports: every value reads back as it was recorded, and what cannot be written leaves nothing behind."""

from __future__ import annotations

import csv
import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from sqlite_utils import Database

from spectui.store.analysis.report import build_report
from spectui.store.care.check import check
from spectui.store.database import connect
from spectui.store.errors import StoreError
from spectui.store.export import sqlite as sqlite_export
from spectui.store.export.export import FORMATS, default_place, export_session
from spectui.store.export.tables import TABLES, columns
from spectui.store.export.text import safe_cell
from spectui.store.reading.reader import Reader
from spectui.store.records import PromptRecord
from spectui.store.sessions import create_session, send_command
from spectui.store.writing.writer import SessionWriter
from spectui.tui.cli.commands.export import FORMATS as OFFERED
from tests.store.processes import ROOT
from tests.store.samples import make_round, record_all

TEXTS = (
    "plain",
    "=HYPERLINK(A1)",
    "'quoted already",
    'a "cell", with\nlines\r\nand ;',
    "\x1b[31mred\x07 \x00 nul",
    "\t=tab",
    "@ über 日本語 🙂",
    "",
)
"""Text that a spreadsheet would run, that would break a row, or that would steer a terminal."""

Tables = dict[str, list[tuple[Any, ...]]]


@pytest.fixture
def session(db: Database) -> int:
    """A session whose texts are hostile, with and without probabilities, between two others."""
    record_all(db, ["code"], 2)
    session_id = create_session(
        db,
        name="friday",
        config_json="{}",
        target="embedded",
        drafter="recycling",
        tree="full:3x2",
        prompts=[PromptRecord(f"p{i}", text or "chat", text) for i, text in enumerate(TEXTS)],
    )
    writer = SessionWriter(db, session_id)
    writer.claim()
    writer.describe(tokenizer_id="ours")
    writer.add_tokens("ours", {5: b"\xff\x00", 7: b" the"})
    writer.add_tokens("other", {5: b"no"})
    writer.add_event("memory", "it grew")
    for generation in writer.pending_generations()[:-1]:
        writer.start_generation(generation.id, 10)
        for number in (1, 2):
            record = make_round(
                number, path=() if number == 1 else (0, 2), seed=generation.id, drafted=generation.id % 2 == 0
            )
            length = 10 if number == 1 else 11
            last = number == 2
            writer.record_round(
                generation.id,
                type(record)(**record.__dict__ | {"prefix_length": length, "cut": "eos" if last else None,
                                                  "bonus_token_id": None if last else 7}),
            )  # fmt: skip
        writer.finish_generation(
            generation.id, "finished", output=TEXTS[generation.position - 1], finish_reason="eos"
        )
    send_command(db, session_id, "skip")
    writer.set_status("stopped", error="-1 is no formula")
    record_all(db, ["math"], 2)
    return session_id


@pytest.fixture
def recorded(session: int, path: Path) -> Tables:
    """The session's rows as they lie in the database."""
    with closing(sqlite3.connect(path)) as connection:
        return {
            "generation": connection.execute(
                "SELECT * FROM generation WHERE session_id = ? ORDER BY position", (session,)
            ).fetchall(),
            "round": connection.execute(
                "SELECT round.* FROM round JOIN generation AS g ON g.id = generation_id WHERE session_id = ?"
                " ORDER BY g.position, number",
                (session,),
            ).fetchall(),
            "node": connection.execute(
                "SELECT node.* FROM node JOIN round ON round.id = round_id JOIN generation AS g"
                " ON g.id = generation_id WHERE session_id = ? ORDER BY g.position, number, idx",
                (session,),
            ).fetchall(),
        }


def read_csv(file: Path, kinds: Mapping[str, str]) -> list[tuple[Any, ...]]:
    """Rows by Python's own reader, and numbers as the columns say; texts lose the one quote before them."""
    with file.open(encoding="utf-8", newline="") as lines:
        head, *rows = csv.reader(lines)
    assert head == list(kinds)
    return [tuple(_value(cell, kind) for cell, kind in zip(row, kinds.values(), strict=True)) for row in rows]


def _value(cell: str, kind: str) -> Any:
    if kind == "text":
        return cell.removeprefix("'") if cell.startswith("'") else cell
    if cell == "":
        return None
    return float(cell) if kind == "real" else int(cell)


def without_null_texts(rows: list[tuple[Any, ...]], kinds: Mapping[str, str]) -> list[tuple[Any, ...]]:
    """Python's reader does not tell an empty cell from an empty text."""
    return [
        tuple("" if v is None and k == "text" else v for v, k in zip(row, kinds.values(), strict=True))
        for row in rows
    ]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_files_read_back_as_the_tables_were(
    session: int, recorded: Tables, path: Path, tmp_path: Path, kind: str
) -> None:
    counted: dict[str, int] = {}

    def progress(table: str, count: int) -> None:
        counted[table] = counted.get(table, 0) + count

    out = tmp_path / "out" / "friday"
    with Reader(path) as reader:
        done = export_session(reader, "friday", kind, out, progress=progress)
        kinds = {table: {c.name: c.kind for c in columns(reader, table)} for table in TABLES}
    assert done.rows == counted == {table: len(rows) for table, rows in recorded.items()}
    assert len(recorded["node"]) == 14 * 2 * (len(TEXTS) - 1)
    assert done.paths == tuple(out / f"{table}.{kind}" for table in TABLES)
    assert {file.name for file in out.iterdir()} == {file.name for file in done.paths}
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in done.paths)
    for table, file in zip(TABLES, done.paths, strict=True):
        rows = recorded[table]
        if kind == "csv":
            assert read_csv(file, kinds[table]) == without_null_texts(rows, kinds[table])
        elif kind == "jsonl":
            exported = [json.loads(line) for line in file.read_text(encoding="ascii").splitlines()]
            assert [tuple(each.values()) for each in exported] == rows
            assert all(list(each) == list(kinds[table]) for each in exported)
        else:
            read = pq.read_table(file)
            assert read.column_names == list(kinds[table])
            assert list(zip(*(column.to_pylist() for column in read.columns), strict=True)) == rows


def test_records_of_aiperf_agree_with_the_rounds_and_with_themselves(
    session: int, recorded: Tables, path: Path, tmp_path: Path
) -> None:
    """The sums that AIPerf's model of a record checks: by histogram, by step and in all."""
    out = tmp_path / "friday.jsonl"
    with Reader(path) as reader:
        done = export_session(reader, session, "aiperf", out)
        rows = reader.generations(session)
    assert (done.paths, done.rows) == ((out,), {"generation": len(TEXTS) - 1, "round": 2 * (len(TEXTS) - 1)})
    lines = [json.loads(line) for line in out.read_text(encoding="ascii").splitlines()]
    assert [line["metadata"]["conversation_id"] for line in lines] == [f"p{i}" for i in range(len(TEXTS) - 1)]
    for line, row in zip(lines, rows, strict=False):
        record = line["spec_decode_acceptance"]
        histogram = {int(length): steps for length, steps in record["acceptance_histogram"].items()}
        assert record["per_step_accepted"] == [0, 2]
        assert record["per_step_drafted"] == [14, 14]
        assert record["num_spec_steps"] == sum(histogram.values()) == 2
        assert record["num_accepted_draft_tokens"] == sum(j * n for j, n in histogram.items()) == 2
        assert (record["num_draft_tokens"], record["num_spec_tokens"]) == (28, 14)
        assert record["mean_acceptance_length"] == 1 + 2 / 2
        assert record["draft_acceptance_rate"] == 2 / 28
        assert record["completion_tokens"] == row.token_count == 3
        assert line["metadata"]["source_kind"] == row.task
        assert line["metadata"]["request_end_ns"] >= line["metadata"]["request_start_ns"] > 10**18
    assert sum(row[1] == session for row in recorded["generation"]) == len(lines) + 1  # one has not begun


def test_missing_numbers_stay_missing_and_flags_are_flags(
    session: int, recorded: Tables, path: Path, tmp_path: Path
) -> None:
    """A drafter without probabilities is null in every format, never 0; `match` is a truth value."""
    with Reader(path) as reader:
        for kind in FORMATS:
            export_session(reader, session, kind, tmp_path / kind)
    with (tmp_path / "csv" / "node.csv").open() as file:
        cells = list(csv.DictReader(file))
    objects = [json.loads(line) for line in (tmp_path / "jsonl" / "node.jsonl").open()]
    read = pq.read_table(tmp_path / "parquet" / "node.parquet").to_pylist()
    with closing(sqlite3.connect(tmp_path / "sqlite")) as copy:
        rows = copy.execute("SELECT draft_p, draft_entropy FROM node").fetchall()
    without = sum(row[6] is None for row in recorded["node"])
    assert 0 < without < len(rows)
    assert sum(p is None and entropy is None for p, entropy in rows) == without
    assert sum(cell["draft_p"] == "" and cell["draft_entropy"] == "" for cell in cells) == without
    for values in (objects, read):
        assert sum(each["draft_p"] is None for each in values) == without
        assert {each["match"] for each in values} == {True, False}
    assert {cell["match"] for cell in cells} == {"0", "1"}


def test_no_cell_of_a_csv_starts_a_formula(session: int, path: Path, tmp_path: Path) -> None:
    with Reader(path) as reader:
        export_session(reader, session, "csv", tmp_path / "out")
    raw = (tmp_path / "out" / "generation.csv").read_bytes()
    assert raw.count(b"\n") > len(TEXTS)  # lines within cells are kept
    with (tmp_path / "out" / "generation.csv").open(encoding="utf-8", newline="") as file:
        cells = [cell for row in list(csv.reader(file))[1:] for cell in row]
    assert "'=HYPERLINK(A1)" in cells
    assert not [cell for cell in cells if cell[:1] in ("=", "+", "@", "\t", "\r")]
    assert safe_cell("''") == "'''"
    assert b',"",,' in raw.rstrip().split(b"\n")[-1]  # an empty text is quotes, and NULL is an empty cell
    assert raw.split(b"\n")[1].count(b'""') == 1


def test_a_database_of_its_own_is_opened_checked_and_reported_like_any(
    session: int, recorded: Tables, path: Path, tmp_path: Path
) -> None:
    out = tmp_path / "friday.db"
    with Reader(path) as reader:
        export_session(reader, session, "sqlite", out)
        before = build_report(reader, session)
        summary = reader.session(session)
        figures = reader.figures(session)
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["friday.db"]  # no log beside it
    assert out.stat().st_mode & 0o777 == 0o600
    with closing(sqlite3.connect(out)) as copy:
        assert copy.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        for table, rows in recorded.items():
            key = {"node": "round_id, idx"}.get(table, "id")
            assert copy.execute(f"SELECT * FROM {table} ORDER BY {key}").fetchall() == sorted(rows)
        assert copy.execute("SELECT * FROM token").fetchall() == [
            ("ours", 5, b"\xff\x00"),
            ("ours", 7, b" the"),
        ]
        assert copy.execute("SELECT text FROM event").fetchall() == [("it grew",)]
        assert copy.execute("SELECT count(*) FROM command").fetchone() == (0,)
    connection = connect(out)  # as the dashboard would, which needs no migration
    assert check(connection) == []
    connection.close()
    with Reader(out) as reader:
        assert reader.sessions() == [summary]
        assert reader.figures(session) == figures
        after = build_report(reader, "friday")
    assert after == before


def test_a_database_with_a_rollback_journal_is_exported_too(
    session: int, path: Path, tmp_path: Path, db: Database
) -> None:
    """As on a network file system; and a reader without write permission."""
    db.close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA journal_mode = DELETE").fetchone() == ("delete",)
    with Reader(path) as reader:
        done = export_session(reader, session, "sqlite", tmp_path / "copy.db")
    with Reader(done.paths[0]) as copy:
        assert copy.session("last").name == "friday"


def test_every_table_of_the_schema_is_exported_or_left_out_on_purpose(db: Database) -> None:
    ours = {name for name in db.table_names() if not name.startswith("_")}
    assert ours == {*TABLES, *sqlite_export._OTHERS, "command"}


def test_the_command_line_offers_every_format() -> None:
    assert OFFERED == FORMATS


def test_every_column_is_documented_with_what_it_is(db: Database) -> None:
    """docs/reference/schema.md has a section for each table and a row for each column."""
    text = (ROOT / "docs" / "reference" / "schema.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE))
    assert set(sections) == {*TABLES, *sqlite_export._OTHERS}
    for table, body in sections.items():
        rows = re.findall(r"^\| `(\w+)` \|([^|]*)\| (.+?) \|$", body, re.MULTILINE)
        assert sorted(name for name, _, _ in rows) == sorted(db[table].columns_dict), table
        assert all(meaning.strip() for _, _, meaning in rows), table


# What is in the way.


@pytest.mark.parametrize("kind", FORMATS)
def test_what_is_there_is_replaced_on_request_alone(
    session: int, path: Path, tmp_path: Path, kind: str
) -> None:
    out = tmp_path / "out"
    with Reader(path) as reader:
        first = export_session(reader, session, kind, out)
        held = first.paths[0].read_bytes()
        with pytest.raises(
            StoreError, match=r"is there already; --force replaces it, or name another place$"
        ):
            export_session(reader, 1, kind, out)
        assert first.paths[0].read_bytes() == held
        assert export_session(reader, 1, kind, out, force=True).name != "friday"
    assert first.paths[0].read_bytes() != held
    drafts = [file.name for file in tmp_path.rglob("*") if ".part" in file.name]
    assert drafts == []


def test_a_folder_keeps_what_else_is_in_it(session: int, path: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine"
    out.mkdir()
    (out / "letter.txt").write_text("dear")
    with Reader(path) as reader:
        export_session(reader, session, "csv", out)
    assert sorted(file.name for file in out.iterdir()) == [
        "generation.csv",
        "letter.txt",
        "node.csv",
        "round.csv",
    ]


def refusals(tmp_path: Path, path: Path) -> Iterator[tuple[str, Path, str]]:
    file = tmp_path / "a file"
    file.write_text("x")
    yield "csv", file, "is a file; name a folder"
    yield "sqlite", tmp_path, "is a folder; name a file"
    yield "sqlite", path, "is the database that is exported from"
    yield "jsonl", file / "below", "cannot write"
    yield "sqlite", Path("/proc/nowhere/x.db"), "cannot write"
    yield "csv", tmp_path / ("n" * 300), "cannot write"
    yield "csv", tmp_path / "nul\0", "cannot write"
    busy = tmp_path / "busy.db"
    busy.with_name("busy.db-wal").write_text("x")
    busy.write_text("x")
    yield "sqlite", busy, "is a database in use"


def test_places_that_will_not_do_are_said_in_one_line(session: int, path: Path, tmp_path: Path) -> None:
    cases = list(refusals(tmp_path, path))
    before = {file: file.read_bytes() for file in tmp_path.iterdir() if file.is_file()}
    with Reader(path) as reader:
        for kind, out, message in cases:
            with pytest.raises(StoreError, match=re.escape(message)) as refusal:
                export_session(reader, session, kind, out, force=True)
            assert len(str(refusal.value).splitlines()) == 1
    assert {file: file.read_bytes() for file in tmp_path.iterdir() if file.is_file()} == before


def test_stopping_half_way_leaves_nothing(session: int, path: Path, tmp_path: Path) -> None:
    """Ctrl+C, or the dialogue of the dashboard."""

    def stop(table: str, count: int) -> None:
        if table == "round":
            raise KeyboardInterrupt

    with Reader(path) as reader:
        for kind in FORMATS:
            with pytest.raises(KeyboardInterrupt):
                export_session(reader, session, kind, tmp_path / "out" / kind, progress=stop)
    assert list((tmp_path / "out").iterdir()) == []


FULL = """
import resource, signal, sys
from pathlib import Path
import pyarrow.parquet
from spectui.store.errors import StoreError
from spectui.store.export.export import FORMATS, export_session
from spectui.store.reading.reader import Reader
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with Reader(Path(sys.argv[1])) as reader:
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
    for kind in FORMATS:
        try:
            export_session(reader, "friday", kind, Path(sys.argv[2]) / kind)
        except StoreError as error:
            print(error)
"""


def test_a_full_disk_is_said_and_leaves_nothing(session: int, path: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run = subprocess.run(
        [sys.executable, "-c", FULL, str(path), str(out)], cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert run.stderr == ""
    lines = run.stdout.splitlines()
    assert len(lines) == len(FORMATS)
    for kind, line in zip(FORMATS, lines, strict=True):
        assert str(out / kind) in line
        assert ".part" not in line
    assert list(out.iterdir()) == []


def test_parquet_without_pyarrow_says_what_to_install(
    session: int, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with Reader(path) as reader, pytest.raises(StoreError, match=r"pip install 'spectui\[parquet\]'"):
        export_session(reader, session, "parquet", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_unknown_session_names_the_closest(session: int, path: Path, tmp_path: Path) -> None:
    with Reader(path) as reader, pytest.raises(StoreError, match="did you mean friday"):
        export_session(reader, "fridy", "csv", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_default_place_is_a_plain_name(tmp_path: Path) -> None:
    assert default_place("friday", "csv") == Path("friday-csv")
    assert default_place("../../etc/x", "sqlite") == Path("-..-etc-x.db")
    assert default_place("...", "jsonl") == Path("session-jsonl")
