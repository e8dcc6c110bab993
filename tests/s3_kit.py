"""A real S3 API (moto) on loopback, which can go away in the middle of a request and come back with what it held."""

import socket
import threading
from contextlib import suppress
from typing import Any

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import ThreadedWSGIServer


class S3Server:
    """A server whose buckets live as long as this process."""

    def __init__(self) -> None:
        self._port = 0
        self.start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def variables(self, bucket: str) -> dict[str, str]:
        """The settings under which everything that can be on S3 is in a bucket of this server."""
        return {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
            "LAKEHOUSE_S3_ENDPOINT_URL": self.endpoint,
            "LAKEHOUSE_LAKE_URI": f"s3://{bucket}/lake",
            "LAKEHOUSE_LANDING_URI": f"s3://{bucket}/landing",
            "LAKEHOUSE_FILES_URI": f"s3://{bucket}/files",
        }

    def client(self, service: str = "s3") -> Any:
        """boto3's client of it."""
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
        return boto3.client(service, endpoint_url=self.endpoint, **keys)

    def start(self) -> None:
        """Listen, from the second time on at the same port."""
        self._server = _Server("127.0.0.1", self._port, DomainDispatcherApplication(create_backend_app))
        self._port = self._server.port
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Cut every connection, and accept none."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        for connection in list(self._server.connections):
            with suppress(OSError):  # it has just ended by itself
                connection.shutdown(socket.SHUT_RDWR)


class _Server(ThreadedWSGIServer):
    def __init__(self, host: str, port: int, app: DomainDispatcherApplication) -> None:
        self.connections: set[socket.socket] = set()
        super().__init__(host, port, app, handler=_Quiet)

    def process_request(self, request: socket.socket, client_address: object) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: socket.socket) -> None:
        self.connections.discard(request)
        super().shutdown_request(request)


class _Quiet(MotoRequestHandler):
    def log(self, *_: object) -> None:
        """Nothing: a failing test would print every request."""
