"""Text of a JSON value as the C library cJSON prints it: what iTrustee signs instead of what it sends.

Source: DaveGamble/cJSON, cJSON.c (`print_object`, `print_string_ptr`), as firmware of "TEE.RA.1.0" uses it.
"""

import json
from typing import Final

from attest_pipeline.errors import BadEvidence, Reason

_MAX_DEPTH: Final = 8
_quoted: Final = json.JSONEncoder(ensure_ascii=False).encode
"""A text in quotes, escaped as cJSON does: quote, backslash and control characters, the last in lower-case digits."""


def render(value: object, depth: int = 0) -> str:
    """The value as `cJSON_Print` writes it: members in their order, tabs, a tab behind each colon.

    Reports hold objects and texts alone. Raises BadEvidence(MALFORMED) for anything else and for deep nesting.
    """
    if isinstance(value, str):
        return _quoted(value)
    if not isinstance(value, dict) or depth >= _MAX_DEPTH:
        raise BadEvidence(Reason.MALFORMED, "report holds something else than texts and a few objects")
    inner = "\t" * (depth + 1)
    members = [f"{inner}{_quoted(name)}:\t{render(member, depth + 1)}" for name, member in value.items()]
    return "{\n" + ",\n".join(members) + "\n" * bool(members) + "\t" * depth + "}"
