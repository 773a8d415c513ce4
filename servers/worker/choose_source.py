"""Choice of the best source of rounds that a server has, by one short question."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from spectui.decoding.errors import UsageError
from spectui.servers.answers.base import CHAT, Pieces, Question, Reading
from spectui.servers.answers.counters import read_counts
from spectui.servers.answers.llama import LlamaReading
from spectui.servers.answers.recorded import RecordedReading, folder_words, sees_requests, spelling_of
from spectui.servers.answers.sglang import HistogramReading, spec_details
from spectui.servers.answers.token_texts import TokenTexts
from spectui.servers.answers.vllm import (
    ChunksReading,
    CountersReading,
    Counts,
    DetailedReading,
    details_of,
)
from spectui.servers.client import Client
from spectui.servers.errors import ServerError
from spectui.servers.kinds import LLAMA, SGLANG, VLLM, Recognised
from spectui.servers.recordings.following import Following
from spectui.servers.recordings.local import recorder_folder
from spectui.servers.recordings.rows import printable
from spectui.servers.worker.flights import Learn
from spectui.store.sources import RECORDER

PROBE = "Repeat this line five times: one two three one two three"
"""A question whose answer any drafter drafts a part of."""
PROBE_TOKENS = 24


@dataclass(frozen=True)
class Chosen:
    """A source of rounds, with the way to read answers from it."""

    name: str
    """A name of `store.sources.SOURCES`."""
    read: Callable[[Question], Reading]
    drafted: int = 0
    """Draft tokens of a round, as far as the server says; else 0."""
    learn: Learn | None = None
    """Learns about the tokens of an answer, before it is read to its end."""
    notes: tuple[str, ...] = ()
    """Sentences for the log of the run, such as how to get a better source."""
    method: str = ""
    """The way in which the server drafts, where the source tells; else ""."""


def choose_source(
    client: Client,
    server: Recognised,
    model: str,
    pieces: Pieces,
    concurrency: int,
    folder: str = "",
) -> Chosen:
    """The best source of a server's rounds. Raises `ServerError` where it has none.

    `folder` is where vLLM's recorder writes; "" where it is to be found, as that of a server on this machine can be.
    """
    if server.kind == LLAMA:
        return Chosen("llama.cpp stream", lambda asked: LlamaReading(asked, pieces))
    question = Question(model, ({"role": "user", "content": PROBE},), PROBE_TOKENS, 0.0, 1.0, 0)
    body = question.body() | {"stream": False}
    del body["stream_options"]
    if server.kind == SGLANG:
        if spec_details(_object(client.post(CHAT, body | {"return_spec_tokens_details": True}))) is None:
            raise ServerError(
                f"SGLang at {client.address} tells nothing of a request's speculation: it needs 0.5.19 or newer, and a"
                " --speculative-algorithm"
            )
        return Chosen("SGLang histogram", lambda asked: HistogramReading(asked, pieces))
    texts = TokenTexts(model)
    notes: tuple[str, ...] = ()
    recorded = Path(folder) if folder else recorder_folder(client.address) if server.kind == VLLM else None
    if recorded is not None:
        chosen = _recorded(client, body, pieces, texts, recorded)
        if isinstance(chosen, Chosen):
            return chosen
        if folder:
            raise ServerError(chosen)
        notes = (chosen,)
    details = details_of(_object(client.post(CHAT, body)))
    if details is not None and isinstance(details.get("per_step_accepted"), list):
        drafted = details.get("num_spec_tokens")
        return Chosen(
            "vLLM detailed",
            lambda asked: DetailedReading(asked, pieces, texts),
            drafted if isinstance(drafted, int) else 0,
            texts.learn,
            notes,
        )
    advice = (
        "vLLM tells the rounds of each request when started with --per-request-spec-decode-metrics detailed"
    )
    notes = (*notes, advice) if server.kind == VLLM else notes
    counts = _counts_or_none(client)
    drafted = 0 if counts is None else len(counts.by_position)
    if counts is not None and concurrency == 1:
        if not counts.drafts:
            notes = ("its counters have no drafts: this server does not speculate",)
        return Chosen(
            "counters", lambda asked: CountersReading(asked, pieces, _counter(client)), drafted, notes=notes
        )
    if counts is not None:
        notes = (
            *notes,
            "its counters tell the rounds of a request where there is one at a time: --concurrency 1",
        )
    return Chosen(
        "chunks", lambda asked: ChunksReading(asked, pieces, texts, drafted), drafted, texts.learn, notes
    )


def _recorded(
    client: Client, body: Mapping[str, object], pieces: Pieces, texts: TokenTexts, folder: Path
) -> Chosen | str:
    """Its recorder as a source, or the reason that it is none, as a question shows."""
    try:
        following = Following(folder)
    except UsageError as error:
        return str(error)
    tagged = {**body, "vllm_xargs": {"task": "spectui"}}  # for whoever watches the folder, too
    name = sees_requests(following, lambda headers: client.post(CHAT, tagged, headers))
    if not name:
        return folder_words(folder)

    def ask(ids: Sequence[int]) -> Mapping[int, bytes]:
        texts.learn(client, ids)
        return {token: text[0].encode() for token in ids if (text := texts.of([token])) is not None}

    spell = spelling_of(following, name, ask)
    facts = following.facts(name)
    drafted, method = facts.get("k"), facts.get("method")
    following.leave(name)
    return Chosen(
        RECORDER,
        lambda asked: RecordedReading(asked, pieces, following, spell),
        drafted if isinstance(drafted, int) else 0,
        method=printable(method, 60) if isinstance(method, str) else "",
    )


def _counter(client: Client) -> Callable[[], Counts]:
    def count() -> Counts:
        counts = read_counts(client)
        if counts is None:
            raise ServerError(f"{client.address}/metrics has no counters any more", passing=True)
        return counts

    return count


def _counts_or_none(client: Client) -> Counts | None:
    try:
        return read_counts(client)
    except ServerError:
        return None


def _object(answer: object) -> dict[str, object]:
    if not isinstance(answer, dict):
        raise ServerError("the answer to a chat request is no JSON object")
    return answer
