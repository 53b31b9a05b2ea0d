"""A Kubernetes API server that knows rayjobs and nothing else, and an operator with a script."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import yaml

PREFIX = "/apis/ray.io/v1/namespaces/"
VERBS = {"POST": "create", "GET": "get", "DELETE": "delete"}


class FakeCluster:
    """What the server holds and was asked; each look at a job moves it one status on."""

    def __init__(self) -> None:
        self.jobs: dict[tuple[str, str], dict[str, Any]] = {}
        self.script: list[Any] = []
        """Statuses that a job shows, one a look; the last one stays. A number is an outage."""
        self.outages: list[int] = []
        """Answers to the next requests, in place of what they ask for."""
        self.deletions_take = 0
        """Looks that find a deleted job still going away."""
        self.requests: list[str] = []
        self.refusal: tuple[int, Any] | None = None
        """Answer to everything."""

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        """Return the status and content of the answer."""
        self.requests.append(VERBS[method])
        if self.outages:
            return _problem(self.outages.pop(0), "InternalError", "etcd is being restarted")
        if self.refusal:
            return self.refusal
        namespace, _, name = path.removeprefix(PREFIX).partition("/rayjobs")
        if method == "POST":
            return self._create(namespace, body)
        return self._existing(method, (namespace, name.lstrip("/")))

    def _existing(self, method: str, key: tuple[str, str]) -> tuple[int, Any]:
        if key not in self.jobs:
            return _problem(404, "NotFound", f'rayjobs.ray.io "{key[1]}" not found')
        if method == "DELETE":
            return self._delete(key)
        if self.script and isinstance(self.script[0], int):
            return _problem(self.script.pop(0), "InternalError", "etcd is being restarted")
        return self._look(key)

    def _create(self, namespace: str, body: Any) -> tuple[int, Any]:
        key = (namespace, body["metadata"]["name"])
        if key in self.jobs:
            return _problem(409, "AlreadyExists", f'rayjobs.ray.io "{key[1]}" already exists')
        self.jobs[key] = body
        return 201, body

    def _look(self, key: tuple[str, str]) -> tuple[int, Any]:
        job = self.jobs[key]
        if "deletionTimestamp" in job["metadata"]:
            self.deletions_take -= 1
            if self.deletions_take <= 0:
                del self.jobs[key]
        elif self.script:
            job["status"] = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        return 200, job

    def _delete(self, key: tuple[str, str]) -> tuple[int, Any]:
        if self.deletions_take:
            self.jobs[key]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        else:
            del self.jobs[key]
        return 200, {"kind": "Status", "status": "Success"}


def _problem(status: int, reason: str, message: str) -> tuple[int, Any]:
    return status, {"kind": "Status", "code": status, "reason": reason, "message": message}


@contextmanager
def serve(cluster: FakeCluster) -> Iterator[str]:
    """Serve the cluster on the loopback for the length of the block; yields the address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _reply(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(size)) if size else None
            status, content = cluster.answer(self.command, self.path.partition("?")[0], body)
            text = content if isinstance(content, str) else json.dumps(content)
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_POST = do_DELETE = _reply  # noqa: N815 - http.server's names

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def kubeconfig(server: str) -> str:
    """Return the text of a kubeconfig for the server."""
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": server}}],
            "users": [{"name": "test", "user": {"token": "nobody"}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        }
    )
