"""The field of `RunConfig` that is the example of a run option in CONTRIBUTING.md."""

from __future__ import annotations

FILE = "decoding/config.py"
BEFORE = "    seed: int = option("
"""The line that it is put in front of."""
OPTION = """
    patience: int = option(
        3,
        "--patience",
        "End a prompt after N rounds without an accepted token (default: {default}).",
        metavar="N",
        rule=Rule("it must be at least 1", lambda value: value >= 1),
        form=Form("patience", "rounds without acceptance", begin="3"),
    )
"""
