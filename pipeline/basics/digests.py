"""Digests of plain values, and what file names hold of them."""

from __future__ import annotations

import hashlib
import json
from typing import Any

_KEY_IN_NAME = 12  # hex digits: enough to keep the versions of one video's artifact apart


def json_digest(value: Any) -> str:
    """BLAKE2b-160 of a JSON-able value, keys sorted."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=20).hexdigest()


def short_key(key: str) -> str:
    """What names of files hold of a key."""
    return key[:_KEY_IN_NAME]
