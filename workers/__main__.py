"""`python -m workers KIND`: one worker kind in this process."""

import asyncio
import gc
import importlib
import os
import sys
from typing import Final

from attest_pipeline.adapters.config_store import ConfigStore
from attest_pipeline.adapters.nats_bus import NatsBus
from attest_pipeline.errors import AttestationError, Misconfigured
from workers import _process, _settings

KINDS: Final = ("all", "appraise", "bell", "collateral", "config", "match", "parse", "sign", "webhook")
_USAGE: Final = 2
_INFRASTRUCTURE: Final = 4


async def _main(kind: str, settings: _settings.Settings) -> None:
    module = importlib.import_module(f"workers.{kind}")
    _collect_seldom()
    bus = await NatsBus.connect(settings.nats_url, credentials=settings.credentials, name=kind)
    process = _process.Process(settings=settings, bus=bus, configs=ConfigStore(bus), stopping=asyncio.Event())
    await _process.run_until_told(process, module.run)


def _collect_seldom() -> None:
    """Look for garbage in cycles seldom: messages leave none behind, and modules and configuration stay."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def main(arguments: list[str]) -> int:
    """Run the worker kind that the arguments name. Exit codes: 0 drained, 2 usage or settings, 4 infrastructure."""
    if len(arguments) != 1 or arguments[0] not in KINDS:
        print(f"usage: python -m workers {'|'.join(KINDS)}", file=sys.stderr)
        return _USAGE
    try:
        settings = _settings.from_environment(os.environ)
    except AttestationError as error:
        print(error, file=sys.stderr)
        return _USAGE
    _process.set_up_logging(settings.log_level)
    code = 0
    try:
        asyncio.run(_main(arguments[0], settings))
    except* AttestationError as group:  # alone, or out of the task groups of `parse`
        first = _first(group)
        print(first, file=sys.stderr)
        code = _USAGE if isinstance(first, Misconfigured) else _INFRASTRUCTURE
    return code


def _first(error: Exception) -> Exception:
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
