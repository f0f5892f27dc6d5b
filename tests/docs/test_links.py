"""Links between the pages lead somewhere; those that leave are https and go to no package registry."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.docs.pages import ROOT, Link, Page, all_pages, read_page

PAGES = {page.path: page for page in all_pages()}
_REGISTRIES = {"pypi", "pythonhosted", "npmjs", "golang", "maven", "docker"}  # a part of their hosts' names


def fault_of(page: Page, link: Link) -> str | None:
    """What is wrong with a link, or None."""
    parts = urlsplit(link.target)
    if parts.scheme or parts.netloc:
        if parts.scheme != "https" or "." not in parts.netloc:
            return "is not https"
        return None if _REGISTRIES.isdisjoint((parts.hostname or "").split(".")) else "is a registry"
    target = (page.path.parent / unquote(parts.path)).resolve() if parts.path else page.path
    if not target.is_relative_to(ROOT):
        return "leaves the tree"
    if not target.exists():
        return "does not exist"
    if link.image:
        return None if target.stat().st_size else "is an empty picture"
    if parts.fragment and target.suffix == ".md":
        linked = PAGES.get(target) or read_page(target)
        return None if unquote(parts.fragment) in linked.anchors else "has no such heading"
    return None


@pytest.mark.parametrize("page", PAGES.values(), ids=lambda page: page.name)
def test_links_lead_somewhere(page: Page) -> None:
    faults = [
        f"{page.name}:{link.line}: {link.target} {fault}" for link in page.links if (fault := fault_of(page, link))
    ]
    assert not faults, "\n".join(faults)


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, to_read = set(), [ROOT / "README.md"]
    while to_read:
        path = to_read.pop()
        if path in reached or path not in PAGES:
            continue
        reached.add(path)
        targets = (urlsplit(link.target) for link in PAGES[path].links)
        to_read += [(path.parent / unquote(each.path)).resolve() for each in targets if each.path and not each.scheme]
    alone = {str(path.relative_to(ROOT)) for path in PAGES.keys() - reached}
    assert not alone, f"no page links to {', '.join(sorted(alone))}"


@pytest.mark.parametrize(
    ("target", "fault"),
    [
        ("#two-words", None),
        ("#two-words-1", None),
        ("#two-words-2", "has no such heading"),
        ("#by-hand", None),
        ("#what-make-test-does", None),
        ("other.md", "does not exist"),
        ("http://example.com/", "is not https"),
        ("https://example.com/", None),
        ("https://docker.example/x", "is a registry"),
        ("../../../../etc/passwd", "leaves the tree"),
    ],
)
def test_a_wrong_link_is_found(target: str, fault: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.docs.test_links.ROOT", tmp_path)
    path = tmp_path / "page.md"
    text = f"# Two words\n\n## Two *words*\n\n### What `make test` does?\n\n<a id='by-hand'></a>See [this]({target}).\n"
    path.write_text(text, encoding="utf-8")
    page = read_page(path)
    (link,) = page.links
    assert fault_of(page, link) == fault
