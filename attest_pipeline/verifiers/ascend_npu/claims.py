"""Claims of a proven host, and of the firmware that it gave its NPUs."""

import msgspec

from attest_pipeline.model import Claims, FieldValue
from attest_pipeline.verifiers.ascend_npu.abi import Components


def with_firmware(host: Claims, components: Components, binding: str) -> Claims:
    """The host's claims, and `firmware:<path>` for every component; `binding` says what binds their list.

    A component that was measured with several digests shows all of them, joined by commas in their order: no
    Reference Value is equal to that by accident, so a later digest never hides an earlier one.
    """
    firmware = {f"firmware:{path}": digests for path, digests in components.items()}
    fields: dict[str, FieldValue] = {
        **host.fields,
        **firmware,
        "firmware_components": len(firmware),
        "binding": binding,
    }
    return msgspec.structs.replace(
        host,
        measurements={**host.measurements, **firmware},
        fields=fields,
        checks=(*host.checks, "firmware_list"),
    )
