"""The sentences of the specification that oblige somebody, read out of its pages.

A page is Markdown.  What counts is each sentence with one of the words of RFC 2119 in capitals; of a list whose opening
sentence has the word ("Receivers SHOULD:"), the items belong to the sentence.  Code, diagrams and addresses of links are
left out, and emphasis is taken off, since neither says who has to do what.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

REVISIONS: Final = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28")
_EARLIER: Final = (
    "basic/transports",
    "basic/lifecycle",
    "basic/utilities/cancellation",
    "basic/utilities/progress",
    "basic/utilities/ping",
    "basic/index",
)
_SECURITY: Final = "tutorials/security/security_best_practices"
PAGES: Final[dict[str, tuple[str, ...]]] = {
    "2024-11-05": (*_EARLIER, "basic/messages", _SECURITY),
    "2025-03-26": (*_EARLIER, "basic/authorization", _SECURITY),
    "2025-06-18": (*_EARLIER, "basic/authorization", _SECURITY),
    "2025-11-25": (*_EARLIER, "basic/authorization", _SECURITY),
    "2026-07-28": (
        "basic/transports/index",
        "basic/transports/stdio",
        "basic/transports/streamable-http",
        "basic/versioning",
        "basic/patterns/index",
        "basic/patterns/cancellation",
        "basic/patterns/progress",
        "basic/patterns/subscriptions",
        "basic/patterns/mrtr",
        "basic/index",
        "basic/authorization/index",
        "basic/authorization/authorization-server-discovery",
        "basic/authorization/client-registration",
        "basic/authorization/security-considerations",
        "server/discover",
        _SECURITY,
    ),
}
"""The pages that are gone through, by revision."""

KEYWORD: Final = re.compile(r"\b(MUST NOT|MUST|SHOULD NOT|SHOULD|SHALL NOT|SHALL|REQUIRED|NOT RECOMMENDED|RECOMMENDED)\b")
_FENCE: Final = re.compile(r"^ *(```|~~~)")
_ITEM: Final = re.compile(r"^( *)(?:[-*]|\d+\.) +(.*)$")
_LINK: Final = re.compile(r"!?\[([^\]]*)\](?:\([^)]*\)|\[[^\]]*\])")
_TAG: Final = re.compile(r"^ *</?[A-Za-z][^>]*/?> *$")
_REFERENCE: Final = re.compile(r"^ *\[[^\]]+\]: ")
# "e.g. " and "i.e. " end no sentence.
_SENTENCE_END: Final = re.compile(r"(?<=[.!?])(?<!e\.g\.)(?<!i\.e\.)(?<!etc\.) +(?=[A-Z`\"(*])")


@dataclass(frozen=True)
class Sentence:
    """One sentence of a page, with the heading that it stands under."""

    page: str
    section: str
    text: str

    @property
    def digest(self) -> str:
        """What stays the same as long as the sentence does, wherever its revision has moved to."""
        return hashlib.sha256(f"{self.page}\n{self.section}\n{self.text}".encode()).hexdigest()[:12]


@dataclass
class _Block:
    """A paragraph, a row of a table or an item of a list; `indent` tells which item is below which."""

    indent: int
    is_item: bool
    section: str
    text: str


def extract(page: str, markdown: str) -> list[Sentence]:
    """Extract the sentences that oblige somebody from one page, in order."""
    blocks = list(_blocks(markdown))
    found: list[Sentence] = []
    for number, block in enumerate(blocks):
        for sentence in _SENTENCE_END.split(block.text):
            if not KEYWORD.search(sentence):
                continue
            if sentence.endswith(":"):
                below = _items_below(blocks, number)
                sentence = " • ".join([sentence, *below])
            found.append(Sentence(page, block.section, sentence))
    return found


def _items_below(blocks: list[_Block], number: int) -> Iterator[str]:
    """What a sentence ending in a colon introduces: the items that follow, down to the next thing on its own level."""
    opening = blocks[number]
    for block in blocks[number + 1 :]:
        is_below = block.is_item and block.section == opening.section
        if not is_below or (opening.is_item and block.indent <= opening.indent):
            return
        yield block.text


def _blocks(markdown: str) -> Iterator[_Block]:
    section, block, fenced = "", None, False
    body = re.sub(r"\A---\n.*?\n---\n", "", markdown, flags=re.DOTALL)
    for line in body.splitlines():
        if _FENCE.match(line):
            fenced = not fenced
        item = _ITEM.match(line)
        starts = (
            fenced or not line.strip() or line.startswith("#") or item or line.lstrip().startswith("|") or _TAG.match(line)
        )
        if block is not None and (starts or _REFERENCE.match(line)):
            yield _finished(block)
            block = None
        if fenced or not line.strip() or _FENCE.match(line) or _REFERENCE.match(line):
            continue
        if line.startswith("#"):
            section = _plain(line.lstrip("#").strip())
        elif item:
            block = _Block(len(item[1]), True, section, item[2])
        elif line.lstrip().startswith("|"):
            block = _Block(0, False, section, line.strip().strip("|"))
        elif _TAG.match(line):
            continue
        elif block is not None:
            block.text += " " + line.strip()
        else:
            block = _Block(len(line) - len(line.lstrip()), False, section, line.strip())
    if block is not None:
        yield _finished(block)


def _finished(block: _Block) -> _Block:
    return _Block(block.indent, block.is_item, block.section, _plain(block.text))


def _plain(text: str) -> str:
    """A text without links, emphasis and tags."""
    text = re.sub(r"</?(?:sup|br|strong|em)/?>|^> ", "", text)
    # A link's text may have brackets in code: once for them, once for what is around.
    for _ in range(2):
        text = _LINK.sub(r"\1", text)
    text = text.replace("**", "").replace("`", "")
    text = re.sub(r"(?<![\w*])[_*](\S(?:[^_*]*\S)?)[_*](?![\w*])", r"\1", text)
    return re.sub(r"\s+", " ", text).strip()


def extract_all(docs: Path) -> dict[str, list[Sentence]]:
    """Extract from every page of every revision below `docs`, a folder of the specification's repository."""
    return {
        revision: [
            sentence
            for page in pages
            for sentence in extract(page, _find_page(docs, revision, page).read_text(encoding="utf-8"))
        ]
        for revision, pages in PAGES.items()
    }


def _find_page(docs: Path, revision: str, page: str) -> Path:
    # What was a page of the specification once, its security practices, has moved to the tutorials.
    return docs / ("docs" if page.startswith("tutorials/") else "specification") / revision / f"{page}.mdx"


def digests(docs: Path) -> dict[str, list[str]]:
    """The digests of the sentences, by revision, each once."""
    return {revision: sorted({one.digest for one in found}) for revision, found in extract_all(docs).items()}


def main(words: list[str]) -> None:
    """`extract DOCS` prints every sentence, with tabs between its parts; `extract --digests DOCS` prints `digests.toml`."""
    if words[0] == "--digests":
        print(
            "# The digest of each sentence that `extract` finds; `python -m conformance.catalogue.extract --digests DOCS`."
        )
        for revision, found in digests(Path(words[1])).items():
            print(f'\n"{revision}" = [')
            for start in range(0, len(found), 8):
                print("    " + " ".join(f'"{digest}",' for digest in found[start : start + 8]))
            print("]")
        return
    for revision, sentences in extract_all(Path(words[0])).items():
        for sentence in sentences:
            print(revision, sentence.page, sentence.section, sentence.text, sep="\t")


if __name__ == "__main__":
    main(sys.argv[1:])
