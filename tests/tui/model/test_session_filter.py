"""Protects: what finds a session in the list, whatever is typed."""

from __future__ import annotations

import dataclasses
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spectui.store.reading.reader import Reader
from spectui.store.rows import SESSION_STATUSES, SessionSummary
from spectui.tui.model.session_filter import FIELDS, entry_of, parse
from tests.tui.replay import Recording


def blank() -> SessionSummary:
    """A session with nothing in it."""
    values: dict[str, object] = {field.name: None for field in dataclasses.fields(SessionSummary)}
    texts = ("name", "target", "drafter", "tree", "device", "notes", "created_at", "status")
    return SessionSummary(**values | dict.fromkeys(texts, "") | {"tags": (), "tasks": {}})  # type: ignore[arg-type]


OTTER = dataclasses.replace(
    blank(),
    name="brave-otter",
    target="SmolLM2-135M-Instruct",
    drafter="eagle+lookup",
    tree="dynamic:8x4+chain:8",
    device="cuda:0",
    tasks={"code": 4, "rag": 2},
    tags=("study", "überholt"),
    status="finished",
    notes="the fan was off",
    started_at="2026-11-14T12:00:00+00:00",
)
HERON = dataclasses.replace(OTTER, name="quiet heron", drafter="recycling", tags=(), tasks={"math": 1})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "otter",
        "OTTER brave",
        "smollm eagle",
        "name:otter",
        "model:135m",
        "draft:eagle",
        "drafter:lookup",
        "tree:dynamic",
        "dynamic:8x4",
        "cuda:0",
        "task:rag",
        "#study",
        "tag:ÜBER",
        "status:fin",
        'note:"was off"',
        "-recycling",
        "-task:math",
        "-#slow",
        ">2026-11-01",
        ">=2026-11-14",
        "<=2026-11",
        "=2026",
        "<2027",
        ">2026-10 <2026-12-01",
        "date:>2026-11-13",
        "date:2026-11",
        "2026-11-14",
    ],
)
def test_finds(text: str) -> None:
    wanted = parse(text)
    assert wanted.problem == ""
    assert wanted.matches(entry_of(OTTER))


@pytest.mark.parametrize(
    "text",
    [
        "heron",
        "otter heron",
        "name:smol",
        "task:study",
        "#eagle",
        "-otter",
        "-task:code",
        '"otter smol"',
        ">2026-11-14",
        "<2026-11-14",
        ">2026-11",
        "=2025",
        "-=2026-11",
        "status:running",
    ],
)
def test_leaves_out(text: str) -> None:
    assert not parse(text).matches(entry_of(OTTER))


@pytest.mark.parametrize("text", [">", "<=", "=202", ">2026-1", ">2026-11-", ">yesterday", "date:<x"])
def test_half_a_date_is_left_out_and_said(text: str) -> None:
    wanted = parse(text)
    assert "such as" in wanted.problem
    assert wanted.matches(entry_of(OTTER))
    assert parse(f"{text} otter").matches(entry_of(OTTER))
    assert not parse(f"{text} heron").matches(entry_of(OTTER))


@pytest.mark.parametrize("text", ["#", "-", "name:", '"', '""', "tag:#", "-#", "--", 'note:""'])
def test_half_a_word_finds_everything(text: str) -> None:
    assert parse(text).matches(entry_of(OTTER))


def test_quotes_make_one_word_of_two() -> None:
    assert parse('name:"quiet heron"').matches(entry_of(HERON))
    assert not parse('name:"heron quiet"').matches(entry_of(HERON))
    assert parse("heron quiet").matches(entry_of(HERON))
    assert parse('"quiet her').matches(entry_of(HERON))


def test_a_session_as_the_store_hands_it_out(database: Path, finished: Recording) -> None:
    with Reader(database) as reader:
        entry = entry_of(reader.session("last"))
    assert parse("quiet smollm recycling full:3x2 code chat finished cpu =2026-03-01").matches(entry)


unhurried = settings(deadline=None)  # the machine may be busy

words = st.text(
    st.characters(exclude_characters='"', exclude_categories=["Zs", "Zl", "Zp", "Cc"]), min_size=1
)
plain = words.filter(lambda word: word[0] not in "-<>=#" and ":" not in word)
moments = st.datetimes(min_value=datetime(1990, 1, 3), max_value=datetime(2090, 1, 1))
sessions = st.builds(
    lambda name, target, tags, tasks, status, notes, at: dataclasses.replace(
        blank(),
        name=name,
        target=target,
        tags=tuple(tags),
        tasks=dict.fromkeys(tasks, 1),
        status=status,
        notes=notes,
        started_at=at.replace(tzinfo=UTC).isoformat(),
    ),
    name=plain,
    target=plain,
    tags=st.lists(plain, max_size=3),
    tasks=st.lists(plain, max_size=3),
    status=st.sampled_from(SESSION_STATUSES),
    notes=st.text(),
    at=moments,
)


@unhurried
@given(st.text(), sessions)
def test_any_text_is_a_filter(text: str, session: SessionSummary) -> None:
    assert parse(text).matches(entry_of(session)) in (True, False)


@unhurried
@given(sessions)
def test_a_session_is_found_by_what_it_has(session: SessionSummary) -> None:
    entry = entry_of(session)
    for value in (session.name, session.target, session.status, *session.tags, *session.tasks):
        assert parse(value).matches(entry)
        assert parse(f'"{value}"').matches(entry)
        assert parse(value.upper()).matches(entry) or value.upper().casefold() != value.casefold()
    assert parse(f"name:{session.name} status:{session.status}").matches(entry)
    for tag in session.tags:
        assert parse(f"#{tag}").matches(entry)


@unhurried
@given(st.lists(words, max_size=4), words, sessions)
def test_more_words_never_find_more(before: list[str], word: str, session: SessionSummary) -> None:
    entry = entry_of(session)
    assert parse(" ".join([*before, word])).matches(entry) <= parse(" ".join(before)).matches(entry)


@unhurried
@given(plain, st.sampled_from(["", *(f"{field}:" for field in FIELDS)]), sessions)
def test_a_minus_finds_the_others(word: str, field: str, session: SessionSummary) -> None:
    entry = entry_of(session)
    if parse(field + word):
        assert parse(f"-{field}{word}").matches(entry) != parse(field + word).matches(entry)


@unhurried
@given(st.dates(date(1995, 1, 1), date(2085, 1, 1)), st.sampled_from([4, 7, 10]), sessions)
def test_every_date_is_before_at_or_after(day: date, length: int, session: SessionSummary) -> None:
    entry, given_date = entry_of(session), day.isoformat()[:length]
    holds = [parse(f"{sign}{given_date}").matches(entry) for sign in "<=>"]
    assert sum(holds) == 1
    assert parse(f"<={given_date}").matches(entry) == (holds[0] or holds[1])
    assert parse(f">={given_date}").matches(entry) == (holds[1] or holds[2])


def test_an_unknown_date_is_in_no_range() -> None:
    entry = entry_of(dataclasses.replace(OTTER, started_at=None, created_at="some day"))
    assert not parse(">1990").matches(entry)
    assert not parse("<2990").matches(entry)
