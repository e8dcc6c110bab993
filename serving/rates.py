"""How many requests each key may send: counted in this process, or in Redis for all of them together."""

import logging
import time

from limits import parse
from limits.aio import strategies as shared_strategies
from limits.errors import StorageError
from limits.storage import MemoryStorage, storage_from_string
from limits.strategies import FixedWindowRateLimiter

from lake.api import Access

_REDIS_SECONDS = 0.25
_RETRY_SECONDS = 5.0

logger = logging.getLogger(__name__)


class Rates:
    """Counts requests by whoever sends them. While Redis is away, each process counts for itself."""

    def __init__(self, access: Access) -> None:
        self._limit = parse(access.rate_limit) if access.rate_limit else None
        self._own = FixedWindowRateLimiter(MemoryStorage())
        self._shared: shared_strategies.FixedWindowRateLimiter | None = None
        self._away_until = 0.0
        if url := access.redis_url.get_secret_value():
            storage = storage_from_string(
                f"async+{url}",
                implementation="redispy",
                wrap_exceptions=True,
                socket_timeout=_REDIS_SECONDS,
                socket_connect_timeout=_REDIS_SECONDS,
            )
            self._shared = shared_strategies.FixedWindowRateLimiter(storage)

    async def seconds_to_wait(self, who: str) -> int:
        """Count a request; 0 when it may go on, else the seconds after which one may."""
        if self._limit is None:
            return 0
        if self._shared is not None and time.monotonic() > self._away_until:
            try:
                if await self._shared.hit(self._limit, who):
                    return 0
                return _seconds_until((await self._shared.get_window_stats(self._limit, who)).reset_time)
            except StorageError as error:
                logger.warning(
                    "Redis does not count requests: %s; this process does", type(error.storage_error).__name__
                )
                self._away_until = time.monotonic() + _RETRY_SECONDS
        if self._own.hit(self._limit, who):
            return 0
        return _seconds_until(self._own.get_window_stats(self._limit, who).reset_time)


def _seconds_until(reset_time: float) -> int:
    return max(1, int(reset_time - time.time()) + 1)
