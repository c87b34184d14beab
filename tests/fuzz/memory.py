"""What the library remembers from one Evidence to the next, and how to make it forget."""

import gc
from collections.abc import Callable
from functools import _lru_cache_wrapper
from typing import Final

from attest_pipeline.verifiers._shared.recurring import Latest, Recurring

_OF_VERIFIERS: Final = ("attest_pipeline.verifiers", "attest_pipeline.crypto", "attest_pipeline.gm")


def memories(modules: tuple[str, ...] = _OF_VERIFIERS) -> list[Callable[[], None]]:
    """What empties each cache of the functions in those modules, and the memory of each reader."""
    gc.collect()
    found = gc.get_objects()
    caches = [one for one in found if isinstance(one, _lru_cache_wrapper)]
    ours = [cache.cache_clear for cache in caches if getattr(cache, "__module__", "").startswith(modules)]
    return [*ours, *(one.forget for one in found if isinstance(one, Latest | Recurring))]
