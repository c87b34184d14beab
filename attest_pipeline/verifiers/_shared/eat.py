"""Entity Attestation Tokens in CBOR (RFC 9711): claims sets with typed access, and collections of tokens (RFC 9999)."""

from collections.abc import Callable, Mapping
from typing import Final, TypeVar

import cbor2

from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.verifiers._shared import cbor

MAX_TEXT: Final = 512
_TAG_LEGACY: Final = 399
_TAG_CMW: Final = 907
_COLLECTION_TYPE: Final = "__cmwc_t"
_EAT_CWT: Final = 263
"""CoAP content format of `application/eat+cwt`."""
_EAT_CWT_TEXT: Final = "application/eat+cwt"
_INDICATOR_EVIDENCE: Final = 4
_MAPS: Final = (cbor.Map, dict)
_T = TypeVar("_T")
Label = int | str


class ClaimsSet:
    """The claims of one token, read by label; a claim of the wrong type or size is malformed.

    `what` names the token in error messages.
    """

    def __init__(self, claims: object, what: str) -> None:
        """Wrap a decoded map. Raises BadEvidence(MALFORMED) for anything else."""
        if not isinstance(claims, _MAPS):
            raise BadEvidence(Reason.MALFORMED, f"{what} is no claims set")
        self._claims: Mapping[object, object] = claims
        self._what = what

    def __contains__(self, label: Label) -> bool:
        """Whether there is such a claim."""
        return label in self._claims

    def octets(self, label: Label, sizes: range | frozenset[int]) -> bytes:
        """A byte string of an admitted size."""
        value = self._claims.get(label)
        if not isinstance(value, bytes) or len(value) not in sizes:
            raise self._malformed(label)
        return value

    def text(self, label: Label) -> str:
        """A text of at most MAX_TEXT characters, without the NULs that some firmware pads it with."""
        value = self._claims.get(label)
        if not isinstance(value, str) or len(value) > MAX_TEXT:
            raise self._malformed(label)
        return value.rstrip("\0")

    def integer(self, label: Label, admitted: range) -> int:
        """An integer in a range."""
        value = self._claims.get(label)
        if type(value) is not int or value not in admitted:
            raise self._malformed(label)
        return value

    def boolean(self, label: Label) -> bool:
        """A truth value."""
        value = self._claims.get(label)
        if not isinstance(value, bool):
            raise self._malformed(label)
        return value

    def array(self, label: Label, sizes: range) -> tuple[object, ...]:
        """An array of an admitted number of elements."""
        value = self._claims.get(label)
        if not isinstance(value, tuple) or len(value) not in sizes:
            raise self._malformed(label)
        return value

    def optional(self, read: Callable[[Label], _T], label: Label) -> _T | None:
        """The claim as `read` gives it, or None if it is absent."""
        return read(label) if label in self._claims else None

    def _malformed(self, label: Label) -> BadEvidence:
        return BadEvidence(
            Reason.MALFORMED, f"claim {label} of the {self._what} is absent or of the wrong type or size"
        )


def read_collection(data: bytes) -> dict[int, bytes]:
    """Tokens of a collection by integer label, in any of three forms: tag 399 (byte strings), tag 907 or no tag (CMW).

    Tokens under text labels and CMW records of other types than EAT in CWT are refused. Raises
    BadEvidence(MALFORMED | TOO_LARGE).
    """
    match cbor.decode(data, tags=frozenset({_TAG_LEGACY, _TAG_CMW})):
        case cbor2.CBORTag(tag=399, value=cbor.Map() as entries):
            read = _bare_token
        case cbor2.CBORTag(tag=907, value=cbor.Map() as entries) | (cbor.Map() as entries):
            read = _cmw_record
        case _:
            raise BadEvidence(Reason.MALFORMED, "no collection of tokens")
    return {_label(label): read(entry) for label, entry in entries.items() if label != _COLLECTION_TYPE}


def _label(label: object) -> int:
    if isinstance(label, int):
        return label
    raise BadEvidence(Reason.MALFORMED, "token under a text label")


def _bare_token(entry: object) -> bytes:
    if isinstance(entry, bytes):
        return entry
    raise BadEvidence(Reason.MALFORMED, "token is not wrapped in a byte string")


def _cmw_record(entry: object) -> bytes:
    """Value of a CMW record `[type, value, ?indicator]` (RFC 9999 section 3.1) that holds an EAT as Evidence."""
    match entry:
        case (kind, bytes(value)) | (kind, bytes(value), 4) if _is_eat(kind):
            return value
        case _:
            raise BadEvidence(Reason.MALFORMED, "no CMW record of an EAT")


def _is_eat(kind: object) -> bool:
    return kind == _EAT_CWT or (isinstance(kind, str) and kind.partition(";")[0].strip() == _EAT_CWT_TEXT)
