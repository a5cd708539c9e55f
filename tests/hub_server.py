"""A stand-in for the Hugging Face Hub: repositories in memory, and one token."""

import base64
import hashlib
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

TOKEN = "hf_token_of_the_tests"
COMMIT = "0" * 39 + "1"


class Hub(ThreadingHTTPServer):
    """Serves in a thread of its own within the block of `with`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.address = f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> "Hub":
        Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    """Answers a request."""

    server: Any  # a Hub

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            body = self._chunks()
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            return self._answer(401, {"error": "Invalid username or password."})
        parts = self.path.partition("?")[0].strip("/").split("/")
        repository = "/".join(parts[2:4])
        if self.path == "/api/validate-yaml":
            return self._answer(200, {"errors": [], "warnings": []})
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            repository = f"{asked['organization']}/{asked['name']}"
            if repository in self.server.files:
                return self._answer(409, {"url": f"{self.server.address}/{repository}"})
            self.server.files[repository] = {}
            self.server.private[repository] = asked.get("visibility") == "private"
            return self._answer(200, {"url": f"{self.server.address}/{repository}"})
        if parts[4] == "preupload":
            files = json.loads(body)["files"]
            modes = {"uploadMode": "regular", "shouldIgnore": False}
            return self._answer(200, {"files": [{"path": x["path"], **modes} for x in files]})
        for line in body.splitlines():
            entry = json.loads(line)
            if entry["key"] == "file":
                content = base64.b64decode(entry["value"]["content"])
                self.server.files[repository][entry["value"]["path"]] = content
        url = f"{self.server.address}/{repository}/commit/{COMMIT}"
        return self._answer(200, {"commitUrl": url, "commitOid": COMMIT})

    def do_GET(self) -> None:
        owner, name, *rest = self.path.strip("/").split("/", 4)
        content = self.server.files.get(f"{owner}/{name}", {}).get(rest[-1] if rest else "")
        if content is None:
            error = {"X-Error-Code": "EntryNotFound"}
            return self._answer(404, {"error": "Entry not found"}, error)
        tag = hashlib.sha256(content).hexdigest()
        return self._send(200, content, {"ETag": f'"{tag}"', "X-Repo-Commit": COMMIT})

    do_HEAD = do_GET  # noqa: N815

    def _chunks(self) -> bytes:
        parts: list[bytes] = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _answer(self, code: int, values: Any, headers: dict[str, str] | None = None) -> None:
        self._send(code, json.dumps(values).encode(), headers or {})

    def _send(self, code: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""
