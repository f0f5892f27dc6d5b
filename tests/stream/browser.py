"""A real browser without a window, driven by its own protocol (Chrome's DevTools) over a WebSocket."""

import asyncio
import base64
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from deploy.tools import BIN, BROWSERS

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--no-first-run",
)
_START_SECONDS = 120


def program() -> str:
    """The browser's path; skips the test aloud where there is none."""
    for name in (*BROWSERS, str(BIN / "chromium")):
        if found := shutil.which(name):
            return found
    pytest.skip("needs a browser: install chromium (apt-get install chromium)")


@dataclass
class Tab:
    """A page, and what it complained about."""

    _socket: aiohttp.ClientWebSocketResponse
    complaints: list[str] = field(default_factory=list)
    _answers: dict[int, asyncio.Future[dict[str, Any]]] = field(default_factory=dict)
    _last: int = 0

    async def go(self, url: str) -> None:
        """Opens an address."""
        await self.call("Page.navigate", url=url)

    async def ask(self, expression: str) -> Any:
        """What a JavaScript expression is on the page; a promise is waited for. Raises ValueError where it throws."""
        got = await self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in got:
            raise ValueError(got["exceptionDetails"])
        return got["result"].get("value")

    async def until(self, expression: str, seconds: float = 60) -> None:
        """Returns when a JavaScript expression is true on the page. Raises TimeoutError."""
        try:
            async with asyncio.timeout(seconds):
                while not await self.ask(expression):  # noqa: ASYNC110  # the page is another process
                    await asyncio.sleep(0.1)
        except TimeoutError:
            words = await self.ask("document.body.innerText")
            raise TimeoutError(f"not {expression!r} after {seconds} s; the page says:\n{words}") from None

    async def look(self, *, width: int, height: int = 900, dark: bool = False) -> None:
        """Gives the page this size, and a taste."""
        phone = width < 600
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )
        taste = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[taste])

    async def press(self, key: str) -> None:
        """Presses a key."""
        text = {"text": key} if len(key) == 1 else {}
        await self.call("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
        await self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    async def picture(self, path: Path, *, whole: bool = True) -> None:
        """Saves what is to be seen as PNG."""
        got = await self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        await asyncio.to_thread(path.write_bytes, base64.b64decode(got["data"]))

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command of the protocol."""
        self._last += 1
        answer = self._answers[self._last] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": self._last, "method": method, "params": parameters})
        async with asyncio.timeout(60):
            got = await answer
        if "error" in got:
            raise ValueError(f"{method}: {got['error']}")
        return dict(got["result"])

    async def listen(self) -> None:
        """Takes what the browser says, until it ends."""
        async for message in self._socket:
            said = message.json()
            if "id" in said:
                self._answers.pop(said["id"]).set_result(said)
            elif said["method"] == "Runtime.exceptionThrown":
                self.complaints.append(str(said["params"]["exceptionDetails"]))
            elif said["method"] == "Log.entryAdded" and said["params"]["entry"]["level"] == "error":
                self.complaints.append(said["params"]["entry"]["text"])


@contextlib.asynccontextmanager
async def browser() -> AsyncIterator[Tab]:
    """A browser with one empty tab; skips the test aloud where there is none."""
    path = program()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        flags = (*_FLAGS, f"--user-data-dir={folder}", "--remote-debugging-port=0", "about:blank")
        silent = asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec(path, *flags, stdout=silent, stderr=silent)
        try:
            address = await _address_of_tab(Path(folder) / "DevToolsActivePort", process)
            async with aiohttp.ClientSession() as session, session.ws_connect(address, max_msg_size=0) as socket:
                tab = Tab(socket)
                listening = asyncio.create_task(tab.listen())
                for domain in ("Page", "Runtime", "Log"):
                    await tab.call(f"{domain}.enable")
                yield tab
                listening.cancel()
        finally:
            process.terminate()
            await process.wait()


async def _address_of_tab(port_file: Path, process: asyncio.subprocess.Process) -> str:
    async with asyncio.timeout(_START_SECONDS), aiohttp.ClientSession() as session:
        while (port := await asyncio.to_thread(_port_in, port_file)) is None:
            assert process.returncode is None, f"the browser ended with {process.returncode}"
            await asyncio.sleep(0.05)
        while True:
            async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                for target in await answer.json():
                    if target["type"] == "page":
                        return str(target["webSocketDebuggerUrl"])
            await asyncio.sleep(0.05)


def _port_in(file: Path) -> str | None:
    """The first of two lines; None before they are written."""
    lines = file.read_text().splitlines() if file.exists() else []
    return lines[0] if len(lines) > 1 else None
