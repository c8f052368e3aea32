"""Schemas by id, from a registry with Confluent's API."""

from __future__ import annotations

from http import HTTPStatus

import httpx

from sinks.errors import FatalError, OutageError, RejectedError

_TIMEOUT_SECONDS = 10.0


class SchemaRegistry:
    """Reads schemas by their numeric id and remembers them: an id never changes its meaning.

    Args:
        url: base of the Confluent-compatible API; ``{url}/schemas/ids/{id}`` answers.
    """

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._client = httpx.Client(timeout=_TIMEOUT_SECONDS)
        self._texts: dict[int, str] = {}

    def schema_text(self, schema_id: int) -> str:
        """Return the schema's text.

        Raises:
            RejectedError: the registry does not know the id.
            OutageError: the registry can't be reached or fails.
        """
        if schema_id not in self._texts:
            self._texts[schema_id] = self._fetch(schema_id)
        return self._texts[schema_id]

    def _fetch(self, schema_id: int) -> str:
        try:
            answer = self._client.get(f"{self._url}/schemas/ids/{schema_id}")
        except httpx.TransportError as error:
            raise OutageError(
                f"the schema registry can't be reached ({type(error).__name__})", where=self._url
            ) from error
        if answer.status_code == HTTPStatus.NOT_FOUND:
            raise RejectedError(f"schema id {schema_id} is not in the registry", where=self._url)
        if answer.is_server_error or answer.status_code == HTTPStatus.TOO_MANY_REQUESTS:
            raise OutageError(f"the schema registry answers {answer.status_code}", where=self._url)
        if not answer.is_success:
            raise FatalError(f"the schema registry answers {answer.status_code}", where=self._url)
        text: str = answer.json()["schema"]
        return text

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
