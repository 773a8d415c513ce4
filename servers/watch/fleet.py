"""The servers that are watched together, and the choice of the plain one that each is held against."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import httpx2

from spectui.decoding.errors import UsageError
from spectui.servers.address import key_for, read_address
from spectui.servers.watch.clock import Clock
from spectui.servers.watch.payoff import Plain
from spectui.servers.watch.poller import Poller
from spectui.servers.watch.server import View, Watched

MOST_SERVERS = 64


class Fleet:
    """Watched servers in the order in which they were named; the plain reference is the last of them."""

    def __init__(self, servers: Sequence[Watched]) -> None:
        self.servers = list(servers)
        self.clock = Clock()
        self.chosen: dict[str, str] = {}
        """URL -> the URL of the plain server that was chosen for it by hand."""
        self.remembered: dict[str, Plain] = {}
        """URL -> plain decoding of that server in an earlier watch."""

    def now(self) -> float:
        """The time of views: that of the pollers, or of a recording."""
        return self.clock()

    def views(self, window: str = "5 min", columns: int = 30) -> list[View]:
        """Every server, as it stands now."""
        now, plains = self.now(), self.plains()
        return [server.view(now, window, self.plain_for(server, plains), columns) for server in self.servers]

    def plains(self) -> list[tuple[Watched, Plain]]:
        """The servers that decode plainly now, with what they show."""
        return [(server, plain) for server in self.servers if (plain := server.plain()) is not None]

    def plain_for(
        self, server: Watched, plains: Sequence[tuple[Watched, Plain]] | None = None
    ) -> Plain | None:
        """The plain decoding that a server is held against.

        The one chosen by hand; else that of the reference, of another server of the same model, or of this one before
        it was restarted with speculation, in this watch or an earlier one. `plains` are those of now, where they are
        at hand.
        """
        others = [pair for pair in (self.plains() if plains is None else plains) if pair[0] is not server]
        by_hand = self.chosen.get(server.url)
        if any(other is not server and other.url == by_hand for other in self.servers):
            return next((plain for other, plain in others if other.url == by_hand), None)
        for other, plain in others:
            if other.reference:
                return plain
        alike = [plain for other, plain in others if model_of(server) and _kin(other, server)]
        if alike:
            return max(alike, key=lambda plain: plain.rounds)
        return server.earlier_plain() or self._remembered(server)

    def _remembered(self, server: Watched) -> Plain | None:
        plain, last = self.remembered.get(server.url), server.history.last
        return plain if plain and last and plain.slices[0].engine == last.engine else None

    def choices(self, server: Watched) -> list[Watched]:
        """Servers that a server can be held against."""
        return [other for other, _ in self.plains() if other is not server]

    def look_for_alerts(self) -> None:
        """Have every server look for alerts for which it is time."""
        now = self.now()
        due = [server for server in self.servers if server.due(now)]
        plains = self.plains() if due else []
        for server in due:
            server.look_for_alerts(now, self.plain_for(server, plains))


class LiveFleet(Fleet):
    """A fleet whose servers are asked once a second. A context that ends with the asking."""

    def __init__(self, servers: Sequence[Watched], key_env: str = "") -> None:
        super().__init__(servers)
        self.pollers = [
            Poller(server, key_for(server.url, servers[0].url, key_env), clock=self.clock)
            for server in servers
        ]

    def ask_all(self) -> None:
        """Ask every server once, all at the same time, and wait."""
        with ThreadPoolExecutor(max_workers=max(len(self.pollers), 1)) as pool:
            list(pool.map(Poller.poll, self.pollers))

    def __enter__(self) -> LiveFleet:
        for poller in self.pollers:
            poller.start()
        return self

    def __exit__(self, *_: object) -> None:
        for poller in self.pollers:
            poller.stop()


def _kin(other: Watched, server: Watched) -> bool:
    """True for servers of one engine and one model: what differs between them is speculation, and the load."""
    first, second = other.history.last, server.history.last
    engines = first is not None and second is not None and first.engine == second.engine
    return engines and not other.reference and model_of(other) == model_of(server)


def model_of(server: Watched) -> str:
    """The short name of a server's model; "" while it is unknown."""
    last = server.history.last
    name = (last.model if last else "") or server.about.model
    return name.rstrip("/").rpartition("/")[2].removesuffix(".gguf")


def read_servers(urls: Sequence[str], baseline: str | None = None) -> list[Watched]:
    """The servers at these addresses. Raises `UsageError` for one that is no address, and for one named twice."""
    addresses = [read_address(url, "URL") for url in urls]
    for place, address in enumerate(addresses):
        if address in addresses[:place]:
            raise UsageError(f"{address} is named twice; name each server once")
    if len(addresses) > MOST_SERVERS:
        raise UsageError(f"{len(addresses)} servers are too many for one watch; name at most {MOST_SERVERS}")
    names = _names(addresses)
    servers = [Watched(address, name) for address, name in zip(addresses, names, strict=True)]
    if baseline is not None:
        address = read_address(baseline, "--baseline-server")
        same = next((server for server in servers if server.url == address), None)
        if same is not None:
            same.reference = True
        else:
            servers.append(Watched(address, _names([address])[0], reference=True))
    return servers


def _names(addresses: Sequence[str]) -> list[str]:
    """``host:port``, with what follows where a server has a path."""
    names = []
    for address in addresses:
        url = httpx2.URL(address)
        port = f":{url.port}" if url.port else ""
        host = f"[{url.host}]" if ":" in url.host else url.host
        names.append(f"{host}{port}{url.path.rstrip('/')}")
    return names
