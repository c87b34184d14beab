"""How often a vendor may be asked: a token bucket that makes callers wait, and never turns one away."""

from msgspec import Struct


class Rate(Struct, frozen=True, forbid_unknown_fields=True):
    """Requests that a vendor grants: one each `interval` seconds, and up to `burst` at once after a pause."""

    interval: float
    burst: int = 1


class Budget:
    """What is left of a vendor's rate. `now` is seconds of any one clock."""

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._tokens = float(rate.burst)
        self._counted_at = 0.0
        self._paused_until = 0.0

    def wait(self, now: float) -> float:
        """Seconds until the next request may go; 0 if it may go now."""
        self._count(now)
        missing = max(0.0, 1.0 - self._tokens) * self._rate.interval
        return max(missing, self._paused_until - now, 0.0)

    def spend(self, now: float) -> None:
        """A request goes."""
        self._count(now)
        self._tokens -= 1.0

    def pause(self, until: float) -> None:
        """The vendor asked for silence (429 with Retry-After)."""
        self._paused_until = max(self._paused_until, until)

    def estimate(self, now: float, queued: int) -> float:
        """Seconds until that many requests that wait already will have gone."""
        return self.wait(now) + queued * self._rate.interval

    def _count(self, now: float) -> None:
        grown = max(0.0, now - self._counted_at) / self._rate.interval
        self._tokens = min(float(self._rate.burst), self._tokens + grown)
        self._counted_at = now  # also if the clock was set back: else nobody would be asked until it is there again
