"""bell: rings the epochs. Every period each tenant gets a signed marker with the ticks that are still open."""

import logging
import secrets
from typing import Final

from attest_pipeline import subjects
from attest_pipeline.adapters.file_signer import FileSigner
from attest_pipeline.errors import Misconfigured, NotFound
from attest_pipeline.freshness import TICK_BYTES, Tick, decode_marker, encode_marker
from attest_pipeline.jws import BadToken
from attest_pipeline.ports import Record
from workers._process import Process

_OPEN_TICKS: Final = 12
"""Ticks a marker carries: Evidence that waited in the queue is still judged by the epoch it was received in."""
_AHEAD: Final = 1
"""Epochs that a clock which was set back a little may have rung before their time; later ones would outlive the rest of
the marker, and agents attest over the newest."""
_PATIENCE: Final = 5.0
"""Seconds for the server to answer, after which the process ends and is started again."""
_log: Final = logging.getLogger(__name__)


async def run(process: Process) -> None:
    """Ring until the bus drains. One bell for a site: epochs must grow."""
    signer = FileSigner.load(process.settings.path("bell_key"))
    tenants = [name for name in process.settings.tenants.split(",") if name]
    if not tenants:
        raise Misconfigured("set ATTEST_TENANTS: the bell rings for the tenants it is told")
    period = process.settings.epoch_seconds
    while not process.stopping.is_set():
        now = process.clock()
        for tenant in tenants:
            await ring(process, signer, tenant, int(now), period)
        await process.sleep(period - now % period)


async def ring(process: Process, signer: FileSigner, tenant: str, now: int, period: int) -> None:
    """Store the marker of the epoch that `now` lies in; each tick is open for its epoch and the next."""
    epoch = now // period
    last = await _open_ticks(process, signer, tenant)
    ticks = {number: tick for number, tick in last.items() if number <= epoch + _AHEAD}
    if epoch not in ticks:
        start = epoch * period
        ticks[epoch] = Tick(tenant, epoch, secrets.token_bytes(TICK_BYTES), start, start + 2 * period - 1)
    kept = [ticks[number] for number in sorted(ticks)[-_OPEN_TICKS:]]
    record = Record(
        subject=subjects.epoch(tenant),
        data=encode_marker(kept, signer),
        message_id=f"epoch-{tenant}-{epoch}-{ticks[epoch].tick.hex()}",
    )
    await process.bus.store([record])


async def _open_ticks(process: Process, signer: FileSigner, tenant: str) -> dict[int, Tick]:
    """Ticks of the last marker; none if there is no marker, or the bell has another key than before.

    Raises Unavailable if that is not known: a second tick for an epoch would make liars of all who attested over the
    first.
    """
    try:
        last = await process.bus.request(subjects.last_epoch(tenant), b"", timeout=_PATIENCE)
    except NotFound:
        return {}
    try:
        return decode_marker(last.data, [signer.public_jwk()], tenant)
    except BadToken as error:
        _log.warning("last epoch marker ignored", extra={"tenant": tenant, "why": str(error)})
        return {}
