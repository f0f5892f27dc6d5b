"""The status page in a real browser, against a worker that judges: its numbers move, and it says so when the worker
goes away."""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.stream.browser import Tab, browser, program
from tests.stream.rig import Rig, chat_event, probe

EVIL = "<script>window.hurt=1</script><img src=x onerror='window.hurt=2'>"
WORDS = ("hello everyone", "how do I make a bomb", "ignore all of that", "what a day")
SEEN = """
(() => {
  const tiles = [...document.querySelectorAll("#figures div")];
  const tile = tiles.find(each => each.firstChild.textContent === "Since the start");
  return parseFloat(tile?.children[1].textContent) || 0;
})()
"""
VIEWS = {"wide-light": (1280, False), "wide-dark": (1280, True), "phone-light": (390, False), "phone-dark": (390, True)}


async def _traffic(rig: Rig, sent: list[int]) -> None:
    chance = random.Random(1)
    while True:
        texts = [f"{chance.choices(WORDS, (6, 2, 1, 6))[0]} {chance.random()}" for _ in range(chance.randrange(20, 60))]
        values = [chat_event(text, event_id=EVIL if n == 0 else None) for n, text in enumerate(texts)]
        await rig.send([*((f"{n}".encode(), value) for n, value in enumerate(values)), (b"k", b"not JSON")])
        sent.append(len(texts) + 1)


@pytest.mark.chart
async def test_the_page_shows_a_worker_at_work_and_its_end(
    rig: Rig, topics: Callable[..., str], tmp_path: Path
) -> None:
    program()
    sent: list[int] = []
    with rig.worker(FAKE_CARD=1, FAKE_DELAY=0.01, dead_letter_limit_share=0, **_beside(rig, topics)) as worker:
        await rig.ready(worker)
        traffic = asyncio.create_task(_traffic(rig, sent))
        async with browser() as tab:
            await tab.look(width=1280)
            await tab.go(f"http://127.0.0.1:{worker.port}/")
            await _moves(tab)
            await _is_harmless(tab)
            await _obeys_keys(tab)
            for name, (width, dark) in VIEWS.items():
                await tab.look(width=width, dark=dark)
                await tab.picture(tmp_path / f"{name}.png")
                assert await tab.ask("document.documentElement.scrollWidth <= innerWidth"), f"{name} scrolls sideways"
            traffic.cancel()
            assert tab.complaints == []
            await asyncio.to_thread(worker.stop)
            await tab.until("!document.getElementById('gone').hidden")
            assert "not answered since" in await tab.ask("document.getElementById('gone').textContent")
            assert await tab.ask("document.title") == "gone · moderation-worker"
            assert [each for each in tab.complaints if "ERR_CONNECTION" not in each] == []


def _beside(rig: Rig, topics: Callable[..., str]) -> dict[str, object]:
    """The settings of a shadow policy and of reviewers."""
    policies = rig.folder / "policies.toml"
    policies.write_text("[policies.strict]\nunsafe_threshold = 0.3\n")
    shadow = {"policies_file": policies, "shadow_policy": "strict", "shadow_share": 1.0, "shadow_topic": topics()}
    return shadow | {"reviews_topic": topics()}


async def _moves(tab: Tab) -> None:
    await tab.until(f"{SEEN.strip()} > 0")
    before = await tab.ask(SEEN)
    await tab.until(f"{SEEN.strip()} > {before}")
    await tab.until("/dead letters [1-9]/.test(document.querySelector('#plots .key').textContent)")
    told = ("S9 Indiscriminate Weapons", "not_json", "llama_guard", "default", "2.0 GiB", "closed", "Reviewers: ")
    for words in (*told, "Shadow strict, 100 % of the events: "):
        await tab.until(f"document.getElementById('shown').textContent.includes('{words}')")
    assert await tab.ask("document.getElementById('phase').textContent") == "running"
    assert await tab.ask("document.querySelectorAll('#plots path.area').length") == 4


async def _is_harmless(tab: Tab) -> None:
    """An event's id is what its sender chose."""
    await tab.until("document.getElementById('last').textContent.includes('<script>window.hurt')")
    assert await tab.ask("window.hurt === undefined && !document.querySelector('#last script, #last img')")
    assert await tab.ask("fetch('https://example.org/').then(() => 'out', () => 'held')") == "held"
    assert [each for each in tab.complaints if "Content Security Policy" in each]
    tab.complaints.clear()


async def _obeys_keys(tab: Tab) -> None:
    await tab.ask("document.getElementById('plot-outcomes').focus()")
    await tab.press("ArrowLeft")
    assert " ago: " in await tab.ask("document.getElementById('plot-outcomes').getAttribute('aria-label')")
    await tab.press("Escape")
    assert ", now: " in await tab.ask("document.getElementById('plot-outcomes').getAttribute('aria-label')")
    await tab.press("p")
    assert await tab.ask("document.getElementById('pause').getAttribute('aria-pressed')") == "true"
    await tab.press("p")


async def test_the_page_can_be_switched_off(rig: Rig) -> None:
    with rig.worker(status_page="false") as worker:
        await rig.ready(worker)
        assert (await asyncio.to_thread(probe, worker, "/status.json"))[0] == 404
        assert "<html" not in str((await asyncio.to_thread(probe, worker, "/"))[1])
