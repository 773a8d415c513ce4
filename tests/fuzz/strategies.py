"""Inputs of the fuzzer: text that steers terminals, prompt files, configurations, trees, broken databases."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from spectui.decoding.config import RunConfig
from spectui.store.care.pruning import prune_session
from spectui.store.database import connect
from spectui.store.writing.writer import SessionWriter
from spectui.tui.settings import run_settings
from tests.store.samples import make_round, record_all

HOSTILE = (
    "\x1b[31mred\x1b[0m", "\x1b]52;c;aGk=\x07", "\x1b]0;title\x1b\\", "\x9b31m", "\x9d0;t\x9c", "\x00", "\r",
    "\x08\x08", "\x7f", "a\u202eb\u2066c", "e" + "\u0301" * 50, "漢字", "👩\u200d👩\u200d👧", "\u200b\ufeff",
    "\ud800", "﷽", "\u2028", "[red]markup[/red]", "%s%n", "../../etc/passwd", "'; DROP TABLE node; --",
)  # fmt: skip
"""Controls, bidi marks, combining, wide and zero-width characters, and what other programs would run."""

any_text = st.one_of(
    st.text(st.characters(exclude_categories=()), max_size=60),
    st.lists(st.sampled_from(HOSTILE), min_size=1, max_size=6).map("".join),
)
stored_text = any_text.map(lambda text: text.encode("utf-8", "replace").decode())
"""Text that a database or a file in UTF-8 can hold."""

numbers = st.one_of(
    st.integers(),
    st.floats(),
    st.sampled_from([0, -1, 2**31, 2**63 - 1, -(2**63), 10**400, 1e308, float("nan")]),
)
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, any_text),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(any_text, inner, max_size=4)),
    max_leaves=8,
)

_LINES = st.one_of(
    st.builds(
        lambda data: json.dumps(data).encode(),
        st.fixed_dictionaries(
            {
                "task": st.one_of(st.sampled_from(["code", "x"]), json_values),
                "prompt": st.one_of(any_text, json_values),
            },
            optional={"id": st.one_of(any_text, json_values), "more": json_values},
        ),
    ),
    st.builds(lambda data: json.dumps(data).encode(), json_values),
    st.binary(max_size=60),
    any_text.map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.sampled_from(
        [b"[" * 5000, b'{"task":"a","prompt":"' + b"x" * 100_000 + b'"}', b"\xef\xbb\xbf", b"1" * 5000]
    ),
)
_KEYS = (
    "prompt", "messages", "conversations", "role", "from", "content", "value", "turns", "instruction", "input", "body",
    "data", "row", "system", "history", "choices", "parts", "id", "task", "category", "tools", "text",
)  # fmt: skip
_records = st.recursive(
    st.one_of(st.none(), numbers, any_text),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(_KEYS), inner, max_size=4)
    ),
    max_leaves=8,
)
_ENCODINGS = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le"])
_tables = st.builds(
    lambda rows, delimiter, end: end.join(delimiter.join(row) for row in [["prompt", *rows[0]], *rows]),
    st.lists(st.lists(any_text, max_size=3), min_size=1, max_size=4),
    st.sampled_from([",", "\t", ";", "|"]),
    st.sampled_from(["\n", "\r\n", "\r", '"\n']),
)
_plain_files = st.one_of(
    st.lists(_LINES, max_size=5).map(b"\n".join),
    st.builds(
        lambda records, indent, encoding: json.dumps(records, indent=indent).encode(encoding),
        st.one_of(st.lists(_records, max_size=4), _records),
        st.sampled_from([None, 1]),
        _ENCODINGS,
    ),
    st.builds(
        lambda text, encoding: text.encode(encoding, "replace"), st.one_of(_tables, any_text), _ENCODINGS
    ),
)
prompt_files = st.one_of(
    _plain_files,
    st.builds(
        lambda data, pack, cut, more: pack(data)[:cut] + more,
        _plain_files,
        st.sampled_from([gzip.compress, bz2.compress, lzma.compress]),
        st.one_of(st.none(), st.integers(0, 60)),
        st.one_of(st.just(b""), st.just(b"\0" * 9), st.binary(max_size=9)),
    ),
)
"""Files of prompts, and damaged ones."""

_FIELDS = [field.name for field in fields(RunConfig)]
configs = st.one_of(
    st.dictionaries(st.one_of(st.sampled_from(_FIELDS), any_text), json_values, max_size=5).map(json.dumps),
    st.dictionaries(
        st.sampled_from(_FIELDS),
        st.one_of(
            st.sampled_from(
                ["eagle", "lookup", "recycling+lookup", "full:3x2", "dynamic:8x4", "rounds", "cuda:0", 1, 0.5]
            ),
            json_values,
        ),
        max_size=4,
    ).map(json.dumps),
    any_text,
    st.sampled_from(["[" * 5000, "{" * 5000, "", "null", '{"seed": NaN}', '{"max_nodes": 1e999}']),
)


def _toml(value: Any) -> str:
    """A value as TOML has it, or nearly: what is left wrong is bad input too."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(str(k))} = {_toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


_SETTINGS = (
    "theme", "database", "ascii", "fps", "mouse", "run", "keys", "pause", "skip", "quit", "follow",
    *(name.replace("_", "-") for name in run_settings()),
)  # fmt: skip
_LONG = {
    "digits": "9" * 5000,
    "arrays": "[" * 2000,
    "tables": "{a = " * 500,
    "text": '"' + "x" * 100_000 + '"',
}
"""Named, so that hypothesis names them too."""
_TOML_VALUES = st.one_of(
    json_values.map(_toml),
    st.sampled_from(sorted(_LONG)).map(lambda name: _LONG[name]),
    st.sampled_from(
        [
            '"dark"', '"~nobody-of-that-name/x"', r'"\u0000"', r'"\uD800"', r'"a\nb"', "'\x1b[31m'", "2026-13-45",
            "1e999", "nan", "1979-05-27T07:32:00Z", "0", "61", "-1", "true", '"full:3x2"', '"code,math"', '"lookup"',
            '"12h"', '"ctrl+c"', '"q"', '""',
        ]
    ),
)  # fmt: skip
_TOML_LINES = st.one_of(
    st.sampled_from(
        [
            "[run]",
            "[keys]",
            "[keys.live]",
            "[keys.sessions]",
            "[keys.app]",
            "[[run]]",
            "[run.x]",
            "# \x1b[2J",
            "",
        ]
    ),
    st.builds(
        lambda key, value: f"{key} = {value}",
        st.one_of(st.sampled_from(_SETTINGS), any_text.map(json.dumps), any_text),
        _TOML_VALUES,
    ),
    any_text,
)
settings_files = st.one_of(
    st.lists(_TOML_LINES, max_size=6).map(lambda lines: "\n".join(lines).encode("utf-8", "surrogatepass")),
    st.builds(
        lambda table, name, value: f"{table}{name} = {value}".encode("utf-8", "surrogatepass"),
        st.sampled_from(["", "[run]\n", "[keys.live]\n"]),
        st.sampled_from(_SETTINGS),
        _TOML_VALUES,
    ),
    st.binary(max_size=60),
    st.sampled_from(
        [
            b"a = " + b"[" * 5000,
            b"a." * 5000 + b"b = 1",
            b"\xff\xfe",
            b"\xef\xbb\xbffps = 5",
            b"fps = 5\r\n\r",
        ]
    ),
)
"""Files for SPECTUI_CONFIG."""

trees = st.one_of(
    st.builds(
        lambda kind, rest: f"{kind}:{rest}",
        st.sampled_from(["full", "chain", "recycling", "dynamic", "paths", "", "auto"]),
        st.one_of(
            st.from_regex(r"-?[0-9]{0,6}(x-?[0-9]{0,6})?", fullmatch=True),
            st.from_regex(r"[0-9,. ]{0,20}", fullmatch=True),
            any_text,
        ),
    ),
    any_text,
)
tree_files = st.one_of(
    st.lists(st.lists(st.integers(-1, 4), max_size=5), max_size=8).map(json.dumps),
    st.fixed_dictionaries({}, optional={"parents": st.lists(st.integers(-2, 9)), "paths": json_values}).map(
        json.dumps
    ),
    json_values.map(json.dumps),
    st.sampled_from(["[" * 5000, "[[0], [" + "0," * 3000 + "0]]"]),
).map(str.encode) | st.binary(max_size=40)

commands = st.lists(
    st.one_of(
        st.sampled_from(["pause", "resume", "skip", "stop", "PAUSE", ""]), stored_text, st.integers(-9, 9),
        st.binary(max_size=9),
    ),
    max_size=6,
)  # fmt: skip


def sound_database(path: Path) -> bytes:
    """Bytes of a small database with everything in it: text, a pruned session, events, commands, a failed prompt."""
    connection = connect(path)
    record_all(connection, ["code", "math"], 6)
    thin = record_all(connection, ["code"], 4)
    prune_session(connection, thin, datetime.now(UTC))
    writer = SessionWriter(connection, thin)
    writer.add_event("database", "waited")
    writer.add_tokens(
        "t", {token: b"w%d " % token for node in make_round().nodes for token in [node.token_id]}
    )
    writer.describe(tokenizer_id="t", device="cpu", versions={"python": "3"}, notes="n", log_path="/l")
    connection.execute("INSERT INTO command (session_id, kind, created_at) VALUES (1, 'stop', '2026-01-01')")
    connection.execute("PRAGMA journal_mode = DELETE").fetchall()
    connection.close()
    return path.read_bytes()


TABLES = (
    "session", "generation", "round", "node", "token", "rollup_task", "rollup_length", "rollup_depth", "rollup_block",
    "rollup_block_depth", "command", "event", "pruned", "_sqlite_migrations",
)  # fmt: skip


@dataclass(frozen=True)
class Damage:
    """Damage to a sound database."""

    flips: tuple[tuple[float, int], ...] = ()
    """Places, as a part of the file, and the masks that change a byte there."""
    cut: float | None = None
    drop: str | None = None
    table: str = ""
    column: int = 0
    row: int = 0
    value: Any = None
    """Put into that column of that row."""


_values = st.one_of(
    stored_text,
    json_values.map(json.dumps).map(lambda text: text.encode("utf-8", "replace").decode()),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.binary(max_size=20),
    st.none(),
    st.sampled_from(
        ["[" * 3000, "running", "paused", "2026-01-01T00:00:00+00:00", "9999-99-99", -1, 0, 10**15]
    ),
)
damages = st.one_of(
    st.builds(
        Damage,
        flips=st.lists(
            st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=12
        ).map(tuple),
    ),
    st.builds(
        Damage,
        flips=st.lists(st.tuples(st.floats(0, 0.002), st.integers(1, 255)), min_size=1, max_size=3).map(
            tuple
        ),
    ),
    st.builds(Damage, cut=st.floats(0, 1)),
    st.builds(Damage, drop=st.sampled_from(TABLES)),
    st.builds(
        Damage,
        table=st.sampled_from(TABLES),
        column=st.integers(0, 40),
        row=st.integers(0, 20),
        value=_values,
    ),
    st.builds(
        Damage,
        table=st.sampled_from(["session", "generation", "pruned"]),
        column=st.integers(0, 40),
        row=st.integers(0, 3),
        value=_values,
    ),
)
