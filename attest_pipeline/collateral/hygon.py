"""Hygon's certificate service: HSK and CEK of a chip, by its serial number.

Source: hygon-devkit and csv-rs (`https://cert.hygon.cn/hsk_cek?snumber=`). The certificates have no dates and name no
chip, so a wrong chip shows only when its PEK does not verify.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from attest_pipeline.collateral.recipes import (
    CERTIFICATES,
    BadCollateral,
    Documents,
    Facts,
    Request,
    Response,
    only,
)
from attest_pipeline.collateral.records import FOREVER
from attest_pipeline.errors import BadEvidence
from attest_pipeline.model import EndorsementKind
from attest_pipeline.verifiers.csv.abi import CA_CERT, CSV_CERT
from attest_pipeline.verifiers.csv.roots import trusted_roots
from attest_pipeline.verifiers.csv.verify import prove_chip

SITE: Final = "hygon"
_KEY: Final = re.compile(r"[0-9a-z]{1,64}")


class HygonChip:
    """Recipe for `hygon-hsk-cek/<serial number>`, which Hygon writes in capitals."""

    vendor = "hygon"
    lifetime = CERTIFICATES

    def __init__(self, trust_anchors: Mapping[str, tuple[bytes, ...]]) -> None:
        self._roots = trusted_roots(trust_anchors)

    def needs(self, key: str) -> tuple[str, ...]:  # noqa: ARG002 - the contract
        """Nothing: the root is pinned."""
        return ()

    def requests(self, key: str) -> tuple[Request, ...]:
        """Both certificates of the chip in one answer."""
        if not _KEY.fullmatch(key):
            raise BadCollateral(f"no serial number of Hygon: {key[:80]!r}")
        return (Request(SITE, f"hsk_cek?snumber={key.upper()}"),)

    def documents(self, key: str, responses: Sequence[Response]) -> Documents:
        """The answer as it is."""
        return {f"{EndorsementKind.HYGON_HSK_CEK}/{key}": (only(response.body for response in responses),)}

    def facts(self, key: str, documents: tuple[bytes, ...], needed: Documents, now: datetime) -> Facts:  # noqa: ARG002 - the contract
        """Signed by the root, one by the other."""
        data = only(documents)
        if len(data) != CA_CERT + CSV_CERT:
            raise BadCollateral(f"certificates of HSK and CEK in {len(data)} bytes")
        try:
            prove_chip(data, self._roots)
        except BadEvidence as error:
            raise BadCollateral(str(error)) from None
        return Facts(datetime.fromtimestamp(0, UTC), datetime.fromtimestamp(FOREVER, UTC))
