"""Protects: a column of `node` is declared in `NodeRecord` and in the schema; everything else follows from these."""

from __future__ import annotations

import re

from sqlite_utils import Database

from spectui.store.care import check
from spectui.store.export.tables import columns
from spectui.store.reading import reader
from spectui.store.reading.reader import Reader
from spectui.store.records import NODE_FLAGS, NODE_TYPES, NodeRecord
from spectui.store.writing import writer
from tests.store.samples import claimed_writer, make_round

DECLARED = ("round_id", *NodeRecord._fields)


def quoted(sql: str) -> tuple[str, ...]:
    return tuple(re.findall(r'"(\w+)"', sql))


def test_schema_writer_reader_and_export_have_the_declared_columns(db: Database) -> None:
    assert sorted(db["node"].columns_dict) == sorted(DECLARED)
    assert quoted(writer._ADD_NODE) == DECLARED
    assert writer._ADD_NODE.count("?") == len(DECLARED)
    assert quoted(reader._NODE_COLUMNS) == NodeRecord._fields
    exported = {column.name: column.kind for column in columns(Reader(db), "node")}
    assert sorted(exported) == sorted(DECLARED)
    assert {name for name, kind in exported.items() if kind == "flag"} == set(NODE_FLAGS)


def test_flags_come_last() -> None:
    """The reader makes a row a record by one slice."""
    assert NodeRecord._fields[-len(NODE_FLAGS) :] == NODE_FLAGS


def test_a_check_knows_the_range_of_every_probability_entropy_and_flag() -> None:
    ranged = {name for condition in check._IN_RANGE for name in quoted(condition)}
    assert ranged == {
        name for name, declared in NODE_TYPES.items() if re.match("Probability|Nats|bool", declared)
    }
    assert ranged == {"draft_p", "target_p", "draft_entropy", "target_entropy", *NODE_FLAGS}


def test_a_node_reads_back_as_it_was_written(db: Database) -> None:
    session = claimed_writer(db, ["code"])
    (generation,) = session.pending_generations()
    session.start_generation(generation.id)
    record = make_round(1, path=[0])
    session.record_round(generation.id, record)
    (row,) = Reader(db).rounds(generation.id)
    assert row.nodes == tuple(record.nodes)
    assert [type(value) for value in row.nodes[0][-2:]] == [bool, bool]
