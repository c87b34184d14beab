"""TCB info (v2, v3) and enclave identity (v2): the JSON that Intel signs, as typed values.

Source: Intel PCS API v4 (https://api.portal.trustedservices.intel.com), appendices "TCB info" and "Enclave identity".
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, Self, TypeVar

import msgspec
from msgspec import Meta, Struct, field

from attest_pipeline.errors import BadEvidence, Reason

Moment = Annotated[datetime, Meta(tz=True)]
Count = Annotated[int, Meta(ge=0, le=2**31)]
SVN_COUNT: Final = 16


class TcbStatus(StrEnum):
    """Intel's words for how current a TCB is. The last two are computed, not signed."""

    UP_TO_DATE = "UpToDate"
    SW_HARDENING_NEEDED = "SWHardeningNeeded"
    CONFIGURATION_NEEDED = "ConfigurationNeeded"
    CONFIGURATION_AND_SW_HARDENING_NEEDED = "ConfigurationAndSWHardeningNeeded"
    OUT_OF_DATE = "OutOfDate"
    OUT_OF_DATE_CONFIGURATION_NEEDED = "OutOfDateConfigurationNeeded"
    REVOKED = "Revoked"
    TD_RELAUNCH_ADVISED = "TDRelaunchAdvised"
    TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED = "TDRelaunchAdvisedConfigurationNeeded"


class Hex(bytes):
    """Bytes that the JSON writes in hexadecimal of either case."""

    __slots__ = ()

    @classmethod
    def of(cls, text: Any) -> Self:
        """Decode. Raises ValueError or TypeError."""
        return cls(bytes.fromhex(text))


class PlatformTcb:
    """The `tcb` of a TCB level: SVNs of the 16 SGX and (TDX only, else empty) 16 TDX components, and PCESVN."""

    __slots__ = ("pcesvn", "sgx", "tdx")

    def __init__(self, sgx: bytes, tdx: bytes, pcesvn: int) -> None:
        """Hold SVNs. Raises ValueError if there are not 16 of them."""
        if len(sgx) != SVN_COUNT or len(tdx) not in {0, SVN_COUNT}:
            raise ValueError("a TCB level has 16 component SVNs")
        self.sgx, self.tdx, self.pcesvn = sgx, tdx, pcesvn

    @classmethod
    def of(cls, tcb: Any) -> Self:
        """Read version 3 (component lists) or version 2 (a member for each). Raises ValueError or TypeError."""
        parts = msgspec.convert(tcb, _TcbMembers)
        if parts.sgxtcbcomponents is None:
            sgx = bytes(msgspec.convert(tcb.get(f"sgxtcbcomp{n:02}svn"), int) for n in range(1, SVN_COUNT + 1))
        else:
            sgx = bytes(component.svn for component in parts.sgxtcbcomponents)
        return cls(sgx, bytes(component.svn for component in parts.tdxtcbcomponents), parts.pcesvn)


class _Component(Struct):
    svn: Annotated[int, Meta(ge=0, le=255)]


class _TcbMembers(Struct):
    pcesvn: Count
    sgxtcbcomponents: tuple[_Component, ...] | None = None
    tdxtcbcomponents: tuple[_Component, ...] = ()


class TcbLevel(Struct, frozen=True, rename="camel"):
    """One TCB level of a platform, best first in its document."""

    tcb: PlatformTcb
    tcb_status: TcbStatus
    tcb_date: str
    advisories: tuple[str, ...] = field(name="advisoryIDs", default=())


class IsvSvn(Struct, frozen=True):
    """The `tcb` of an enclave or TDX module."""

    isvsvn: Count


class SvnLevel(Struct, frozen=True, rename="camel"):
    """One TCB level of an enclave or TDX module, best first in its document."""

    tcb: IsvSvn
    tcb_status: TcbStatus
    advisories: tuple[str, ...] = field(name="advisoryIDs", default=())


class TdxModule(Struct, frozen=True, rename="camel"):
    """Identity of the TDX module; without id and levels it stands for modules of version 0."""

    mrsigner: Hex
    attributes: Hex
    id: str = ""
    tcb_levels: tuple[SvnLevel, ...] = ()


class TcbInfo(Struct, frozen=True, eq=False, rename="camel"):
    """Signed TCB info of one FMSPC: version 3, or version 2 (SGX only, without `id`)."""

    version: Literal[2, 3]
    issue_date: Moment
    next_update: Moment
    fmspc: Hex
    pce_id: Hex
    tcb_type: Literal[0]
    tcb_evaluation_data_number: Count
    tcb_levels: Annotated[tuple[TcbLevel, ...], Meta(min_length=1)]
    id: Literal["SGX", "TDX"] = "SGX"
    tdx_module: TdxModule | None = None
    tdx_module_identities: tuple[TdxModule, ...] = ()


class EnclaveIdentity(Struct, frozen=True, eq=False, rename="camel"):
    """Signed identity of Intel's quoting enclave."""

    id: Literal["QE", "TD_QE"]
    version: Literal[2]
    issue_date: Moment
    next_update: Moment
    tcb_evaluation_data_number: Count
    miscselect: Hex
    miscselect_mask: Hex
    attributes: Hex
    attributes_mask: Hex
    mrsigner: Hex
    isvprodid: Count
    tcb_levels: Annotated[tuple[SvnLevel, ...], Meta(min_length=1)]


Document = TypeVar("Document", TcbInfo, EnclaveIdentity)


def _of(kind: type[Hex | PlatformTcb], value: Any) -> Hex | PlatformTcb:
    """Decode what msgspec does not know; it turns TypeError and ValueError into its own error."""
    return kind.of(value)


_TCB_INFO: Final = msgspec.json.Decoder(TcbInfo, dec_hook=_of)
_ENCLAVE_IDENTITY: Final = msgspec.json.Decoder(EnclaveIdentity, dec_hook=_of)


def read_tcb_info(text: bytes) -> TcbInfo:
    """TCB info out of the signed text. Raises BadEvidence(BAD_ENDORSEMENT)."""
    return _read(_TCB_INFO, text, "TCB info")


def read_enclave_identity(text: bytes) -> EnclaveIdentity:
    """Enclave identity out of the signed text. Raises BadEvidence(BAD_ENDORSEMENT)."""
    return _read(_ENCLAVE_IDENTITY, text, "QE identity")


def _read(decoder: "msgspec.json.Decoder[Document]", text: bytes, what: str) -> Document:
    try:
        return decoder.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadEvidence(Reason.BAD_ENDORSEMENT, f"{what}: {str(error)[:120]}") from None
