"""A network that fails: a proxy of TCP in front of a server, whose connections can be cut, refused and frozen.

    cut        every connection is reset, with what was on its way; new ones are taken
    refuse     the same, and new ones are reset as well, until `heal`
    freeze     connections stay, new ones are taken, and not a byte passes, until `heal`: packets that get lost

`fault_proxy` is the one that understands HTTP. This one takes what it is given, Kafka's protocol for instance.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

CHUNK = 64 * 1024


class TcpProxy:
    """One listening port of 127.0.0.1. Set `target` before anybody connects. Methods may be called from any thread."""

    def __init__(self) -> None:
        self.target = 0
        """The server's port, on 127.0.0.1."""
        self.port = 0
        self.befallen: Counter[str] = Counter()
        """How many connections each fault has found open, and how many new ones were refused."""
        self._loop = asyncio.new_event_loop()
        self._open: set[asyncio.StreamWriter] = set()
        self._refusing = False
        self._passing = asyncio.Event()
        self._passing.set()
        listening = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(listening,), name="tcp-proxy", daemon=True)
        self._thread.start()
        listening.wait()

    def cut(self) -> None:
        """Reset every connection there is."""
        self._call(self._reset, "cut")

    def refuse(self) -> None:
        """Reset every connection there is, and those that come."""
        self._refusing = True
        self._call(self._reset, "refuse")

    def freeze(self) -> None:
        """Let nothing pass."""
        self._call(self._hold)

    def heal(self) -> None:
        """Nothing is refused or frozen any more; what was held is passed on."""
        self._refusing = False
        self._call(self._passing.set)

    def close(self) -> None:
        """No more connections; those there are end."""
        self._call(self._reset, "close")
        self._call(self._loop.stop)
        self._thread.join()

    def _call(self, what: Callable[..., object], *arguments: object) -> None:
        self._loop.call_soon_threadsafe(what, *arguments)

    def _reset(self, why: str) -> None:
        self.befallen[why] += len(self._open) // 2
        for writer in self._open:
            writer.transport.abort()

    def _hold(self) -> None:
        self.befallen["freeze"] += len(self._open) // 2
        self._passing.clear()

    def _run(self, listening: threading.Event) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            server = runner.run(asyncio.start_server(self._serve, "127.0.0.1", 0))
            self.port = server.sockets[0].getsockname()[1]
            listening.set()
            self._loop.run_forever()
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            self.befallen["refused"] += 1
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        pair = {writer, far_writer}
        self._open |= pair
        await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        self._open -= pair

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):  # reset by either side
            while chunk := await reader.read(CHUNK):
                await self._passing.wait()
                writer.write(chunk)
                await writer.drain()
        writer.transport.abort()


@contextmanager
def tcp_proxy() -> Iterator[TcpProxy]:
    """A proxy that is closed in the end."""
    proxy = TcpProxy()
    try:
        yield proxy
    finally:
        proxy.close()


@contextmanager
def flapping(network: TcpProxy, seed: int, *, frozen_s: float) -> Iterator[None]:
    """Every few seconds a fault, drawn by the seed, each lasting up to 3 s; freezes last up to `frozen_s`. Healed in
    the end."""
    dice, over = random.Random(seed), threading.Event()

    def flap() -> None:
        while not over.wait(dice.uniform(0.5, 3)):
            fault, longest = dice.choice(((network.cut, 0.0), (network.refuse, 3.0), (network.freeze, frozen_s)))
            fault()
            over.wait(dice.uniform(0, longest))
            network.heal()

    thread = threading.Thread(target=flap, name="flapping")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        network.heal()
