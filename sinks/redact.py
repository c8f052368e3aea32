"""Take passwords out of a text before anybody reads it."""

from __future__ import annotations

import re

HIDDEN = "*****"
_IN_URL = re.compile(r"(?P<head>\w+://[^\s:/@]*:)[^\s/]*(?=@)")
_IN_QUERY = re.compile(r"(?P<head>[?&](?:\w*password|api_?key|token)=)[^&\s]*", re.IGNORECASE)
_IN_DSN = re.compile(r"(?P<head>\b\w*password\s*=\s*)(?:'(?:[^'\\]|\\.)*'|[^\s&]+)", re.IGNORECASE)


def redacted(text: str) -> str:
    """Return a text with the passwords in its URLs and connection strings replaced."""
    for pattern in (_IN_URL, _IN_QUERY, _IN_DSN):
        text = pattern.sub(rf"\g<head>{HIDDEN}", text)
    return text
