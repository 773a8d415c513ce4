"""Protects: tables of counts have the sums that are declared, in every table the same ones."""

from __future__ import annotations

from sqlite_utils import Database

from spectui.store.counts.sums import DEPTH_SUMS, GENERATION_SUMS, ROUND_SUMS, TASK_SUMS


def test_tables_of_counts_have_the_declared_columns(db: Database) -> None:
    columns = {table: set(db[table].columns_dict) for table in db.table_names()}
    assert columns["rollup_task"] == {"session_id", "task", *TASK_SUMS, "bins"}
    assert columns["rollup_depth"] == {"session_id", "task", "depth", *DEPTH_SUMS}
    assert columns["rollup_block"] == {"generation_id", "last", *ROUND_SUMS}
    assert columns["rollup_block_depth"] == {"generation_id", "last", "depth", *DEPTH_SUMS}
    assert set(GENERATION_SUMS) <= columns["generation"]
