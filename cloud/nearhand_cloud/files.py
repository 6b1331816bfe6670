"""Static files, with ranges that can be resumed."""

from __future__ import annotations

import re
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from nearhand_cloud.refusal import RefusalError

_ONE_RANGE = re.compile(rb"bytes=(\d{1,18}-\d{0,18}|-\d{1,18})")


class Files:
    """Serves the files of a folder, and nothing outside of it.

    Args:
        folder: may be a link itself; links inside it that lead out of it are not followed. None: there are no files.
    """

    def __init__(self, folder: Path | None) -> None:
        self._static = None if folder is None else StaticFiles(directory=folder)

    async def answer(self, request: Request) -> Response:
        """The file that the path names.

        Raises:
            RefusalError: there is none.
        """
        path = request.path_params["path"]
        # More than one range is not worth the work that it makes: such a header is ignored, as RFC 9110 allows.
        scope = request.scope
        headers = scope["headers"]
        ranges = [value for name, value in headers if name == b"range"]
        if ranges and not (len(ranges) == 1 and _ONE_RANGE.fullmatch(ranges[0].strip())):
            scope["headers"] = [each for each in headers if each[0] != b"range"]  # what sends the file reads them
        try:
            if self._static is not None and path.isprintable():
                return await self._static.get_response(path, scope)
        except (HTTPException, OSError, ValueError):  # no such file, a name that no file can have, or not readable
            pass
        raise RefusalError(404, "no-file", "there is no such file", "ask for a file that was published")
