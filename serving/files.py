"""Files for people (reports, catalogue), sent from wherever they are kept; only what a listing shows is served."""

import logging
import mimetypes
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import format_datetime

from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from lake.files import File, Folder
from lake.settings import Settings
from serving.answers import not_modified
from serving.problems import ProblemError

logger = logging.getLogger(__name__)


class PublicFolder:
    """A folder whose files anybody may read: neither a link nor a path with `..` leads out of it."""

    def __init__(self, uri: str, settings: Settings) -> None:
        self._folder = Folder(uri, settings)

    def files(self) -> dict[str, File]:
        """Its files by path."""
        with self._reachable():
            return self._folder.files()

    def answer(self, request: Request, path: str, missing: str) -> Response:
        """The file in chunks, or 304 where the client has it; 404 with the detail `missing` where there is none."""
        file = self.files().get(path)
        if file is None:
            raise ProblemError(404, missing)
        tag = file.tag.strip('"')
        etag = f'"{tag}-{file.size:x}-{int(file.modified.timestamp() * 1e6):x}"'
        headers = {
            "ETag": etag,
            "Last-Modified": format_datetime(file.modified, usegmt=True),
            "Cache-Control": "private, no-cache",
        }
        if not_modified(request, etag, file.modified):
            return Response(status_code=304, headers=headers)
        try:
            with self._reachable():
                chunks = self._folder.chunks(path)
        except FileNotFoundError as error:  # deleted since it was listed
            raise ProblemError(404, missing) from error
        return StreamingResponse(chunks, headers=headers, media_type=mimetypes.guess_type(path)[0])

    @contextmanager
    def _reachable(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except Exception as error:  # whatever a store raises
            logger.warning("%s cannot be read: %s", self._folder.uri, error)
            raise ProblemError(503, f"{self._folder.uri} cannot be read now ({type(error).__name__}).") from error
