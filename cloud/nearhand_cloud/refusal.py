"""What the endpoint answers instead of doing what was asked."""

from __future__ import annotations

from nearhand.errors import NearhandError


class RefusalError(NearhandError):
    """A request is not acted on. Nothing of it has been stored.

    Args:
        status: the HTTP status, 4xx or 503.
        code: a word for programs, such as ``"write-key"``.
        problem: one line for people.
        remedy: what to do next.
        retry_after_s: after how many seconds it may be tried again; None: not worth trying.
        close: whether the connection ends with the answer, because the rest of the body was not read.
    """

    def __init__(
        self,
        status: int,
        code: str,
        problem: str,
        remedy: str,
        *,
        retry_after_s: int | None = None,
        close: bool = False,
    ) -> None:
        super().__init__(problem, remedy=remedy)
        self.status = status
        self.code = code
        self.retry_after_s = retry_after_s
        self.close = close


class UnavailableError(NearhandError):
    """A sink, or what remembers which events are stored, did not do its part. What was asked may be asked again."""


def erased_install() -> RefusalError:
    return RefusalError(403, "erased", "this install id was erased", "take a new install id")


def wrong_install_key() -> RefusalError:
    return RefusalError(
        403,
        "install-key",
        "the header X-Nearhand-Install-Key is not the key that this install id was first seen with",
        "send 64 hexadecimal digits, the same for every request of an install",
    )
