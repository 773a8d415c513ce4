"""Protects: a session holds exactly what the server recorded, in whatever order and portions its files are read."""

from __future__ import annotations

import json
import random
import socket
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spectui.decoding.errors import UsageError
from spectui.servers.recordings import importer as importer_module
from spectui.servers.recordings import recording as recording_module
from spectui.servers.recordings.files import Folder
from spectui.servers.recordings.importer import Importer
from spectui.servers.recordings.names import names_of
from spectui.servers.recordings.recording import Recording
from spectui.servers.recordings.rows import Request, read_line
from spectui.store.care.check import check
from spectui.store.database import connect
from spectui.store.errors import StoreError
from spectui.store.reading.reader import Reader
from spectui.store.writing.requests import RequestWriter
from tests.servers.recordings.recorder import (
    ANSWERS,
    ENGINE,
    WORKER,
    Rows,
    contents,
    import_all,
    rows,
    without_ids,
    write,
)
from tests.waiting import until


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with all of it."""
    path = tmp_path_factory.mktemp("whole")
    import_all(write(path / "recorded"), path / "runs.db")
    return path / "runs.db"


def sound(database: Path) -> bool:
    db = connect(database)
    problems = check(db)
    db.close()
    assert problems == []
    return True


def test_a_session_equals_the_answers(whole: Path) -> None:
    with Reader(whole) as reader:
        session = reader.session("last")
        prompts = {row.prompt_id: row for row in reader.generations(session.id)}
        assert prompts.keys() == {answer["id"] for answer in ANSWERS}
        for answer in ANSWERS:
            row, response = prompts[answer["id"]], answer["resp"]
            rounds = reader.rounds(row.id)
            choice = response["choices"][0]
            counted = response["metrics"]["speculative_decoding"]
            assert row.task == answer["task"]
            assert row.prompt_tokens == response["usage"]["prompt_tokens"]
            assert row.finish_reason == {"stop": "eos", "length": "length"}[choice["finish_reason"]]
            emitted = [token for each in rounds for token in each.emitted]
            assert [row.first_token_id, *emitted] == choice["token_ids"]
            assert [len(each.nodes) for each in rounds] == counted["per_step_drafted"]
            # vLLM counts what was accepted beyond the end, too.
            ends = [each.cut is not None for each in rounds]
            assert not any(ends[:-1])
            accepted = [each.accepted_length for each in rounds]
            assert (
                accepted[: len(rounds) - ends[-1]] == counted["per_step_accepted"][: len(rounds) - ends[-1]]
            )
        assert (session.rounds, session.nodes) == (189, 567)
        assert (session.greedy_rounds, session.explained_rounds) == (189, 189)
        assert session.unexplained_round_id is None
        assert (session.status, session.source, session.tree) == ("finished", "vLLM recorder", "chain:3")
        assert session.server is not None
        assert (session.server.kind, session.server.version, session.drafter) == ("vLLM", "0.32.0", "eagle3")
    assert sound(whole)


def test_every_figure_of_a_worker_is_a_node(whole: Path) -> None:
    recorded = {
        (verdict[0], verdict[1], place): (
            verdict[2][place], verdict[8][place], verdict[4][place], verdict[9][place], verdict[7][place],
            verdict[2][place] == verdict[5][place],
        )
        for line in WORKER[1:] for verdict in json.loads(line)[1] for place in range(len(verdict[2]))
    }  # fmt: skip
    db = connect(whole)
    nodes = db.execute(
        "SELECT request.name, prefix_length, idx, token_id, draft_p, target_p, draft_entropy, target_entropy,"
        ' "match" FROM node JOIN round ON round.id = round_id JOIN request USING (generation_id)'
    ).fetchall()
    db.close()
    assert {node[:3]: node[3:] for node in nodes} == recorded


class Growing:
    """A server that still writes: its files grow line by line, and are read in between."""

    def __init__(self, folder: Path, database: Path) -> None:
        self._files = {name: folder / f"1-{name}.jsonl" for name in ("engine", "worker")}
        self._folder, self._database = folder, database
        folder.mkdir()

    def append(self, name: str, data: bytes) -> None:
        with self._files[name].open("ab") as file:
            file.write(data)

    def read(self, *, gone: bool = False) -> None:
        """Record what is there, as a process of its own would."""
        db = connect(self._database)
        folder = Folder(self._folder)
        for key in folder.look():
            recording = Recording(db, folder.starts[key], None)
            recording.claim()
            while recording.read():
                pass
            if gone:
                recording.end()
            recording.leave()
        db.close()


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_files_and_where_they_are_cut_change_nothing(
    tmp_path: Path, whole: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording_module, "PLACE_S", 0.0)  # so that it goes on from the middle
    monkeypatch.setattr(Recording, "_alive", lambda _: True)
    draw = random.Random(seed)
    growing = Growing(tmp_path / "recorded", tmp_path / "runs.db")
    left = {"engine": b"".join(ENGINE), "worker": b"".join(WORKER)}
    while any(left.values()):
        name = draw.choice([name for name in left if left[name]])
        size = draw.randrange(1, 12_000)
        growing.append(name, left[name][:size])
        left[name] = left[name][size:]
        growing.read()
    growing.read(gone=True)
    assert without_ids(contents(tmp_path / "runs.db")) == without_ids(contents(whole))
    assert sound(tmp_path / "runs.db")


def test_what_was_read_is_not_read_again(tmp_path: Path) -> None:
    folder = write(tmp_path / "recorded")
    first = import_all(folder, tmp_path / "runs.db")
    before = contents(tmp_path / "runs.db")
    assert import_all(folder, tmp_path / "runs.db") == first
    assert contents(tmp_path / "runs.db") == before


def test_a_server_that_goes_on_is_taken_up_again(tmp_path: Path, whole: Path) -> None:
    folder = write(tmp_path / "recorded", ENGINE[:110], WORKER[:90])
    import_all(folder, tmp_path / "runs.db")
    with Reader(tmp_path / "runs.db") as reader:
        assert reader.session(1).prompts_failed == 1  # the one that was killed in the middle
    write(folder, ENGINE, WORKER)
    assert import_all(folder, tmp_path / "runs.db") == [1]
    with Reader(tmp_path / "runs.db") as reader:
        assert reader.session(1).prompt_count == 8
    assert sound(tmp_path / "runs.db")


def test_starts_of_servers_and_parts_of_files_are_told_apart(tmp_path: Path) -> None:
    """Two servers in one folder, the second with its files begun anew in the middle, named in the wrong order."""

    def of(run: str, part: int = 0) -> Any:
        def change(all_rows: Rows) -> Rows:
            about = {**json.loads(ENGINE[0])[1], **all_rows[0][1]} if all_rows[0][0] == "meta" else {}
            about |= {"run": run, "host": "elsewhere", "part": part, "role": all_rows[0][1]["role"]}
            return [["meta", about], *all_rows[1:]]

        return change

    folder = tmp_path / "recorded"
    folder.mkdir()
    files = {
        "3-1-engine": rows(ENGINE, of("one")),
        "3-2-worker": rows(WORKER, of("one")),
        "2-1-engine": rows(ENGINE[:90], of("two")),
        "1-1-engine": rows([ENGINE[0], *ENGINE[90:]], of("two", 1)),
        "9-2-worker": rows(WORKER[:50], of("two")),
        "8-2-worker": rows([WORKER[0], *WORKER[50:]], of("two", 1)),
    }
    for name, lines in files.items():
        (folder / f"{name}.jsonl").write_bytes(b"".join(lines))
    assert len(import_all(folder, tmp_path / "runs.db")) == 2
    with Reader(tmp_path / "runs.db") as reader:
        for session in reader.sessions():
            assert (session.prompt_count, session.rounds, session.greedy_rounds) == (8, 189, 189)


def test_a_round_that_the_argmax_does_not_explain_is_told(tmp_path: Path) -> None:
    def change(all_rows: Rows) -> Rows:
        for row in all_rows[60:70:5]:
            verdict = row[1][0]
            verdict[5] = [token + 1 for token in verdict[2]]  # no draft is the argmax
            verdict[3] = verdict[2][:1] + verdict[3][-1:]  # and the first was accepted
        return all_rows

    wrong = [json.loads(WORKER[number])[1][0] for number in (60, 65)]

    def commits(all_rows: Rows) -> Rows:
        for row in all_rows:
            for commit in row[2] if row[0] == "step" else []:
                for verdict in wrong:
                    if commit[:2] == verdict[:2]:
                        commit[4], commit[6] = verdict[2][:1] + verdict[3][-1:], 2
        return all_rows

    write(tmp_path / "recorded", rows(ENGINE, commits), rows(WORKER, change))
    import_all(tmp_path / "recorded", tmp_path / "runs.db")
    with Reader(tmp_path / "runs.db") as reader:
        session = reader.session(1)
        assert session.greedy_rounds - session.explained_rounds == 2
        first = reader.fetch(
            "SELECT name, prefix_length FROM round JOIN request USING (generation_id) WHERE round.id = ?",
            session.unexplained_round_id or 0,
        )
        assert first == [tuple(wrong[0][:2])]


@pytest.mark.parametrize(
    ("off", "nulls", "known"),
    [
        ({"target": [4, 5, 6, 7]}, 'target_p, "match", target_entropy', "draft_p, draft_entropy"),
        ({"entropy": [7, 9]}, "target_entropy, draft_entropy", 'target_p, "match", draft_p'),
        ({"draft": [8, 9]}, "draft_p, draft_entropy", 'target_p, "match", target_entropy'),
    ],
)
def test_what_the_server_leaves_out_is_null(
    tmp_path: Path, off: dict[str, list[int]], nulls: str, known: str
) -> None:
    (switch, places), *_ = off.items()

    def change(all_rows: Rows) -> Rows:
        all_rows[0][1]["switches"] = {switch: False}
        for row in all_rows[1:]:
            for verdict in row[1]:
                for place in places:
                    verdict[place] = None
        return all_rows

    write(tmp_path / "recorded", ENGINE, rows(WORKER, change))
    import_all(tmp_path / "recorded", tmp_path / "runs.db")
    with Reader(tmp_path / "runs.db") as reader:
        for columns, count in ((nulls, 0), (known, 567)):
            counts = ", ".join(f"count({name.strip()})" for name in columns.split(","))
            assert set(reader.fetch(f"SELECT {counts} FROM node")[0]) == {count}
        assert any(event.kind == "switches" for event in reader.events(1))
        assert reader.session(1).greedy_rounds == (0 if switch == "target" else 189)
    assert sound(tmp_path / "runs.db")


@pytest.mark.parametrize("at_the_server", [True, False])
def test_tokens_are_left_out_where_that_is_asked_for(tmp_path: Path, at_the_server: bool) -> None:
    """Matches and the health figure need no ids: equal ones are told by equal numbers."""

    def change(all_rows: Rows) -> Rows:
        for row in all_rows[1:]:
            for verdict in row[1]:
                drafts, sampled, argmax = verdict[2], verdict[3], verdict[5]
                verdict[2] = [-1] * len(drafts)
                verdict[5] = [-1 if a == d else -2 for a, d in zip(argmax, drafts, strict=True)]
                pairs = zip(sampled, [*drafts, None], [*argmax, None], strict=False)
                verdict[3] = [-1 if s == d else -2 if s == a else -3 for s, d, a in pairs]
        return all_rows

    def commits(all_rows: Rows) -> Rows:
        for row in all_rows:
            for commit in row[2] if row[0] == "step" else []:
                commit[3], commit[4] = None, [-1] * len(commit[4])
        return all_rows

    if at_the_server:
        write(tmp_path / "recorded", rows(ENGINE, commits), rows(WORKER, change))
    else:
        write(tmp_path / "recorded")
    import_all(tmp_path / "recorded", tmp_path / "runs.db", text=at_the_server)
    with Reader(tmp_path / "runs.db") as reader:
        ids = "SELECT token_id FROM node UNION SELECT bonus_token_id FROM round"
        ids += " UNION SELECT first_token_id FROM generation"
        assert {token for (token,) in reader.fetch(ids)} <= {-1, None}
        session = reader.session(1)
        assert session.match_rate == pytest.approx(293 / 567)
        assert (session.greedy_rounds, session.explained_rounds) == (189, 189)
    assert sound(tmp_path / "runs.db")


def test_rounds_without_a_verdict_have_no_figures(tmp_path: Path) -> None:
    lost = {tuple(json.loads(line)[1][0][:2]) for line in WORKER[20:30]}
    write(tmp_path / "recorded", ENGINE, [*WORKER[:20], *WORKER[30:]])
    import_all(tmp_path / "recorded", tmp_path / "runs.db")
    with Reader(tmp_path / "runs.db") as reader:
        without = reader.fetch(
            "SELECT name, prefix_length FROM round JOIN request USING (generation_id)"
            " WHERE EXISTS (SELECT 1 FROM node WHERE round_id = round.id AND target_p IS NULL)"
        )
        assert set(without) == lost
        assert reader.session(1).nodes == 567
        assert any("10 rounds have no figures" in event.text for event in reader.events(1))
    assert sound(tmp_path / "runs.db")


def test_a_fault_of_the_database_loses_nothing(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importer_module, "AGAIN_S", 0.0)
    folder = write(tmp_path / "recorded")
    faults = iter([20, 60, 61, 150])
    rounds, fault_at = 0, next(faults)
    add_round = RequestWriter.add_round

    def faulty(self: RequestWriter, *args: Any) -> None:
        nonlocal rounds, fault_at
        rounds += 1
        if rounds == fault_at:
            fault_at = next(faults, 0)
            raise StoreError("the disk is full")
        add_round(self, *args)

    monkeypatch.setattr(RequestWriter, "add_round", faulty)
    with Importer(folder, tmp_path / "runs.db"):
        until(lambda: (tmp_path / "runs.db").exists() and _ended(tmp_path / "runs.db"))
    assert not fault_at
    assert without_ids(contents(tmp_path / "runs.db")) == without_ids(contents(whole))
    assert sound(tmp_path / "runs.db")


def _ended(database: Path) -> bool:
    with Reader(database) as reader:
        return [session.status for session in reader.sessions()] == ["finished"]


def test_a_server_in_a_container_is_not_gone_for_want_of_its_process(tmp_path: Path) -> None:
    """With the host's name, as containers on the host's network have it, and process numbers of its own."""

    def change(all_rows: Rows) -> Rows:
        meta, *rest = all_rows
        about = {"run": "abc", "host": socket.gethostname(), "pids": "pid:[1]", "pid": 2**22}
        return [["meta", meta[1] | about], *rest]

    folder = write(tmp_path / "recorded", rows(ENGINE[:110], change), rows(WORKER[:90], change))
    import_all(folder, tmp_path / "runs.db")
    with Reader(tmp_path / "runs.db") as reader:
        summary = reader.session(1)
        assert (summary.status, summary.prompts_failed) == ("stopped", 0)


def test_one_process_records_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Recording, "_alive", lambda _: True)
    folder = write(tmp_path / "recorded")
    db = connect(tmp_path / "runs.db")
    starts = Folder(folder)
    (key,) = starts.look()
    first = Recording(db, starts.starts[key], None)
    first.claim()
    db.execute("UPDATE session SET pid = 1, host = 'elsewhere', worker_place = ''")
    spoken: list[str] = []
    assert import_all(folder, tmp_path / "runs.db", tell=spoken.append) == [first.session]
    assert any("process 1 on elsewhere is at work on it" in words for words in spoken)
    assert contents(tmp_path / "runs.db") == []
    db.close()


def test_a_server_that_has_nothing_new_to_tell_needs_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is looked at ten times a second, beside runs that write their rounds into the same database."""
    monkeypatch.setattr(Recording, "_alive", lambda _: True)
    for name in ("BEAT_S", "PLACE_S"):
        monkeypatch.setattr(recording_module, name, 1e9)
    starts = Folder(write(tmp_path / "recorded"))
    (key,) = starts.look()
    with closing(connect(tmp_path / "runs.db", timeout=0)) as db:
        recording = Recording(db, starts.starts[key], None)
        recording.claim()
        while recording.read():
            pass
        with closing(sqlite3.connect(tmp_path / "runs.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert recording.read() is False


def test_losses_inside_the_server_are_events(tmp_path: Path) -> None:
    stat = json.dumps(["stat", {"t": 1.0, "rows": 9, "dropped": 12, "errors": 3, "error": "KeyError: 'x'"}])
    write(tmp_path / "recorded", [*ENGINE, stat.encode() + b"\n"], WORKER)
    import_all(tmp_path / "recorded", tmp_path / "runs.db")
    with Reader(tmp_path / "runs.db") as reader:
        words = [event.text for event in reader.events(1)]
    assert any(text.startswith("12 rows were lost in the server") for text in words)
    assert any(
        text.startswith("3 faults inside the server's recorder") and "KeyError" in text for text in words
    )


def test_other_files_are_left_out_and_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "recorded")
    (folder / "a.jsonl").write_text('{"not": "ours"}\n')
    (folder / "b.jsonl").write_text('["meta", {"format": 2, "role": "engine", "t": 1.0}]\n')
    (folder / "c.jsonl").write_bytes(b"x" * 9_000_000)
    (folder / "d.jsonl").symlink_to(folder / "1-1-engine.jsonl")
    (folder / "empty.jsonl").touch()
    spoken: list[str] = []
    import_all(folder, tmp_path / "runs.db", tell=spoken.append)
    left_out = sorted(words for words in spoken if words.startswith("left out"))
    assert [words.split()[2][0] for words in left_out] == ["a", "b", "c", "d"]
    assert "newer than this spectui" in left_out[1]
    with Reader(tmp_path / "runs.db") as reader:
        assert reader.session(1).rounds == 189
    with pytest.raises(UsageError, match="SPECTUI_VLLM_DIR"):
        import_all(tmp_path / "nowhere", tmp_path / "runs.db")


TREE = ([11, 12, 13, 14, 15], [-1, -1, 0, 0, 3])
"""Drafts and their parents: 11 and 12 below the root, 13 and 14 below 11, 15 below 14."""


@pytest.mark.parametrize(
    ("sampled", "argmax", "path", "explained"),
    [
        ([11, 14, 99], [11, 11, 14, 14, 99], [0, 3], 1),  # ended where no draft is the argmax
        ([11, 14, 15, 98], [11, 11, 14, 14, 15], [0, 3, 4], 1),
        ([11, 97], [11, 11, 14, 14, 99], [0], 0),  # though 14 was drafted
        ([12, 98], [11, 11, 14, 14, 99], [1], 0),  # which is not the argmax
    ],
)
def test_a_tree_is_recorded_as_one(
    tmp_path: Path, sampled: list[int], argmax: list[int], path: list[int], explained: int
) -> None:
    drafts, parents = TREE
    some = [0.5] * 5
    lines: Rows = [
        [
            "meta",
            {
                "format": 1,
                "role": "engine",
                "run": "r",
                "host": "elsewhere",
                "t": 1.0,
                "server": "sglang",
                "k": 3,
            },
        ],
        ["req", {"id": "one", "t": 1.0, "prompt": 7, "temperature": 0}],
        ["step", 2.0, [["one", 7, 0, None, [10], 0, 1]]],
        ["verify", [["one", 8, drafts, sampled, some, argmax, some, some, some, some, parents]]],
        ["step", 3.0, [["one", 8, 5, drafts, sampled, 0, len(sampled)]]],
        ["end", {"id": "one", "t": 3.0, "status": "FINISHED_STOPPED", "out": 1 + len(sampled)}],
    ]
    folder = tmp_path / "recorded"
    folder.mkdir()
    (folder / "1-1-engine.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    import_all(folder, tmp_path / "runs.db")
    with Reader(tmp_path / "runs.db") as reader:
        session = reader.session(1)
        assert (session.server and session.server.kind, session.greedy_rounds) == ("SGLang", 1)
        assert session.explained_rounds == explained
        (row,) = reader.rounds(1)
        assert [node.idx for node in row.accepted_path] == path
        assert list(row.emitted) == sampled
        assert [node.depth for node in row.nodes] == [1, 1, 2, 2, 3]
    assert sound(tmp_path / "runs.db")


@pytest.mark.parametrize(
    ("name", "task", "expected"),
    [
        ("chatcmpl-R-0123abcd", "code", ("R", "code")),
        ("chatcmpl-code/12-0123abcd", "", ("code/12", "code")),
        ("0_chatcmpl-R-0123abcd", "", ("R#0", "untagged")),
        ("cmpl-R-3-0123abcd", "", ("R-3", "untagged")),
        ("whatever", "chat", ("whatever", "chat")),
        ("chatcmpl-\x1b[2Jx\n-0123abcd", "", ("[2Jx", "untagged")),
    ],
)
def test_prompts_are_named_as_clients_name_them(name: str, task: str, expected: tuple[str, str]) -> None:
    line = json.dumps(["req", {"id": name, "t": 1.0, "prompt": 3, "task": task or None}]).encode()
    (request,) = read_line(line)
    assert isinstance(request, Request)
    prompt_id, of_task = names_of(request)
    assert (prompt_id.replace(" ", ""), of_task) == expected


def _few(lines: list[bytes], name: bytes) -> list[bytes]:
    return [line for line in lines if name in line or b'"meta"' in line]


FEW = {"engine": _few(ENGINE, b"-002-"), "worker": _few(WORKER, b"-002-")}
RUBBISH = (b"", b"[]", b"null", b'["step", 1, [[]]]', b'["verify", 3]', b'["req", {}]', b"\xff\x00", b'["new", 1]',
           b'["step", 1e999, []]', b"[" * 3000, b'["end", {"id": "", "t": 0, "status": "x", "out": 0}]')  # fmt: skip


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_damaged_files_leave_a_sound_session(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("damaged")
    damaged = {}
    for role, lines in FEW.items():
        kept = list(lines)
        for _ in range(data.draw(st.integers(0, 6))):
            place = data.draw(st.integers(1, len(kept) - 1))
            kind = data.draw(st.sampled_from(("drop", "twice", "swap", "cut", "byte", "rubbish", "number")))
            line = kept[place]
            at = data.draw(st.integers(0, max(len(line) - 2, 0)))
            if kind == "drop" and len(kept) > 2:
                del kept[place]
            elif kind == "twice":
                kept.insert(place, line)
            elif kind == "swap":
                kept[place], kept[-1] = kept[-1], line
            elif kind == "cut":
                kept[place] = line[:at] + b"\n"
            elif kind == "byte":
                kept[place] = line[:at] + bytes([data.draw(st.integers(0, 255))]) + line[at + 1 :]
            elif kind == "rubbish":
                kept.insert(place, data.draw(st.sampled_from(RUBBISH)) + b"\n")
            else:
                digits = [i for i, letter in enumerate(line) if letter in b"0123456789"]
                where = digits[at % len(digits)] if digits else 0
                number = data.draw(
                    st.sampled_from((b"-1", b"99999999999", b"1e400", b"null", b'"x"', b"NaN", b"0"))
                )
                kept[place] = line[:where] + number + line[where + 1 :]
        damaged[role] = kept
    write(path / "recorded", damaged["engine"], damaged["worker"])
    import_all(path / "recorded", path / "runs.db")
    assert sound(path / "runs.db")
