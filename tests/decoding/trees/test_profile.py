"""Profiles that come with a draft: read when they make sense, refused in one line when they do not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from spectui.decoding.errors import DecodingError
from spectui.decoding.trees.profile import PROFILE_FILE, AcceptanceProfile


def test_a_draft_without_a_profile_has_none(tmp_path: Path) -> None:
    assert AcceptanceProfile.read(tmp_path) is None
    (tmp_path / PROFILE_FILE).write_text('{"colour": "blue"}')
    assert AcceptanceProfile.read(tmp_path) is None


def test_shares_and_trees_are_read_and_other_keys_left_alone(tmp_path: Path) -> None:
    data = {"rank_share": [[0.5, 0.2], [0.4]], "trees": {"dynamic:8x4": 1.9}, "covered": 0.94}
    (tmp_path / PROFILE_FILE).write_text(json.dumps(data))
    assert AcceptanceProfile.read(tmp_path) == AcceptanceProfile(
        ((0.5, 0.2), (0.4,)), {"dynamic:8x4": 1.9}, 1.0
    )


@pytest.mark.parametrize(
    "content",
    [
        "", "[]", '{"rank_share": [[0.7, 0.7]]}', '{"rank_share": [[-0.1]]}', '{"rank_share": [[]]}',
        '{"rank_share": 3}', '{"trees": {"wide:3": 2.0}}', '{"trees": []}',
        '{"rank_share": [[0.5]], "rounds": 0}',
    ],
)  # fmt: skip
def test_a_broken_profile_is_named_in_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / PROFILE_FILE).write_text(content)
    with pytest.raises(DecodingError) as caught:
        AcceptanceProfile.read(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)
