from __future__ import annotations

import pytest

from sinks.redact import redacted


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://u:secret@h/db",
        "at http://u:se:cret@h:1, then",
        "host=h password=secret user=u",
        "host=h password='sec ret' user=u",
        "postgresql://h/db?user=u&password=secret&x=1",
        "http://h/?api_key=secret",
    ],
)
def test_passwords_go(text: str) -> None:
    safe = redacted(text)
    assert "sec" not in safe
    assert "cret" not in safe
    assert "*****" in safe


def test_other_texts_stay() -> None:
    for text in ("postgresql://u@h/db", "cdc.shop.orders-0@17", "a: b @ c"):
        assert redacted(text) == text
