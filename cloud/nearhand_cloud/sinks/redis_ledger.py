"""The ledger that replicas share, in Redis. Each step is one script, which Redis executes as a whole or not at all."""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable, Sequence
from hashlib import sha256
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from nearhand_cloud.events import install_digest, message_digest
from nearhand_cloud.refusal import UnavailableError, erased_install, wrong_install_key
from nearhand_cloud.sinks import rows
from nearhand_cloud.sinks.ledger import Lapsed, Place, claimed_elsewhere
from nearhand_cloud.sinks.sink import Erasure

_TIMEOUT_S = 2.0
_AT_ONCE = 10_000
# A claim in the sorted set of all claims: the install, the event, its place and the token.
_CLAIM = struct.Struct(">32s16sIQ8s")
_NOW = "local t = redis.call('TIME') local now = t[1] * 1000 + math.floor(t[2] / 1000)\n"

# KEYS: install, seen, claims of the install, claims of all. ARGV: key, lease, days, then event and claim in turn.
_CLAIM_SCRIPT = (
    _NOW
    + """
local known = redis.call('HMGET', KEYS[1], 'key', 'erased')
if known[2] then return 'erased' end
if known[1] and known[1] ~= ARGV[1] then return 'key' end
local messages = {}
for i = 4, #ARGV, 2 do messages[#messages + 1] = ARGV[i] end
for _, claim in ipairs(redis.call('HMGET', KEYS[3], unpack(messages))) do
    if claim then return 'busy' end
end
if not known[1] then redis.call('HSET', KEYS[1], 'key', ARGV[1]) end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - ARGV[3])
local fresh = {}
for i, score in ipairs(redis.call('ZMSCORE', KEYS[2], unpack(messages))) do
    if not score then
        fresh[#fresh + 1] = messages[i]
        redis.call('HSET', KEYS[3], messages[i], ARGV[3 + 2 * i])
        redis.call('ZADD', KEYS[4], now + ARGV[2], ARGV[3 + 2 * i])
    end
end
return fresh
"""
)
# KEYS: the same. ARGV: token, days, how many are done, then the events, those that are done first.
_SETTLE_SCRIPT = (
    _NOW
    + """
for i = 4, #ARGV do
    local claim = redis.call('HGET', KEYS[3], ARGV[i])
    if claim and string.sub(claim, -8) == ARGV[1] then
        redis.call('HDEL', KEYS[3], ARGV[i])
        redis.call('ZREM', KEYS[4], claim)
    end
    if i - 3 <= tonumber(ARGV[3]) then redis.call('ZADD', KEYS[2], now, ARGV[i]) end
end
if tonumber(ARGV[3]) > 0 then redis.call('PEXPIRE', KEYS[2], ARGV[2]) end
"""
)
_LAPSED_SCRIPT = _NOW + "return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])"
# KEYS: the same. ARGV: days, then the events; none: all of the install.
_ERASE_SCRIPT = (
    _NOW
    + """
if #ARGV == 1 then
    if redis.call('EXISTS', KEYS[3]) == 1 then return 'busy' end
    redis.call('HSET', KEYS[1], 'erased', now)
    return redis.call('ZCARD', KEYS[2])
end
local count = 0
for i = 2, #ARGV do
    if redis.call('HEXISTS', KEYS[3], ARGV[i]) == 1 then return 'busy' end
end
for i = 2, #ARGV do
    if redis.call('ZADD', KEYS[2], now, ARGV[i]) == 0 then count = count + 1 end
end
redis.call('PEXPIRE', KEYS[2], ARGV[1])
return count
"""
)
# KEYS: install. ARGV: key.
_ADMIT_SCRIPT = """
local known = redis.call('HMGET', KEYS[1], 'key', 'erased', 'features')
if known[2] then return 'erased' end
if known[1] and known[1] ~= ARGV[1] then return 'key' end
if not known[1] then redis.call('HSET', KEYS[1], 'key', ARGV[1]) end
return {known[3]}
"""
# KEYS: install. ARGV: features, or nothing.
_PUT_SCRIPT = """
if redis.call('HEXISTS', KEYS[1], 'erased') == 1 then return 'erased' end
if #ARGV == 0 then redis.call('HDEL', KEYS[1], 'features')
else redis.call('HSET', KEYS[1], 'features', ARGV[1]) end
return {}
"""
_REFUSALS = {b"erased": erased_install, b"key": wrong_install_key, b"busy": claimed_elsewhere}


def connected(url: str) -> Redis:
    """A client that gives up soon and does not try again by itself: whether a script has run is then not known."""
    return Redis.from_url(
        url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S, retry=Retry(NoBackoff(), 0), protocol=2
    )


class RedisLedger:
    """See :class:`nearhand_cloud.sinks.ledger.Ledger`. The time is that of Redis, which all replicas share.

    Args:
        url: where Redis is.
        prefix: what the names of all keys begin with.
        lease_ms: how long a claim lasts.
        keep_ms: for how long it is remembered that an event is stored.
    """

    def __init__(self, url: str, prefix: str, *, lease_ms: int, keep_ms: int) -> None:
        self._redis = connected(url)
        self._prefix = prefix
        self._lease_ms = lease_ms
        self._keep_ms = keep_ms
        scripts = (_CLAIM_SCRIPT, _SETTLE_SCRIPT, _LAPSED_SCRIPT, _ERASE_SCRIPT, _ADMIT_SCRIPT, _PUT_SCRIPT)
        self._claim, self._settle, self._lapsed, self._erase, self._admit, self._put = (
            self._redis.register_script(script) for script in scripts
        )

    async def claim(
        self, install_id: str, install_key: bytes, messages: Sequence[bytes], place: Place, token: bytes
    ) -> Sequence[bytes]:
        """See :meth:`Ledger.claim`."""
        install = install_digest(install_id)
        arguments: list[bytes | int] = [install_key, self._lease_ms, self._keep_ms]
        for message in messages:
            arguments += (message, _CLAIM.pack(install, message, place.partition, place.floor, token))
        fresh: list[bytes] = await self._run(self._claim, self._keys(install), arguments)
        return fresh

    async def settle(self, install: bytes, token: bytes, *, done: Sequence[bytes], released: Sequence[bytes]) -> None:
        """See :meth:`Ledger.settle`."""
        await self._run(self._settle, self._keys(install), [token, self._keep_ms, len(done), *done, *released])

    async def lapsed(self) -> Sequence[Lapsed]:
        """See :meth:`Ledger.lapsed`."""
        found: list[bytes] = await self._run(self._lapsed, [f"{self._prefix}claims"], [_AT_ONCE])
        claims = map(_CLAIM.unpack, found)
        return [
            Lapsed(install, message, Place(partition, floor), token)
            for install, message, partition, floor, token in claims
        ]

    async def begin_erasure(self, erasure: Erasure) -> int:
        """See :meth:`Ledger.begin_erasure`."""
        install = install_digest(erasure.install_id)
        keys = self._keys(install)
        if await self._reached(lambda: self._redis.exists(self._nonce(erasure))):
            raise rows.replayed()
        key, erased = await self._reached(lambda: self._redis.hmget(keys[0], "key", "erased"))
        if key is None:
            await self._run(self._admit, keys[:1], [rows.first_key(erasure, is_erased=erased is not None)])
        else:
            rows.check_signature(key, erasure)
        messages = map(message_digest, erasure.event_ids or ())
        count: int = await self._run(self._erase, keys, [self._keep_ms, *dict.fromkeys(messages)])
        return count

    async def finish_erasure(self, erasure: Erasure) -> None:
        """See :meth:`Ledger.finish_erasure`."""
        install, seen, claims, _ = self._keys(install_digest(erasure.install_id))
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.set(self._nonce(erasure), 1, px=self._keep_ms)
            if erasure.event_ids is None:
                pipeline.hdel(install, "key", "features")
                pipeline.delete(seen, claims)
            await self._reached(pipeline.execute)

    async def features(self, install_id: str, install_key: bytes) -> str | None:
        """See :meth:`Ledger.features`."""
        keys = self._keys(install_digest(install_id))[:1]
        (text,) = await self._run(self._admit, keys, [install_key])
        return None if text is None else text.decode()

    async def put_features(self, install_id: str, text: str | None) -> None:
        """See :meth:`Ledger.put_features`."""
        await self._run(self._put, self._keys(install_digest(install_id))[:1], [] if text is None else [text])

    async def check(self) -> None:
        """See :meth:`Ledger.check`."""
        await self._reached(self._redis.ping)

    async def close(self) -> None:
        """See :meth:`Ledger.close`."""
        await self._redis.aclose()

    def _keys(self, install: bytes) -> list[str]:
        name = install.hex()
        return [f"{self._prefix}{kind}" for kind in (f"install:{name}", f"seen:{name}", f"claims:{name}", "claims")]

    def _nonce(self, erasure: Erasure) -> str:
        return f"{self._prefix}nonce:{sha256(erasure.nonce.encode()).hexdigest()}"

    async def _run(self, script: Any, keys: Sequence[str], arguments: Sequence[object]) -> Any:
        answer = await self._reached(lambda: script(keys=keys, args=arguments))
        if isinstance(answer, bytes):
            raise _REFUSALS[answer]()
        return answer

    async def _reached(self, call: Callable[[], Awaitable[Any]]) -> Any:
        try:
            return await call()
        except (RedisError, OSError) as error:
            raise UnavailableError(str(error), place="Redis", remedy="look at Redis and the way to it") from error
