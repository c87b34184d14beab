"""What a vendor's recipe is: how a reference becomes requests, and answers become documents that are proven.

No recipe follows a URL that Evidence or a document names: a request is a path below an address that the operator
configured, made of key parts that a pattern admits.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple, Protocol

from cryptography import x509
from msgspec import Struct

from attest_pipeline.collateral.records import FOREVER, WEEK, Lifetime
from attest_pipeline.model import EndorsementKind
from attest_pipeline.verifiers._shared.x509 import PARSE_ERRORS, quiet

_NAME: Final = re.compile(r"[a-z0-9-]{1,32}(/[A-Za-z0-9_][A-Za-z0-9_.-]*){1,6}")
_MAX_NAME: Final = 400
_HEX: Final = re.compile(rb"[0-9A-Fa-f]+")
_PARSED_LATE: Final = ("issuer", "extensions", "last_update_utc")


class BadCollateral(Exception):
    """An answer that must not be believed: not what was asked for, not proven, or not current."""


class NotThere(Exception):
    """The vendor says that there is no such collateral."""


class Request(Struct, frozen=True):
    """A GET of `path` (with query) below the address configured for `site`, or a POST of a body of that type."""

    site: str
    path: str
    body: bytes = b""
    media_type: str = ""


class Response(Struct, frozen=True):
    """A whole answer of status 200; header names are lower-case."""

    headers: Mapping[str, str]
    body: bytes


class Facts(NamedTuple):
    """What proven documents say of themselves: their common window and versions (see `Record`)."""

    valid_from: datetime
    valid_until: datetime
    sequence: tuple[int, ...] = ()


Documents = Mapping[str, tuple[bytes, ...]]
"""Reference name → documents."""


class Recipe(Protocol):
    """How one kind of Endorsement is had. `vendor` names its rate budget and its metrics."""

    vendor: str
    lifetime: Lifetime

    def needs(self, key: str) -> tuple[str, ...]:
        """Names of the records that a proof of this one stands on."""
        ...

    def requests(self, key: str) -> tuple[Request, ...]:
        """What to ask; nothing if no vendor serves that key."""
        ...

    def documents(self, key: str, responses: Sequence[Response]) -> Documents:
        """Documents in the answers, perhaps of further references.

        Raises BadCollateral, NotThere if the answer says that, or Unavailable if it says to come again.
        """
        ...

    def facts(self, key: str, documents: tuple[bytes, ...], needed: Documents, now: datetime) -> Facts:
        """Prove that these are the documents of that key and current at `now`. Raises BadCollateral."""
        ...


class Unserved:
    """Kinds that no vendor serves on the network: they come from the operator, as those of a tenant's configuration."""

    vendor = "operator"
    lifetime = Lifetime(refresh_after=FOREVER, stale_after=FOREVER)

    def needs(self, key: str) -> tuple[str, ...]:  # noqa: ARG002 - the contract
        """Nothing."""
        return ()

    def requests(self, key: str) -> tuple[Request, ...]:  # noqa: ARG002 - the contract
        """Nothing."""
        return ()

    def documents(self, key: str, responses: Sequence[Response]) -> Documents:
        """Never called: nothing is asked."""
        raise BadCollateral(f"{len(responses)} answers for {key}, for which nothing was asked")

    def facts(self, key: str, documents: tuple[bytes, ...], needed: Documents, now: datetime) -> Facts:  # noqa: ARG002 - the contract
        """The operator's word counts, for ever."""
        return Facts(datetime.fromtimestamp(0, now.tzinfo), datetime.fromtimestamp(FOREVER, now.tzinfo))


def split_name(name: str) -> tuple[EndorsementKind, str]:
    """Kind and key of a reference name. Raises BadCollateral unless it is one, made of plain words."""
    kind, _, key = name.partition("/")
    if len(name) > _MAX_NAME or not _NAME.fullmatch(name) or kind not in set(EndorsementKind):
        raise BadCollateral(f"no name of an Endorsement: {name[:80]!r}")
    return EndorsementKind(kind), key


def check_current(facts: Facts, now: datetime) -> Facts:
    """The same facts. Raises BadCollateral unless they hold at `now`."""
    if not facts.valid_from <= now < facts.valid_until:
        raise BadCollateral(f"holds from {facts.valid_from:%Y-%m-%d %H:%M} to {facts.valid_until:%Y-%m-%d %H:%M} only")
    return facts


def only(documents: Iterable[bytes]) -> bytes:
    """The only document. Raises BadCollateral."""
    found = tuple(documents)
    if len(found) != 1:
        raise BadCollateral(f"{len(found)} documents where one belongs")
    return found[0]


@quiet()
def load_crl(data: bytes) -> x509.CertificateRevocationList:
    """CRL out of DER, PEM, or DER in hexadecimal (as PCCS sends it), all that is read of it parsed.

    Raises BadCollateral.
    """
    text = data.strip()
    try:
        if text.startswith(b"-----BEGIN"):
            crl = x509.load_pem_x509_crl(text)
        else:
            crl = x509.load_der_x509_crl(bytes.fromhex(text.decode()) if _HEX.fullmatch(text) else data)
        for part in _PARSED_LATE:
            getattr(crl, part)
    except PARSE_ERRORS as error:
        raise BadCollateral(f"no CRL: {str(error)[:80]}") from None
    return crl


def crl_number(crl: x509.CertificateRevocationList) -> int:
    """CRL number (RFC 5280, 5.2.3), or the time of issue where there is none: either grows."""
    try:
        return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except x509.ExtensionNotFound:
        return int(crl.last_update_utc.timestamp())


CERTIFICATES: Final = Lifetime(refresh_after=4 * WEEK, stale_after=FOREVER)
"""Certificates do not age within their window."""
