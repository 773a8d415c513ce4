"""Protects: samples of a watched server are kept as they were, ever fewer with age, and go with their session."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from sqlite_utils import Database

from spectui.store.care.space import delete_session
from spectui.store.database import raw
from spectui.store.errors import StoreError
from spectui.store.reading.reader import Reader
from spectui.store.reading.samples import plain_stretch, samples, watched_together
from spectui.store.samples import Histogram, Sample, TaskCounts
from spectui.store.sources import WATCH, Server
from spectui.store.writing.samples import SampleWriter, create_watch

SERVER = Server("vLLM", "http://gpu:8000", "smol")
SAMPLE = Sample(
    at=1000.0, engine="vllm", model="smol", mark=5.5, drafts=3.0, by_position=(2.0, 1.0), kv=0.25, depth=2,
    speculative=True, finished=(("stop", 1.0),), first_token=Histogram((0.1, float("inf")), (1.0, 2.0), 0.3),
    tasks=(TaskCounts("code", 5.0, 2.0),),
)  # fmt: skip


def test_a_sample_reads_back_as_it_was_written(db: Database) -> None:
    session = create_watch(db, SERVER, "g")
    writer = SampleWriter(db, session)
    bare = Sample(at=1001.0, engine="llama.cpp")
    writer.add([(1, SAMPLE), (2, bare)], [(1000.5, "restart", "it did\x00")])
    reader = Reader(db)
    assert samples(reader, session) == [(1, SAMPLE), (2, bare)]
    assert samples(reader, session, after=1000.0) == [(2, bare)]
    (event,) = reader.events(session)
    assert (event.at, event.kind) == ("1970-01-01T00:16:40.500+00:00", "restart")
    summary = reader.session(session)
    assert (summary.source, summary.server, summary.prompt_count) == (WATCH, SERVER, 0)


def test_servers_that_are_watched_together_are_known_from_any_of_them(db: Database) -> None:
    first, second, other = (create_watch(db, SERVER, group) for group in ("g", "g", "h"))
    reader = Reader(db)
    assert watched_together(reader, second) == [first, second]
    assert watched_together(reader, other) == [other]


def test_old_samples_thin_out_and_the_oldest_go(db: Database) -> None:
    """Counters are cumulative: the last sample of each step says as much of the steps' differences."""
    session = create_watch(db, SERVER, "g")
    writer = SampleWriter(db, session, keep_days=0.1)
    for begin in range(0, 12_000, 300):
        writer.add([(1, replace(SAMPLE, at=float(at))) for at in range(begin, begin + 300)], [])
    times = [sample.at for _, sample in samples(Reader(db), session)]
    assert times[0] >= 12_000 - 0.1 * 86_400 - 120
    steps = [second - first for first, second in pairwise(times)]
    assert set(steps[-500:]) == {1.0}
    assert steps.count(10.0) > 500
    assert max(steps) <= 60
    assert len(times) < 1500


def test_samples_that_could_not_be_written_for_long_are_thinned_when_they_are(db: Database) -> None:
    session = create_watch(db, SERVER, "g")
    writer = SampleWriter(db, session)
    late = [(1, replace(SAMPLE, at=float(at))) for at in range(1, 4000)]
    writer.add(late[:100], [])
    db.execute("PRAGMA query_only = ON")
    with pytest.raises(StoreError):
        writer.add(late[100:], [])
    db.execute("PRAGMA query_only = OFF")
    writer.add(late[100:], [])
    times = [sample.at for _, sample in samples(Reader(db), session)]
    assert len([at for at in times if at < 3000]) < 400


def test_thinning_costs_no_more_the_longer_a_watch_lasts(db: Database) -> None:
    """It runs under the writer's lock, once a minute."""
    costs = list[int]()
    for hours in (3, 200):
        session, ticks = create_watch(db, SERVER, "g"), list[int]()
        writer, latest = SampleWriter(db, session), hours * 3600.0
        with raw(db) as connection:  # as a watch of so many hours has thinned them
            kept = [*range(59, int(latest) - 7260, 60), *range(int(latest) - 7251, int(latest) - 660, 10)]
            kept += range(int(latest) - 660, int(latest))
            connection.executemany(
                "INSERT INTO sample (session_id, segment, at, engine, model, more) VALUES (?, ?, ?, 'vllm', '', '{}')",
                [(session, 1 + (at >= latest - 3000), float(at)) for at in kept],
            )
        writer._thinned_at = latest - 61
        connection.set_progress_handler(lambda ticks=ticks: ticks.append(1), 100)  # type: ignore[misc]
        writer.add([(2, replace(SAMPLE, at=latest))], [])
        connection.set_progress_handler(None, 0)
        costs.append(len(ticks))
    assert costs[1] < 1.5 * costs[0]


def test_samples_go_with_their_session(db: Database) -> None:
    session = create_watch(db, SERVER, "g")
    writer = SampleWriter(db, session)
    writer.claim()
    writer.add([(1, SAMPLE)], [])
    writer.set_status("finished")
    delete_session(db, session)
    assert db.execute("SELECT count(*) FROM sample").fetchone() == (0,)


def test_the_latest_plain_decoding_of_an_address_is_read_and_no_more(db: Database) -> None:
    """A watch records for a month; a later one starts with the last hours of it that were plain."""
    plain = replace(SAMPLE, speculative=False)
    older, newer, elsewhere = (
        create_watch(db, replace(SERVER, url=url), "g") for url in (SERVER.url, SERVER.url, "http://gpu:9")
    )
    SampleWriter(db, older).add([(1, plain)], [])
    begin = 500_000.0
    rows = [(2, replace(plain, at=begin + 60.0 * minute)) for minute in range(600)]
    rows += [(3, replace(SAMPLE, at=begin + 60.0 * minute)) for minute in range(600, 900)]
    SampleWriter(db, newer).add([(1, replace(plain, at=begin - 1)), *rows], [])
    SampleWriter(db, elsewhere).add([(1, SAMPLE)], [])
    reader = Reader(db)
    stretch = plain_stretch(reader, SERVER.url, 7200.0, 10_000)
    assert stretch is not None
    assert stretch[0] == newer
    assert [one.at - begin for one in stretch[1]] == [60.0 * minute for minute in range(479, 600)]
    shorter = plain_stretch(reader, SERVER.url, 7200.0, 5)
    assert shorter is not None
    assert shorter[1] == stretch[1][-5:]
    whole = plain_stretch(reader, SERVER.url, 1e6, 10_000)
    assert whole is not None
    assert len(whole[1]) == 600  # nothing of another start, whose counters are others
    assert plain_stretch(reader, "http://gpu:9", 7200.0, 5) is None
