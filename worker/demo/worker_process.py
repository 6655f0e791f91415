"""The real worker in a process of its own, as in production: the demo keeps Ctrl-C, the loop and the logs to itself."""

import asyncio
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import aiohttp

from worker.demo.embedded import ServerFailed
from worker.settings import Settings

READY_SECONDS = 60.0
STOP_SECONDS = 15.0
"""Longer than the worker takes for a clean stop."""


class WorkerProcess:
    """`python -m worker run` in a session of its own, so that Ctrl-C reaches only the demo. Logs go to a file."""

    def __init__(self, settings: Settings, changes: Mapping[str, str], folder: Path) -> None:
        self.log = folder / "worker.log"
        self.url = f"http://{settings.http_host}:{settings.http_port}"
        self._environment = {**os.environ, **changes}
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """Process id; an error when it was not started."""
        assert self._process is not None
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; an error when it was not started."""
        assert self._process is not None
        return self._process.returncode

    async def start(self) -> None:
        """Start and wait until `/readyz` says ok. Raises `ServerFailed` with the end of the log."""
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "worker", "run"),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                start_new_session=True,
            )
        reason = "no answer"
        with suppress(TimeoutError):
            async with asyncio.timeout(READY_SECONDS):
                while (reason := await self._reason_not_ready()) != "":
                    self.assert_running()
                    await asyncio.sleep(0.1)
        if reason:
            raise ServerFailed(f"the worker did not get ready ({reason}):\n{self.log_tail()}")

    def assert_running(self) -> None:
        """Raises `ServerFailed` with the end of the log when it has ended by itself."""
        if self._process is not None and self._process.returncode is not None:
            raise ServerFailed(f"the worker ended with exit code {self._process.returncode}:\n{self.log_tail()}")

    async def stop(self) -> None:
        """SIGTERM, by force after a while; safe when it does not run."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(STOP_SECONDS):
                    await process.wait()
        finally:  # an impatient second Ctrl-C gets here, too: it must not be left behind
            if process.returncode is None:
                process.kill()
                await process.wait()

    def log_tail(self) -> str:
        """The end of the worker's log."""
        return self.log.read_text(errors="replace")[-2000:] if self.log.exists() else ""

    async def _reason_not_ready(self) -> str:
        """Empty when it is ready."""
        try:
            async with aiohttp.ClientSession() as session, session.get(f"{self.url}/readyz") as response:
                return "" if response.status == 200 else (await response.text()).strip()
        except aiohttp.ClientError as error:
            return f"{type(error).__name__}: {error}"
