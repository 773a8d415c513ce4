"""Protects: which tokens of a round are shown as accepted, rejected and the target's own."""

from __future__ import annotations

from dataclasses import replace

from spectui.store.records import Cut, RoundRecord
from spectui.store.rows import RoundRow, Span, spans
from tests.store.samples import make_round


def row(record: RoundRecord) -> RoundRow:
    """As the reader hands it out, with token ids that are node numbers."""
    return RoundRow(
        id=1,
        generation_id=1,
        number=record.number,
        prefix_length=record.prefix_length,
        accepted_length=record.accepted_length,
        bonus_token_id=record.bonus_token_id,
        cut=record.cut,
        node_count=len(record.nodes),
        draft_ms=0.0,
        verify_ms=0.0,
        other_ms=0.0,
        nodes=tuple(node._replace(token_id=node.idx) for node in record.nodes),
    )


def shown(path: list[int], *, bonus: int | None = 99, cut: Cut | None = None) -> list[Span]:
    """Spans of a round on the full tree of depth 3 and branching 2."""
    return spans(row(make_round(4, path=path, bonus=bonus, cut=cut)))


def test_nothing_accepted_shows_what_the_drafter_liked_best() -> None:
    assert shown([]) == [Span("rejected", (0, 2, 6)), Span("target", (99,))]


def test_after_the_accepted_path_comes_its_refused_continuation() -> None:
    # Node 1 is the root's second child; 4 and 10 are the first below it.
    assert shown([1]) == [Span("accepted", (1,)), Span("rejected", (4, 10)), Span("target", (99,))]
    assert shown([0, 3]) == [Span("accepted", (0, 3)), Span("rejected", (8,)), Span("target", (99,))]


def test_a_path_down_to_a_leaf_has_nothing_rejected() -> None:
    assert shown([0, 2, 7]) == [Span("accepted", (0, 2, 7)), Span("target", (99,))]


def test_a_cut_path_has_nothing_rejected_and_no_token_of_the_target() -> None:
    assert shown([1], bonus=None, cut="eos") == [Span("accepted", (1,))]


def test_no_tree_shows_the_targets_token_alone() -> None:
    assert spans(row(make_round(1, parents=[]))) == [Span("target", (7,))]


def test_the_favourite_is_the_lowest_rank_whatever_the_order_of_nodes() -> None:
    record = make_round(1, parents=[None, None], bonus=9)
    first, second = record.nodes
    swapped = replace(record, nodes=[first._replace(rank=1), second._replace(rank=0)])
    assert spans(row(swapped))[0] == Span("rejected", (1,))


def test_accepted_and_target_spans_are_what_the_round_emitted() -> None:
    for path in ([], [1], [0, 3], [0, 2, 7]):
        round_row = row(make_round(2, path=path))
        kept = [token for span in spans(round_row) if span.kind != "rejected" for token in span.token_ids]
        assert tuple(kept) == round_row.emitted
