"""Decodes on the host and in buffers of fixed size, records, reads and exports the column of `recipes.column`.

Run in a process of its own whose `spectui` has the column, with a folder as its only argument.
"""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path

from spectui.decoding.config import RunConfig
from spectui.decoding.engine import SpeculativeDecoder
from spectui.decoding.worker.recorder import to_record
from spectui.store import Reader, open_database
from spectui.store.export.export import export_session
from tests.models import tiny_llama, tiny_tokenizer
from tests.store.samples import claimed_writer


def main(folder: Path) -> None:
    """Exit with 0 when every node has the figure."""
    tiny_llama(folder / "target", tokenizer=tiny_tokenizer())
    database = open_database(folder / "spectui.db")
    writer = claimed_writer(database, ["code", "math"])
    config = RunConfig(
        target=str(folder / "target"), draft="recycling", tree="recycling:4", max_new_tokens=12
    )
    for path, generation in zip(("0", "1"), writer.pending_generations(), strict=True):
        os.environ["SPECTUI_STATIC"] = path
        writer.start_generation(generation.id)
        for round_ in SpeculativeDecoder(config).generate("one two one two one"):
            writer.record_round(generation.id, to_record(round_))
    with Reader(folder / "spectui.db") as reader:
        for prompt in reader.generations(1):
            nodes = [node for round_ in reader.rounds(prompt.id) for node in round_.nodes]
            assert len(nodes) > 4
            for node in nodes:
                assert math.isclose(node.surprise, -math.log(node.target_p or 0.0), rel_tol=1e-5)  # type: ignore[attr-defined]
        export_session(reader, 1, "csv", folder / "out")
    assert "surprise" in (folder / "out" / "node.csv").read_text().splitlines()[0]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
