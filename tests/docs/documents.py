"""The documents and their code blocks, for the tests of this folder and of the command line."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tests.docs.generated import MARK

ROOT = Path(__file__).resolve().parents[2]
GUIDES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))
"""The documents that people copy commands and code from."""
DOCUMENTS = (*GUIDES, ROOT / "CHANGELOG.md", ROOT / "tests" / "bench" / "README.md")

_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block of a document."""

    document: Path
    number: int
    language: str
    """Empty for a block of command lines."""
    text: str

    @property
    def name(self) -> str:
        """Its document and number, for the name of a test."""
        return f"{self.document.relative_to(ROOT)}-{self.number}"


def blocks(document: Path) -> list[Block]:
    """The fenced blocks of a document, in order."""
    text = document.read_text(encoding="utf-8")
    return [
        Block(document, number, fence[2], fence[3]) for number, fence in enumerate(_FENCE.finditer(text), 1)
    ]


def prose(document: Path) -> str:
    """A document without its fenced blocks and without the marks of generated parts."""
    return MARK.sub("", _FENCE.sub("", document.read_text(encoding="utf-8")))
