"""The buckets that replicas share, in Redis."""

from __future__ import annotations

from redis.exceptions import RedisError

from nearhand_cloud.refusal import UnavailableError
from nearhand_cloud.sinks.redis_ledger import connected

# As MemoryLimiter counts: when the bucket will be full again, in microseconds by the time of Redis.
# KEYS: install. ARGV: microseconds between tokens, tokens of a full bucket.
_SCRIPT = """
local t = redis.call('TIME') local now = t[1] * 1000000 + t[2]
local full_at = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now) + ARGV[1]
local wait = full_at - now - ARGV[1] * ARGV[2]
if wait > 0 then return wait end
redis.call('SET', KEYS[1], string.format('%d', full_at), 'PX', math.ceil((full_at - now) / 1000))
return 0
"""


class RedisLimiter:
    """See :class:`nearhand_cloud.limiter.Limiter`.

    Args:
        url: where Redis is.
        prefix: what the names of all keys begin with.
        rate: tokens per second that come back.
        burst: tokens of a full bucket.
    """

    def __init__(self, url: str, prefix: str, rate: float, burst: int) -> None:
        self._redis = connected(url)
        self._prefix = prefix
        self._arguments = (round(1e6 / rate), burst)
        self._script = self._redis.register_script(_SCRIPT)

    async def wait_s(self, install: bytes) -> float:
        """See :meth:`Limiter.wait_s`."""
        try:
            wait: int = await self._script(keys=[f"{self._prefix}rate:{install.hex()}"], args=self._arguments)
        except (RedisError, OSError) as error:
            raise UnavailableError(str(error), place="Redis", remedy="look at Redis and the way to it") from error
        return wait / 1e6

    async def close(self) -> None:
        """See :meth:`Limiter.close`."""
        await self._redis.aclose()
