"""Stores, sinks and proxies of a test or a chaos run: a database and sinks of its own."""

from __future__ import annotations

import itertools
import secrets
from collections import Counter
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psycopg2

from tests.e2e import traffic
from tests.e2e.stores import Stores
from tests.faults.process import Sinks
from tests.faults.proxy import Proxy
from tests.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from stack import Stack

SEED = 20_261_123


class Scene:
    """Stores, sinks and proxies of one test.

    Attributes:
        database: with the tables of ``traffic``.
        proxies: by server: postgres, elasticsearch, registry.
    """

    def __init__(self, stack: Stack, endpoints: dict[str, Any], folder: Path) -> None:
        self.stack = stack
        self._endpoints = endpoints
        self.stores = Stores(endpoints)
        self.name = f"f{secrets.token_hex(4)}"
        self.database = f"{self.name}_db"
        self._folder = folder
        dsn = urlsplit(endpoints["postgres"]["dsn"])
        search = urlsplit(endpoints["elasticsearch"]["url"])
        registry = urlsplit(endpoints["registry"]["url"])
        self.proxies = {
            name: Proxy((at.hostname or "", at.port or 0))
            for name, at in (("postgres", dsn), ("elasticsearch", search), ("registry", registry))
        }
        port = {name: proxy.port for name, proxy in self.proxies.items()}
        key = self.name.upper()
        self._settings = {
            f"CDC_SINKS__{key}_PG__DSN": dsn._replace(
                netloc=f"{dsn.username}:{dsn.password}@127.0.0.1:{port['postgres']}"
            ).geturl(),
            f"CDC_SINKS__{key}_ES__URL": f"http://127.0.0.1:{port['elasticsearch']}",
            "CDC_REGISTRY__URL": registry._replace(netloc=f"127.0.0.1:{port['registry']}").geturl(),
        }
        self._sinks: list[Sinks] = []
        self._sessions: list[traffic.Session] = []
        self._numbers = itertools.count()
        traffic.create(self.stores, self.database)

    def sinks(self, **settings: str) -> Sinks:
        """Return sinks of this scene, not started; more than one are members of one group."""
        made = Sinks(
            self._folder,
            self.stack.layout.home,
            self.name,
            f"{self.database}.*",
            {**self._settings, **settings},
        )
        self._sinks.append(made)
        return made

    def write(self, changes: int = 400, *, seed: int = SEED) -> None:
        """Make changes and wait until they are committed in MySQL."""
        traffic.finish(self.start_writing(changes, seed=seed))

    def start_writing(self, changes: int, *, seed: object = SEED) -> list[traffic.Session]:
        number = next(self._numbers)
        started = [
            traffic.Session(
                self.stores, self.database, seed=seed, session=number * 2 + i, changes=changes // 2
            )
            for i in range(2)
        ]
        for session in started:
            session.start()
        self._sessions += started
        return started

    def differences(self) -> str:
        """Return in words how the stores differ; a store that was down meanwhile is opened anew."""
        try:
            return self._differences()
        except (psycopg2.OperationalError, psycopg2.InterfaceError):
            self.stores.close()
            self.stores = Stores(self._endpoints)
            return self._differences()

    def _differences(self) -> str:
        found = [self.stores.differences(self.database, table) for table in ("people", "events", "pairs")]
        found.append(self.stores.differences(self.database, "notes", search=False))
        return "; ".join(filter(None, found))

    def wait_equal(self, deadline: float = 240) -> None:
        """Wait until all stores hold the same; say how they differ if they never do."""
        try:
            wait_until(lambda: not self.differences(), deadline, every=0.2)
        except AssertionError as error:
            raise AssertionError(self.differences() or "equal, but too late") from error

    def count_differences(self) -> Counter[str]:
        """Compare all rows of all three stores: not there, too many, older than the source's."""
        found: Counter[str] = Counter(lost=0, duplicated=0, out_of_order=0)
        reads = (self.stores.in_postgres, self.stores.in_elasticsearch)
        for table, key in (("people", 1), ("events", 1), ("pairs", 2), ("notes", 2)):
            source = self.stores.in_mysql(self.database, table)
            for read in reads if table != "notes" else reads[:1]:
                target = read(self.database, table)
                missing, extra = source - target, target - source
                keys = Counter(row[:key] for row in missing.elements())
                there = Counter(row[:key] for row in extra.elements())
                found["out_of_order"] += (keys & there).total()
                found["lost"] += (keys - there).total()
                found["duplicated"] += (there - keys).total()
        return found

    def dead_letters(self) -> int:
        """Return how many records were parked, as the targets count them."""
        with self.stores.postgres.cursor() as cursor:
            cursor.execute(
                f"SELECT coalesce(sum((counts->>'parked')::int), 0) FROM state_{self.name}.partition"
            )
            parked = int((cursor.fetchone() or (0,))[0])
        found = self.stores.elasticsearch.post(f"/cdc-state-{self.name}-es/_search", json={"size": 10_000})
        hits = found.raise_for_status().json()["hits"]["hits"]
        return parked + sum(int(hit["_source"]["counts"].get("parked", 0)) for hit in hits)

    def close(self) -> None:
        for session in self._sessions:
            session.join()
        for sinks in self._sinks:
            sinks.kill()
        for proxy in self.proxies.values():
            proxy.close()
        self.stores.close()
