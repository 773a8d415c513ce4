"""The five lines of a column of `node`, the example in CONTRIBUTING.md: how little the target expected a token.

Each is put in front of the line that begins as the third element says.
"""

from __future__ import annotations

COLUMN = (
    (
        "store/records.py",
        "    surprise: Nats",
        "    match: bool",
    ),
    (
        "store/schema/steps.py",
        '    ("9999_surprise", ("ALTER TABLE node ADD COLUMN surprise REAL",)),',
        ')\n"""Migration name',
    ),
    (
        "decoding/rounds.py",
        "    surprise: FloatArray",
        "    match: BoolArray",
    ),
    (
        "decoding/host_rounds.py",
        "            surprise=-np.log(target_p),",
        "            match=tree.token ==",
    ),
    (
        "decoding/device/rounds.py",
        "            surprise=-np.log(figures.target_p[kept]),",
        "            match=grown.token ==",
    ),
)
"""File, line that is added, beginning of the line before which it stands."""
