"""Requests to Elasticsearch through its official client; the one place where its errors are translated."""

from __future__ import annotations

import ssl
from contextlib import contextmanager
from enum import Enum, auto
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from elasticsearch import (
    ApiError,
    ConnectionTimeout,
    Elasticsearch,
    TransportError,
)
from elasticsearch import (
    ConnectionError as EsConnectionError,
)

from sinks.errors import CdcError, FatalError, OutageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sinks.targets.elasticsearch.options import ElasticsearchOptions

JSON = "application/json"
NDJSON = "application/x-ndjson"

EXISTS = frozenset({400})
"""What answers the making of an index that is there."""
ABSENT = frozenset({404})
"""What answers for an index or document that is not there."""
CONFLICT = 409
"""A newer version, or another writer, was first."""

_COME_LATER = frozenset({408, 429, 502, 503, 504})
_NOT_ALLOWED = frozenset({401, 403})
_CONTENT = frozenset({400, 413})
_BLOCKED = "cluster_block_exception"


class Disposition(Enum):
    """What becomes of a request, or of one operation of a bulk request, that was not carried out."""

    OUTAGE = auto()
    REFUSED = auto()
    FATAL = auto()


def disposition(status: int, kind: str) -> Disposition:
    """Judge a failure by its HTTP status and Elasticsearch's name for the error; unknown is fatal.

    A block is 403 when set by hand or by a full disk, and is lifted again: nothing is wrong with the change.
    """
    if status in _COME_LATER or kind == _BLOCKED:
        return Disposition.OUTAGE
    return Disposition.REFUSED if status in _CONTENT else Disposition.FATAL


def failure(status: int, kind: str, *, doing: str, where: str) -> CdcError:
    """Return the error to raise for a failure that is not about one record's content."""
    what = f"Elasticsearch answered {status} {kind} while {doing}"
    if disposition(status, kind) is Disposition.OUTAGE:
        return OutageError(what, where=where, hint="check the cluster's health, disk space and write blocks")
    if status in _NOT_ALLOWED:
        return FatalError(what, where=where, hint="check the sink's credentials and its role's privileges")
    if kind == "index_not_found_exception":
        hint = "the index or its alias was removed: restart the sink, then run cdc verify --repair"
        return FatalError(what, where=where, hint=hint)
    return FatalError(what, where=where)


class ApiFailure(Exception):  # noqa: N818 - an answer to be judged by the caller, not yet an error of ours
    """Elasticsearch's answer with an error status."""

    def __init__(self, status: int, kind: str) -> None:
        super().__init__(f"{status} {kind}")
        self.status = status
        self.kind = kind


@contextmanager
def translated(doing: str, where: str) -> Iterator[None]:
    """Raise this package's errors in place of the client's."""
    try:
        yield
    except (ConnectionTimeout, EsConnectionError) as error:
        if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in _causes(error)):
            hint = "check ca_certs and the host's name in the certificate"
            raise FatalError("the certificate can't be verified", where=where, hint=hint) from error
        what = f"no answer from Elasticsearch while {doing}"
        raise OutageError(what, where=where, hint="is it running, and its url right?") from error
    except ApiError as error:
        raise failure(error.status_code, _kind(error), doing=doing, where=where) from error
    except TransportError as error:
        raise FatalError(f"Elasticsearch's answer can't be read while {doing}", where=where) from error


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        yield from getattr(error, "errors", ())
        error = error.__cause__ or error.__context__


def _kind(error: ApiError) -> str:
    return kind_of(error.body) if isinstance(error.body, dict) else "error"


def kind_of(body: Mapping[str, Any]) -> str:
    """Return Elasticsearch's name for the error that an answer holds."""
    error = body.get("error")
    return str(error.get("type", "error")) if isinstance(error, dict) else "error"


class Client:
    """A connection pool to one cluster. Safe to use from several threads.

    Args:
        url: where the cluster answers.
        options: see :class:`ElasticsearchOptions`.
    """

    def __init__(self, url: str, options: ElasticsearchOptions) -> None:
        parts = urlsplit(url)
        self.url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/")
        more: dict[str, Any] = {}
        if options.api_key:
            more["api_key"] = options.api_key
        if options.username:
            more["basic_auth"] = (options.username, options.password)
        if options.ca_certs:
            more["ca_certs"] = options.ca_certs
        # No retry inside the client: attempts are counted in one place, and fences are checked before each.
        self._client = Elasticsearch(
            url,
            connections_per_node=options.connections + 1,
            request_timeout=options.request_timeout,
            max_retries=0,
            retry_on_status=(),
            dead_node_backoff_factor=0,
            **more,
        )

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        doing: str,
        params: Mapping[str, Any] | None = None,
        content: str = JSON,
        judged: frozenset[int] = frozenset(),
    ) -> dict[str, Any]:
        """Send one request and return its JSON answer.

        Args:
            method: HTTP method.
            path: path, its parts quoted.
            body: prepared bytes, or what becomes JSON.
            doing: what the request is for, as in "while doing".
            params: the query.
            content: media type of the body.
            judged: statuses that the caller judges itself.

        Raises:
            ApiFailure: the answer's status is one of ``judged``.
            CdcError: any other failure, by its disposition.
        """
        headers = {"accept": JSON, "content-type": content} if body is not None else {"accept": JSON}
        with translated(doing, f"{self.url}{path}"):
            try:
                answer = self._client.perform_request(method, path, params=params, headers=headers, body=body)
            except ApiError as error:
                if error.status_code in judged:
                    raise ApiFailure(error.status_code, _kind(error)) from error
                raise
        result: dict[str, Any] = answer.body
        return result

    def close(self) -> None:
        """Close all connections."""
        self._client.close()
