"""The pages of the tree, read as GitHub reads them: their anchors, links and blocks, and what is said of a block."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[2]
_NOT_OURS = {"node_modules", "build", "dist"}
_MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
_COMMENT = re.compile(r"<!--\s*(.*?)\s*-->", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Link:
    """Where a page points to. The line is the paragraph's first."""

    target: str
    line: int
    image: bool = False


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block; `marks` are the comments right before it, such as `run` or `tried: helm 4.0.1`."""

    page: Path
    line: int  # of its first line of text
    language: str
    text: str
    marks: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """File and line, as editors take them."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@dataclass(slots=True)
class Page:
    """One Markdown file."""

    path: Path
    text: str
    anchors: set[str] = field(default_factory=set)
    links: list[Link] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    spans: list[tuple[str, int]] = field(default_factory=list)  # inline code, and its paragraph's line

    @property
    def name(self) -> str:
        """Its path below the root."""
        return str(self.path.relative_to(ROOT))


def all_pages(root: Path = ROOT) -> list[Page]:
    """Every *.md of the tree, but for folders that are installed, built or hidden; in a clone those that git keeps, as
    whoever follows the pages there leaves reports behind."""
    paths = [path for path in sorted(root.rglob("*.md")) if not _skipped(path.relative_to(root))]
    if (root / ".git").exists() and shutil.which("git"):
        kept = subprocess.run(["git", "ls-files", "*.md"], cwd=root, capture_output=True, text=True, check=True)
        paths = [path for path in paths if str(path.relative_to(root)) in kept.stdout.splitlines()]
    return [read_page(path) for path in paths]


def _skipped(path: Path) -> bool:
    return any(part.startswith(".") or part in _NOT_OURS for part in path.parts)


def read_page(path: Path) -> Page:
    """A page from its file."""
    page = Page(path, path.read_text(encoding="utf-8"))
    slugs: dict[str, int] = {}
    marks: list[str] = []
    for token, following in _with_next(_MARKDOWN.parse(page.text)):
        line = (token.map or [0])[0] + 1
        if token.type == "heading_open" and following is not None:
            page.anchors.add(_numbered(_slug(following), slugs))
        elif token.type == "inline":
            _read_inline(page, token, line)
        elif token.type == "fence":
            language = token.info.split()[0] if token.info.strip() else ""
            page.blocks.append(Block(path, line + 1, language, token.content, tuple(marks)))
        elif token.type == "html_block":
            _read_html(page, token.content, line)
        if token.type == "html_block":
            marks.extend(_COMMENT.findall(token.content))
        elif token.type not in ("paragraph_close", "list_item_open"):
            marks.clear()
    return page


def _with_next(tokens: list[Token]) -> Iterator[tuple[Token, Token | None]]:
    return zip(tokens, [*tokens[1:], None], strict=True)


def _read_inline(page: Page, token: Token, line: int) -> None:
    for child in token.children or []:
        if child.type == "link_open":
            page.links.append(Link(str(child.attrs["href"]), line))
        elif child.type == "image":
            page.links.append(Link(str(child.attrs["src"]), line, image=True))
        elif child.type == "code_inline":
            page.spans.append((child.content, line))
        elif child.type == "html_inline":
            _read_html(page, child.content, line)


def _read_html(page: Page, text: str, line: int) -> None:
    class Tags(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            for name, value in attrs:
                if name in ("id", "name") and value:
                    page.anchors.add(value)
                elif name in ("href", "src", "srcset") and value:
                    page.links.append(Link(value, line, image=name != "href"))

    Tags().feed(text)


def _slug(heading: Token) -> str:
    """GitHub's: small letters, without what is neither a word's character nor a hyphen, a hyphen for each space."""
    kinds = ("text", "code_inline")
    words = "".join(child.content for child in heading.children or [] if child.type in kinds)
    return re.sub(r"[^\w\- ]", "", words.lower()).strip().replace(" ", "-")


def _numbered(slug: str, seen: dict[str, int]) -> str:
    count = seen.get(slug, 0)
    seen[slug] = count + 1
    return f"{slug}-{count}" if count else slug
