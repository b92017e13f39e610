"""The documentation's pages: their fences, links and generated parts.

`python -m tests.doc_pages` writes the generated parts anew; `tests/test_docs.py` fails when they have drifted.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.doc_examples import examples
from tests.doc_failures import failures
from tests.doc_tables import tables

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"

GENERATED = tuple(
    DOCS / f"{name}.md"
    for name in ("architecture", "resolution", "parameters", "rules", "ollama", "vllm", "settings", "http")
)
"""Pages whose generated parts are made here."""

_BLOCK = re.compile(r"(<!-- generated: ([^\n]+?) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
_FENCE = re.compile(r"^( *)(`{3,})(\w*)\n(.*?)^\1\2$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")


@dataclass(frozen=True)
class Fence:
    """A fenced part of a page."""

    language: str
    text: str
    line: int


def pages() -> list[Path]:
    """Everything that people read."""
    return [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(text: str) -> dict[str, str]:
    """The generated parts of a page, by name."""
    return {name: inner.strip() for _, name, inner, _ in _BLOCK.findall(text)}


def rewritten(text: str, parts: Mapping[str, str]) -> str:
    """The page with its generated parts as they should be."""
    return _BLOCK.sub(lambda m: f"{m[1]}\n{parts.get(m[2], m[3].strip())}\n\n{m[4]}", text)


def fences(text: str) -> Iterator[Fence]:
    """The fenced parts, with the line on which each begins; those in a list lose their indent."""
    for match in _FENCE.finditer(text):
        inner = re.sub(f"^{match[1]}", "", match[4], flags=re.MULTILINE)
        yield Fence(match[3], inner, text.count("\n", 0, match.start()) + 1)


def prose(text: str) -> str:
    """The page without its fenced parts."""
    return _FENCE.sub("", text)


def links(text: str) -> list[str]:
    return _LINK.findall(prose(text))


def spans(text: str) -> list[str]:
    """What stands in back quotes."""
    return _SPAN.findall(prose(text))


async def generated() -> dict[str, str]:
    """All generated parts, by name."""
    return tables() | await examples() | {"failures": await failures()}


def main() -> None:
    parts = asyncio.run(generated())
    for page in GENERATED:
        old = page.read_text()
        new = rewritten(old, parts)
        if new != old:
            page.write_text(new)
            print(f"written: {name_of(page)}")


if __name__ == "__main__":
    main()
