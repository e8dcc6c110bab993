"""A webhook to post notifications to: a real HTTP server on loopback that remembers."""

import json
from http.server import BaseHTTPRequestHandler, HTTPServer


class Webhook(HTTPServer):
    """A real HTTP server on loopback that keeps what is posted to it."""

    status = 200

    def __init__(self) -> None:
        self.posts: list[tuple[str, str, dict[str, str]]] = []
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook/secret-token"


class Handler(BaseHTTPRequestHandler):
    """Answers with the server's status."""

    server: Webhook

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.posts.append((self.path, self.headers["Content-Type"], body))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Keep the test's output quiet."""
