"""Trees: a wrong mask, depth or sibling silently changes what the target is asked."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectui.decoding.errors import UsageError
from spectui.decoding.trees.shape import ROOT, DynamicShape, TokenTree, TreeShape, ancestor_mask
from spectui.decoding.trees.spec import parse_shape, parse_tree, paths_spec, static_only


@st.composite
def parents(draw: st.DrawFn, most: int = 20) -> list[int]:
    """Parents of a random tree, each before its children."""
    size = draw(st.integers(0, most))
    return [draw(st.integers(ROOT, i - 1)) for i in range(size)]


@given(parents())
def test_mask_lets_a_node_see_the_root_its_ancestors_and_itself_only(parent: list[int]) -> None:
    mask = ancestor_mask(np.asarray(parent, dtype=np.int64))
    for i in range(len(parent)):
        seen, node = {0, i + 1}, i
        while node != ROOT:
            seen.add(node + 1)
            node = parent[node]
        assert set(np.flatnonzero(mask[i + 1]).tolist()) == seen
    assert np.flatnonzero(mask[0]).tolist() == [0]


@given(parents())
def test_shapes_survive_the_way_to_rank_paths_and_back(parent: list[int]) -> None:
    shape = TreeShape.from_parents("t", parent)
    again = TreeShape.from_paths("t", shape.paths())
    assert sorted(map(tuple, shape.paths())) == sorted(map(tuple, again.paths()))
    assert all(len(path) == depth for path, depth in zip(again.paths(), again.depth, strict=True))


@given(parents(), st.integers(0, 6))
def test_trimming_keeps_exactly_the_shallow_nodes(parent: list[int], depth: int) -> None:
    shape = TreeShape.from_parents("t", parent)
    shallow = [tuple(p) for p in shape.paths() if len(p) <= depth]
    assert sorted(map(tuple, shape.trimmed(depth).paths())) == sorted(shallow)


@given(parents().filter(bool))
def test_the_name_made_of_paths_is_read_as_the_same_tree(parent: list[int]) -> None:
    """A chosen tree is recorded by this name; another tree behind it could not be run again."""
    paths = TreeShape.from_parents("t", parent).paths()
    again = parse_shape(paths_spec(paths))
    assert sorted(again.paths()) == sorted(paths)
    assert again.name == paths_spec(paths)


@pytest.mark.parametrize(
    ("spec", "nodes", "depth", "width"),
    [
        ("full:3x2", 14, 3, 2),
        ("full:1x4", 4, 1, 4),
        ("chain:5", 5, 5, 1),
        ("recycling:8", 8, 4, 3),
        ("paths:000,1", 4, 3, 2),
    ],
)
def test_named_shapes(spec: str, nodes: int, depth: int, width: int) -> None:
    shape = parse_shape(spec)
    assert (shape.size, shape.max_depth, shape.width) == (nodes, depth, width)
    assert sum(len(level) for level in shape.levels) == nodes


@pytest.mark.parametrize("spec", ["dynamic:8x4~0.3", "dynamic:2-8x4@0.1/0.5~0.3"])
def test_a_limit_of_confidence_is_part_of_the_name(spec: str) -> None:
    shape = parse_tree(spec)
    assert isinstance(shape, DynamicShape)
    assert (shape.name, shape.confidence, shape.size) == (spec, 0.3, 8)


def test_a_dynamic_tree_is_a_budget_that_static_drafters_refuse() -> None:
    shape = parse_tree("dynamic:8x4")
    assert isinstance(shape, DynamicShape)
    assert (shape.name, shape.size, shape.max_depth) == ("dynamic:8x4", 8, 4)
    assert (shape.width, shape.frontier) == (8, 4)
    with pytest.raises(UsageError, match="recycling has none"):
        static_only(shape, "recycling")
    assert static_only(parse_tree("chain:2"), "recycling").name == "chain:2"


def test_shape_files(tmp_path: Path) -> None:
    for content in ([[0], [1], [0, 0]], {"paths": [[1], [0, 0], [0]]}, {"parents": [-1, -1, 0]}):
        file = tmp_path / "tree.json"
        file.write_text(json.dumps(content))
        assert parse_shape(str(file)).paths() == [[0], [1], [0, 0]]


@pytest.mark.parametrize(
    "spec",
    [
        "",
        "full",
        "full:0x2",
        "full:3",
        "full:3x0",
        "full:40x1",
        "full:9x9",
        "chain:-1",
        "chain:x",
        "recycling:0",
        "wide:3",
        "full:3x2x1",
        "missing.json",
        "paths:",
        "paths:0,,1",
        "paths:0-1",
        "paths:" + 33 * "0",
        "paths:" + 32 * "v",
        "dynamic",
        "dynamic:8",
        "dynamic:0x4",
        "dynamic:8x0",
        "dynamic:8x33",
        "dynamic:513x4",
        "dynamic:8x4x2",
        "dynamic:ax4",
        "dynamic:8x4~",
        "dynamic:8x4~0",
        "dynamic:8x4~2",
        "dynamic:8x4~nan",
    ],
)
def test_bad_shapes_are_one_line(spec: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_tree(spec)
    assert "\n" not in str(caught.value)
    assert "tree" in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        "nonsense",
        "{}",
        "[]",
        "[[0], [0]]",
        "[[0, 0]]",
        "[[1]]",
        "[[-1]]",
        '[["a"]]',
        '{"parents": [0]}',
        "[[]]",
        "[[true]]",
    ],
)
def test_bad_shape_files_are_one_line(tmp_path: Path, content: str) -> None:
    file = tmp_path / "tree.json"
    file.write_text(content)
    with pytest.raises(UsageError) as caught:
        parse_shape(str(file))
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_equal_siblings_are_refused() -> None:
    shape = parse_shape("full:1x2")
    with pytest.raises(ValueError, match="twice"):
        TokenTree.from_shape(shape, np.asarray([7, 7])).check()
    TokenTree.from_shape(shape, np.asarray([7, 8])).check()
