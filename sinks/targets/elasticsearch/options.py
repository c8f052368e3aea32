"""How an Elasticsearch target connects, and how its indices are made."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ElasticsearchOptions:
    """Options of an Elasticsearch target; secrets stay out of its representation.

    Attributes:
        connections: bulk requests in flight at once.
        chunk_bytes: a bulk request is cut at this size.
        request_timeout: seconds until a request without an answer counts as an outage.
        attempts: how often operations that were turned away (429, 503) are sent before it is an outage.
        retry_seconds: pause before the second attempt; each further one waits twice as long.
        refresh_interval: how soon a change can be found by a search.
        shards: primary shards of a new index.
        replicas: copies of each shard of a new index.
        gc_deletes: how long a deleted document's version is kept: as long, a late write of a worker that was
            thought dead can't bring the document back.
        api_key: encoded API key; empty: none.
        username: name for basic authentication; empty: none.
        password: password for basic authentication.
        ca_certs: file of certificate authorities for https; empty: the system's.
    """

    connections: int = 3
    chunk_bytes: int = 6_000_000
    request_timeout: float = 60.0
    attempts: int = 5
    retry_seconds: float = 0.1
    refresh_interval: str = "1s"
    shards: int = 1
    replicas: int = 0
    gc_deletes: str = "1h"
    api_key: str = field(default="", repr=False)
    username: str = ""
    password: str = field(default="", repr=False)
    ca_certs: str = ""
