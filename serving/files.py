"""Files for people (reports, catalogue), served from wherever they are kept; only what a listing shows is served."""

import logging
import mimetypes
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime

from fastapi import Response

from lake.files import Folder
from lake.settings import Settings
from serving.problems import ProblemError

logger = logging.getLogger(__name__)


class PublicFolder:
    """A folder whose files anybody may read: neither a link nor a path with `..` leads out of it."""

    def __init__(self, uri: str, settings: Settings) -> None:
        self._folder = Folder(uri, settings)

    def files(self) -> dict[str, datetime]:
        """Its files by path, each with when it was written."""
        with self._reachable():
            return {path: file.modified for path, file in self._folder.files().items()}

    def answer(self, path: str, missing: str) -> Response:
        """The file as an answer; 404 with the detail `missing` where there is none."""
        content = None
        if path in self.files():
            with self._reachable(), suppress(FileNotFoundError):  # deleted since it was listed
                content = self._folder.read(path)
        if content is None:
            raise ProblemError(404, missing)
        return Response(content, media_type=mimetypes.guess_type(path)[0])

    @contextmanager
    def _reachable(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # whatever a store raises
            logger.warning("%s cannot be read: %s", self._folder.uri, error)
            raise ProblemError(503, f"{self._folder.uri} cannot be read now ({type(error).__name__}).") from error
