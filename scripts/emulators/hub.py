"""A stand-in of the Hugging Face Hub: as much of its HTTP API as uploading and downloading a dataset takes.

Repositories live in memory. Faults can be ordered for any request, and every request and every byte of a large file is
counted. Large files travel by git-LFS (`HF_HUB_DISABLE_XET=1`); the Xet protocol is not spoken.

    with StandIn() as hub:
        environment = hub.environment(token="hf_good")
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_good"
USER = "me"
_LARGE = (".mp4", ".parquet")
CUT, STALL = "cut", "stall"


@dataclass
class Repository:
    """One dataset repository: its files, and the commit that each of its branches and tags names."""

    private: bool = False
    files: dict[str, bytes] = field(default_factory=dict)
    large: set[str] = field(default_factory=set)
    commits: int = 0
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def sha(self) -> str:
        return hashlib.sha1(str(self.commits).encode()).hexdigest()

    def about(self, path: str) -> dict[str, Any]:
        """As the tree lists it; `oid` is git's, the LFS part has the content's own."""
        data = self.files[path]
        found: dict[str, Any] = {"type": "file", "path": path, "size": len(data), "oid": _git_sha1(data)}
        if path in self.large:
            sha256 = hashlib.sha256(data).hexdigest()
            found["lfs"] = {"oid": sha256, "size": len(data), "pointerSize": 130}
        return found


@dataclass
class Fault:
    """What happens to the next `times` requests that match.

    Attributes:
        request: a pattern for "METHOD /path".
        answer: a status, CUT (the connection breaks after the first bytes of the body) or STALL (no answer until the
            client is gone or the stand-in ends).
    """

    request: str
    answer: int | str
    times: int = 1
    met: threading.Event = field(default_factory=threading.Event)


@dataclass
class _Request:
    method: str
    path: str
    match: re.Match[str]
    body: bytes
    headers: Mapping[str, str]


Answer = tuple[int, Any, dict[str, str]]


class StandIn:
    """Serves on a free loopback port from `__enter__` to `__exit__`.

    Attributes:
        repositories: by `owner/name`.
        faults: consulted in order; a used-up one is skipped.
        requests: how often each "METHOD /path" came.
        sent: how often the content of each large file came as a whole, by its sha256.
    """

    def __init__(self, *, large: tuple[str, ...] = _LARGE, role: str = "write") -> None:
        self.repositories: dict[str, Repository] = {}
        self.faults: list[Fault] = []
        self.requests: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()
        self.large, self.role, self.user = large, role, USER
        self._blobs: dict[str, bytes] = {}
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), lambda *arguments: _Handler(self, *arguments))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> StandIn:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def environment(self, token: str | None = TOKEN) -> dict[str, str]:
        """What makes huggingface_hub in a new process talk to this stand-in."""
        found = {"HF_ENDPOINT": self.url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
        return found if token is None else {**found, "HF_TOKEN": token}

    def fault(self, request: str, answer: int | str, times: int = 1) -> Fault:
        """Order one; `met` of the result tells when it has happened."""
        fault = Fault(request, answer, times)
        self.faults.append(fault)
        return fault

    # -- serving -------------------------------------------------------------------------------------------------

    def due_fault(self, line: str) -> Fault | None:
        with self._lock:
            self.requests[line] += 1
            for fault in self.faults:
                if fault.times > 0 and re.search(fault.request, line):
                    fault.times -= 1
                    return fault
        return None

    def stall(self, connection: socket.socket) -> None:
        """Wait until the client hangs up."""
        connection.settimeout(0.05)
        while not self._over.is_set():
            try:
                if not connection.recv(1 << 16):
                    return
            except TimeoutError:
                continue
            except OSError:
                return

    def answer(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        for wanted, pattern, serve in _ROUTES:
            match = re.fullmatch(pattern, path)
            if wanted == method and match:
                with self._lock:
                    if headers.get("authorization") != f"Bearer {TOKEN}" and "/lfs/" not in path:
                        return _no(401, "Invalid credentials in Authorization header")
                    return serve(self, _Request(method, path, match, body, headers))
        return _no(404, f"the stand-in does not know {method} {path}")

    # -- what the Hub does -----------------------------------------------------------------------------------------

    def _whoami(self, request: _Request) -> Answer:
        token = {"displayName": "t", "role": self.role}
        return _yes({"type": "user", "name": self.user, "orgs": [{"name": "lab"}], "auth": {"accessToken": token}})

    def _create(self, request: _Request) -> Answer:
        asked = json.loads(request.body)
        name = f"{asked['organization'] or self.user}/{asked['name']}"
        url = {"url": f"{self.url}/datasets/{name}"}
        if name in self.repositories:
            return 409, {**url, "error": "You already created this dataset repo"}, {}
        if name.split("/")[0] not in (self.user, "lab"):
            return _no(403, f"You don't have the rights to create a dataset under the namespace {name.split('/')[0]!r}")
        self.repositories[name] = Repository(private=asked.get("visibility") == "private")
        return _yes(url)

    def _validate(self, request: _Request) -> Answer:
        return _yes({"errors": [], "warnings": []})

    def _preupload(self, request: _Request) -> Answer:
        repository = self._repository(request)
        if repository is None:
            return _no_repository()
        answers = []
        for each in json.loads(request.body)["files"]:
            path = each["path"]
            known = repository.about(path) if path in repository.files else None
            oid = None if known is None else known.get("lfs", known)["oid"]
            mode = "lfs" if path.endswith(self.large) else "regular"
            answers.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        return _yes({"files": answers})

    def _batch(self, request: _Request) -> Answer:
        objects = []
        for each in json.loads(request.body)["objects"]:
            if each["oid"] not in self._blobs:
                upload = {"href": f"{self.url}/lfs/{each['oid']}", "header": {}}
                each = {**each, "actions": {"upload": upload}}
            objects.append(each)
        return _yes({"transfer": "basic", "objects": objects})

    def _put(self, request: _Request) -> Answer:
        oid = request.match["oid"]
        if hashlib.sha256(request.body).hexdigest() != oid:
            return _no(400, "the content is not what it was announced as")
        self._blobs[oid] = request.body
        self.sent[oid] += 1
        return _yes({})

    def _commit(self, request: _Request) -> Answer:
        repository = self._repository(request)
        if repository is None:
            return _no_repository()
        lines = [json.loads(line) for line in request.body.splitlines()]
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                repository.files[value["path"]] = base64.b64decode(value["content"])
                repository.large.discard(value["path"])
            elif line["key"] == "lfsFile":
                if value["oid"] not in self._blobs:
                    return _no(400, f"LFS pointer points to a file that does not exist: {value['path']}")
                repository.files[value["path"]] = self._blobs[value["oid"]]
                repository.large.add(value["path"])
            elif line["key"] != "header":
                return _no(400, f"the stand-in does not know the operation {line['key']}")
        repository.commits += 1
        url = f"{self.url}/datasets/{request.match['repo']}/commit/{repository.sha}"
        return _yes({"commitUrl": url, "commitOid": repository.sha, "success": True})

    def _info(self, request: _Request) -> Answer:
        repository = self._repository(request)
        if repository is None:
            return _no_repository()
        siblings = [{"rfilename": path} for path in repository.files]
        about = {"id": request.match["repo"], "sha": repository.sha, "private": repository.private}
        return _yes({**about, "siblings": siblings, "tags": [], "downloads": 0, "likes": 0})

    def _tree(self, request: _Request) -> Answer:
        repository = self._repository(request)
        if repository is None:
            return _no_repository()
        return _yes([repository.about(path) for path in sorted(repository.files)])

    def _refs(self, request: _Request) -> Answer:
        repository = self._repository(request)
        if repository is None:
            return _no_repository()
        branch = {"name": "main", "ref": "refs/heads/main", "targetCommit": repository.sha}
        tags = [{"name": n, "ref": f"refs/tags/{n}", "targetCommit": sha} for n, sha in repository.tags.items()]
        return _yes({"branches": [branch], "converts": [], "tags": tags})

    def _tag(self, request: _Request) -> Answer:
        repository = self._repository(request)
        assert repository is not None
        tag = json.loads(request.body)["tag"]
        if tag in repository.tags:
            return _no(409, f"tag {tag} exists")
        repository.tags[tag] = repository.sha
        return _yes({})

    def _untag(self, request: _Request) -> Answer:
        repository = self._repository(request)
        assert repository is not None
        if repository.tags.pop(request.match["rev"], None) is None:
            return 404, {"error": "no such tag"}, {"X-Error-Code": "RevisionNotFound"}
        return _yes({})

    def _resolve(self, request: _Request) -> Answer:
        repository = self._repository(request)
        path = unquote(request.match["path"])
        if repository is None or path not in repository.files:
            return 404, b"", {"X-Error-Code": "EntryNotFound"}
        about = repository.about(path)
        etag = about.get("lfs", about)["oid"]
        return 200, repository.files[path], {"X-Repo-Commit": repository.sha, "ETag": f'"{etag}"'}

    def _repository(self, request: _Request) -> Repository | None:
        return self.repositories.get(request.match["repo"])


_API = r"/api/datasets/(?P<repo>[^/]+/[^/]+)"
_ROUTES: tuple[tuple[str, str, Callable[[StandIn, _Request], Answer]], ...] = (
    ("GET", r"/api/whoami-v2", StandIn._whoami),
    ("POST", r"/api/repos/create", StandIn._create),
    ("POST", r"/api/validate-yaml", StandIn._validate),
    ("POST", rf"{_API}/preupload/main", StandIn._preupload),
    ("POST", r"/datasets/(?P<repo>.+)\.git/info/lfs/objects/batch", StandIn._batch),
    ("PUT", r"/lfs/(?P<oid>[0-9a-f]{64})", StandIn._put),
    ("POST", rf"{_API}/commit/main", StandIn._commit),
    ("GET", rf"{_API}(/revision/[^/]+)?", StandIn._info),
    ("GET", rf"{_API}/tree/[^/]+", StandIn._tree),
    ("GET", rf"{_API}/refs", StandIn._refs),
    ("POST", rf"{_API}/tag/main", StandIn._tag),
    ("DELETE", rf"{_API}/tag/(?P<rev>[^/]+)", StandIn._untag),
    ("GET", r"/datasets/(?P<repo>[^/]+/[^/]+)/resolve/[^/]+/(?P<path>.+)", StandIn._resolve),
    ("HEAD", r"/datasets/(?P<repo>[^/]+/[^/]+)/resolve/[^/]+/(?P<path>.+)", StandIn._resolve),
)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, hub: StandIn, *arguments: Any) -> None:
        self._hub = hub
        super().__init__(*arguments)

    def do_GET(self) -> None:
        self._serve()

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nobody reads it."""

    def _serve(self) -> None:
        path = urlsplit(self.path).path
        fault = self._hub.due_fault(f"{self.command} {path}")
        if fault is not None and fault.answer == CUT:
            self.rfile.read(16)
            self._hang_up(fault)
            return
        body = self._body()
        if fault is not None:
            if fault.answer == STALL:
                fault.met.set()
                self._hub.stall(self.connection)
                self.close_connection = True
                return
            assert isinstance(fault.answer, int)
            self._say(_no(fault.answer, "ordered"))
            fault.met.set()
            return
        self._say(
            self._hub.answer(self.command, path, body, {name.lower(): text for name, text in self.headers.items()})
        )

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            found = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                found += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return found
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _hang_up(self, fault: Fault) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)
        fault.met.set()

    def _say(self, answer: Answer) -> None:
        status, value, headers = answer
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, text in {"Content-Type": "application/json", **headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def _yes(value: Any) -> Answer:
    return 200, value, {}


def _no(status: int, why: str) -> Answer:
    return status, {"error": why}, {"X-Error-Message": why}


def _no_repository() -> Answer:
    return 404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"}


def _git_sha1(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
