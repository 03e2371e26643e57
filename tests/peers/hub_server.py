"""A local Hugging Face hub for downloads and pushes: API, resolve, a CDN of another origin, gates, revisions, and faults on demand.

As a program:  hub_server.py --root FOLDER [--port N] [--tls] [--token T] [--gated ORG/NAME] [--private ORG/NAME]
FOLDER/ORG/NAME/ is the main revision of a repository, FOLDER/ORG/NAME@REV/ another. It prints one JSON line
{"endpoint": ..., "cdn": ..., "ca": ...} and serves until stdin closes. From tests: `with Hub(repositories) as hub`.

Faults: POST /_faults with a list of rules {"match": regex over "METHOD path", "kind": ..., "times": 1, ...} (see `KINDS`);
GET /_log gives every request with its status and whether it bore a token; POST /_reset forgets both.
"""

import argparse
import base64
import dataclasses
import gzip
import hashlib
import http.server
import json
import pathlib
import re
import socket
import socketserver
import ssl
import struct
import sys
import tempfile
import threading
import time
import urllib.parse

KINDS = {
    "drop": "send `after` bytes of the body, then cut the connection (`reset`: with RST)",
    "refuse": "close without an answer",
    "status": "answer with `status` and `headers` (503, 429 with Retry-After, 401 ...)",
    "wrong_bytes": "flip one bit of the body, right length (`at`: where, default the middle)",
    "short": "a shorter body, consistently declared (`length`)",
    "long_length": "Content-Length greater than what comes, then the connection closes (`extra`)",
    "no_length": "no Content-Length: chunked",
    "ignore_range": "200 with the whole body where a range was asked for",
    "wrong_range": "206 whose Content-Range begins elsewhere",
    "slow": "`delay` seconds before the answer and `per_kib` seconds after each KiB",
    "hang": "hold the connection for `seconds` and say nothing",
    "garbage": "bytes that are no HTTP",
    "html": "200 with a page of HTML (a captive portal)",
    "strip": "leave out the headers named in `headers`",
    "override": "replace headers by `headers`",
    "redirect_loop": "redirect to itself",
    "expired": "403 of a CDN whose signature has run out",
}
LFS_SUFFIXES = (".safetensors", ".bin", ".model", ".gguf", ".h5", ".msgpack", ".onnx", ".pt", ".zip")
TEXT_SUFFIXES = (".json", ".txt", ".md", ".jinja", ".py")
PAGE = 50  # entries of a tree listing in one answer; more follow by Link


def git_oid(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class File:
    def __init__(self, path, data):
        self.path, self.data = path, data
        self.lfs = path.endswith(LFS_SUFFIXES)
        self.sha256 = hashlib.sha256(data).hexdigest()
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {len(data)}\n".encode()
        self.oid = git_oid(pointer if self.lfs else data)
        self.pointer_size = len(pointer)
        self.etag = self.sha256 if self.lfs else self.oid

    def entry(self):
        entry = {"type": "file", "oid": self.oid, "size": len(self.data), "path": self.path}
        if self.lfs:
            entry["lfs"] = {"oid": self.sha256, "size": len(self.data), "pointerSize": self.pointer_size}
        return entry


@dataclasses.dataclass
class Repository:
    """`revisions`: name of a branch or tag -> {path: bytes}."""

    revisions: dict
    gated: bool = False
    private: bool = False
    announce_xet: bool = False
    small_files_redirect: bool = True  # as the hub does: /resolve of a git file goes to /api/resolve-cache by 307

    def __post_init__(self):
        self.commits, self.heads = {}, {}
        for name, files in self.revisions.items():
            self.add(name, files)

    def add(self, name, files):
        made = {path: File(path, data) for path, data in sorted(files.items())}
        sha = hashlib.sha1(json.dumps([(file.path, file.oid) for file in made.values()]).encode()).hexdigest()
        self.commits[sha], self.heads[name] = made, sha
        return sha

    def commit(self, revision):
        sha = self.heads.get(revision, revision)
        return (sha, self.commits[sha]) if sha in self.commits else (None, None)


class Fault(dict):
    def __getattr__(self, name):
        return self.get(name)


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def handle_error(self, request, client_address):
        pass  # a client that leaves is no event of ours


class Hub:
    def __init__(self, repositories, tokens=("hf_good",), port=0, tls=False, allowed=("hf_good",), address="127.0.0.1"):
        self.repositories = {name: each if isinstance(each, Repository) else Repository({"main": each})
                             for name, each in repositories.items()}
        self.tokens, self.allowed = set(tokens), set(allowed)
        self.faults, self.log, self.lock = [], [], threading.Lock()
        self.objects, self.part_size = {}, 0  # LFS objects by SHA-256; > 0: larger ones come in parts
        self.secret = hashlib.sha256(b"cdn").hexdigest()[:16]
        self.servers = [Server((address, number), self.handler(kind)) for number, kind in ((port, HubHandler), (0, CdnHandler))]
        scheme, self.ca = "http", None
        if tls:
            scheme, (self.ca, chain) = "https", make_certificates()
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(chain)
            for server in self.servers:
                # The handshake belongs to the request's thread: a client that breaks it off must not stop the others.
                server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        self.endpoint, self.cdn = (f"{scheme}://{address}:{server.server_port}" for server in self.servers)

    def handler(self, base):
        return type(base.__name__, (base,), {"hub": self})

    def __enter__(self):
        for server in self.servers:
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_):
        for server in self.servers:
            server.shutdown()
            server.server_close()

    def fault(self, match, kind, times=1, **more):
        assert kind in KINDS, kind
        with self.lock:
            self.faults.append(Fault(match=match, kind=kind, times=times, **more))

    def reset(self):
        with self.lock:
            self.faults.clear()
            self.log.clear()

    def take_fault(self, line):
        with self.lock:
            for fault in self.faults:
                if fault["times"] > 0 and re.search(fault["match"], line):
                    fault["times"] -= 1
                    return fault
        return Fault()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "hub", ""
    timeout = 60
    hub = None

    def log_message(self, *_):
        pass

    def parse_request(self):
        parsed = super().parse_request()
        if parsed:
            self.url = urllib.parse.urlsplit(self.path)
            self.query = urllib.parse.parse_qs(self.url.query)
            self.token = re.sub(r"^Bearer ", "", self.headers.get("Authorization", ""))
            self.fault = Fault() if self.url.path.startswith("/_") else self.hub.take_fault(f"{self.command} {self.path}")
        return parsed

    def do_GET(self):
        if self.fault.kind == "refuse":
            return self.cut()
        if self.fault.kind == "hang":
            time.sleep(self.fault.seconds or 30)
            return self.cut()
        if self.fault.kind == "garbage":
            self.wfile.write(b"\x00\xffthis is not HTTP\r\n\r\n")
            return self.cut()
        if self.fault.kind == "slow":
            time.sleep(self.fault.delay or 0)
        if self.fault.kind == "status":
            return self.answer(self.fault.status, b'{"error":"fault"}', {"Content-Type": "application/json", **(self.fault.headers or {})})
        if self.fault.kind == "html":
            return self.answer(200, b"<html><body>Please sign in to this network</body></html>", {"Content-Type": "text/html"})
        if self.fault.kind == "redirect_loop":
            return self.answer(302, b"", {"Location": self.path})
        self.route()

    do_HEAD = do_GET

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.url.path == "/_faults":
            for rule in json.loads(body):
                self.hub.fault(**rule)
        elif self.url.path == "/_reset":
            self.hub.reset()
        else:
            return self.push(body) if not self.fault.kind else self.do_GET()
        self.answer(200, b"{}", {"Content-Type": "application/json"})

    def do_PUT(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.push(body) if not self.fault.kind else self.do_GET()

    def push(self, body):
        self.answer(404, b"", {})

    def cut(self, reset=False):
        self.close_connection = True
        if reset:  # RST, so that the client sees an error and not an end of file
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        try:
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.connection.close()

    def answer(self, status, body, headers, length=None):
        fault = self.fault
        if fault.kind == "strip":
            headers = {name: value for name, value in headers.items() if name.lower() not in {each.lower() for each in fault.headers}}
        if fault.kind == "override":
            headers = {**headers, **fault.headers}
        with self.hub.lock:
            self.hub.log.append({"method": self.command, "host": self.headers.get("Host"), "path": self.path, "status": status,
                                 "range": self.headers.get("Range"), "token": self.token or None, "fault": fault.kind,
                                 "user_agent": self.headers.get("User-Agent"), "bytes": len(body)})
        if fault.kind == "wrong_bytes" and body and self.command == "GET":
            at = min(fault.at if fault.at is not None else len(body) // 2, len(body) - 1)
            body = body[:at] + bytes([body[at] ^ 1]) + body[at + 1:]
        if fault.kind == "short" and self.command == "GET":
            body = body[:fault.length or len(body) // 2]
        declared = len(body) if length is None else length
        if fault.kind == "long_length":
            declared += fault.extra or 100
        chunked = fault.kind == "no_length" and self.command == "GET" and status < 300
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(declared))
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault.kind == "drop":
            self.wfile.write(body[:fault.after or 0])
            return self.cut(fault.reset)
        if fault.kind == "slow" and fault.per_kib:
            for start in range(0, len(body), 1024):
                self.wfile.write(body[start:start + 1024])
                time.sleep(fault.per_kib)
            return
        if chunked:
            for start in range(0, len(body), 1000):
                part = body[start:start + 1000]
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            self.wfile.write(b"0\r\n\r\n")
            return
        self.wfile.write(body)
        if fault.kind == "long_length":
            self.cut()

    def answer_json(self, value, headers=None, status=200):
        self.answer(status, json.dumps(value).encode(), {"Content-Type": "application/json; charset=utf-8", **(headers or {})})

    def error(self, status, code, message):
        headers = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
        self.answer_json({"error": message}, headers, status)

    def answer_data(self, data, headers):
        """A body that may be asked for in parts, and may travel gzipped where it is text (then without ranges)."""
        headers = {"Accept-Ranges": "bytes", **headers}
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if wanted and self.fault.kind != "ignore_range":
            start, end = int(wanted[1]), int(wanted[2]) if wanted[2] else len(data) - 1
            if start >= len(data) or end < start:
                return self.answer(416, b"", {"Content-Range": f"bytes */{len(data)}"})
            end = min(end, len(data) - 1)
            said = start + 1 if self.fault.kind == "wrong_range" else start
            return self.answer(206, data[start:end + 1], {**headers, "Content-Range": f"bytes {said}-{end}/{len(data)}"})
        self.answer(200, data, headers)


class CdnHandler(Handler):
    """Content by hash, only with a signature; the hub's token has no business here."""

    def push(self, body):
        if self.command != "PUT" or self.query.get("Signature") != [self.hub.secret] or self.token:
            return self.answer(403, b"<Error><Code>AccessDenied</Code></Error>", {"Content-Type": "application/xml"})
        with self.hub.lock:
            self.hub.objects[self.url.path.rpartition("/")[2]] = body
        self.answer(200, b"", {"ETag": f'"{hashlib.md5(body).hexdigest()}"'})

    def route(self):
        sha256 = self.url.path.rpartition("/")[2]
        if self.query.get("Signature") != [self.hub.secret] or self.fault.kind == "expired":
            return self.answer(403, b"<Error><Code>AccessDenied</Code></Error>", {"Content-Type": "application/xml"})
        for repository in self.hub.repositories.values():
            for files in repository.commits.values():
                for file in files.values():
                    if file.sha256 == sha256:
                        return self.answer_data(file.data, {"ETag": f'"{file.sha256[:32]}"', "Content-Type": "application/octet-stream"})
        self.answer(404, b"", {})


class HubHandler(Handler):
    def push(self, body):
        """What huggingface_hub's upload_folder asks for; answers as it reads them."""
        if self.token not in self.hub.allowed and "/complete/" not in self.url.path:  # signed, as the store's addresses
            return self.error(401 if self.token not in self.hub.tokens else 403, None, "Invalid credentials in Authorization header")
        if self.url.path == "/api/repos/create":
            wanted = json.loads(body)
            name = f"{wanted.get('organization') or 'tester'}/{wanted['name']}"
            if name in self.hub.repositories:
                return self.error(409, None, "You already created this model repo")
            self.hub.repositories[name] = Repository({"main": {".gitattributes": b"*.safetensors filter=lfs\n"}},
                                                     private=wanted.get("visibility") == "private" or bool(wanted.get("private")))
            return self.answer_json({"url": f"{self.hub.endpoint}/{name}", "id": name, "name": name})
        for pattern, method in ((r"/api/models/([^/]+/[^/]+)/preupload/([^/]+)", self.preupload),
                                (r"/api/models/([^/]+/[^/]+)/commit/([^/]+)", self.take_commit),
                                (r"/api/models/([^/]+/[^/]+)/branch/([^/]+)", self.branch),
                                (r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch()", self.batch),
                                (r"/([^/]+/[^/]+)/complete/([^/]+)", self.complete), (r"/([^/]+/[^/]+)/verify/([^/]+)", self.verify),
                                (r"/api/validate-yaml()()", self.validate)):
            match = re.fullmatch(pattern, self.url.path)
            if match:
                name, rest = (urllib.parse.unquote(part) for part in match.groups())
                repository = self.hub.repositories.get(name)
                if repository is None and name:
                    return self.error(404, "RepoNotFound", "Repository not found")
                return method(name, repository, rest, body)
        self.answer(404, b"", {})

    def validate(self, *_):
        self.answer_json({"errors": [], "warnings": []})

    def branch(self, name, repository, revision, body):
        repository.heads[revision] = repository.heads["main"]
        self.answer_json({})

    def preupload(self, name, repository, revision, body):
        sha, known = self.commit(repository, revision)
        if sha is not None:
            self.answer_json({"files": [{"path": file["path"], "uploadMode": "lfs" if file["path"].endswith(LFS_SUFFIXES) else "regular",
                                         "shouldIgnore": False, "oid": known[file["path"]].etag if file["path"] in known else None}
                                        for file in json.loads(body)["files"]]})

    def batch(self, name, repository, _, body):
        objects = []
        for each in json.loads(body)["objects"]:
            entry, oid, size, part = dict(each), each["oid"], each["size"], self.hub.part_size
            if oid not in self.hub.objects:
                signed = f"{self.hub.cdn}/uploads/{oid}%s?Signature={self.hub.secret}"
                upload = {"href": signed % ""}
                if part and size > part:
                    count = (size + part - 1) // part
                    upload = {"href": f"{self.hub.endpoint}/{name}/complete/{oid}",
                              "header": {"chunk_size": str(part)} | {f"{number:05}": signed % f".{number}" for number in range(1, count + 1)}}
                entry["actions"] = {"upload": upload, "verify": {"href": f"{self.hub.endpoint}/{name}/verify/{oid}"}}
            objects.append(entry)
        self.answer_json({"transfer": "basic", "objects": objects})

    def complete(self, name, repository, oid, body):
        parts = [self.hub.objects.get(f"{oid}.{part['partNumber']}", b"") for part in json.loads(body)["parts"]]
        etags = [f'"{hashlib.md5(part).hexdigest()}"' for part in parts]
        data = b"".join(parts)
        if etags != [part["etag"] for part in json.loads(body)["parts"]] or hashlib.sha256(data).hexdigest() != oid:
            return self.error(400, None, "The parts do not make the object")
        self.hub.objects[oid] = data
        self.answer_json({"success": True})

    def verify(self, name, repository, oid, body):
        there = hashlib.sha256(self.hub.objects.get(oid, b"")).hexdigest() == oid == json.loads(body)["oid"]
        self.answer_json({}) if there else self.error(404, None, "The object is not there")

    def take_commit(self, name, repository, revision, body):
        sha, known = self.commit(repository, revision)
        if sha is None:
            return
        files = {path: file.data for path, file in known.items()}
        for line in body.decode().splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif item["key"] == "lfsFile":
                if value["oid"] not in self.hub.objects:
                    return self.error(400, None, f"LFS object {value['oid']} is missing")
                files[value["path"]] = self.hub.objects[value["oid"]]
        made = repository.add("refs/pr/1" if self.query.get("create_pr") == ["1"] else revision, files)
        self.answer_json({"commitUrl": f"{self.hub.endpoint}/{name}/commit/{made}", "commitOid": made, "success": True,
                          "pullRequestUrl": f"{self.hub.endpoint}/{name}/discussions/1"})

    def route(self):
        path = urllib.parse.unquote(self.url.path)
        if path == "/_log":
            with self.hub.lock:
                return self.answer_json(list(self.hub.log))
        if self.token and self.token not in self.hub.tokens:
            return self.error(401, None, "Invalid credentials in Authorization header")
        if path == "/api/whoami-v2":
            return self.answer_json({"name": "tester", "type": "user"}) if self.token else self.error(401, None, "Unauthorized")
        raw = self.url.path  # revisions may hold a quoted slash: split before unquoting
        for pattern, method in ((r"/api/models/([^/]+/[^/]+)/tree/([^/]+)(?:/(.*))?", self.tree),
                                (r"/api/models/([^/]+/[^/]+)/revision/([^/]+)", self.info),
                                (r"/api/models/([^/]+/[^/]+)/refs", self.refs),
                                (r"/api/models/([^/]+/[^/]+)", self.info),
                                (r"/api/resolve-cache/models/([^/]+/[^/]+)/([^/]+)/(.+)", self.cached),
                                (r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.resolve)):
            match = re.fullmatch(pattern, raw)
            if match:
                name, *rest = (urllib.parse.unquote(part) if part is not None else None for part in match.groups())
                repository = self.hub.repositories.get(name)
                if repository is None or (repository.private and self.token not in self.hub.allowed):
                    # The hub does not tell the anonymous which repositories exist.
                    return self.error(404 if self.token else 401, "RepoNotFound", "Repository not found")
                return method(name, repository, *rest)
        self.answer(404, b"", {})

    def commit(self, repository, revision):
        sha, files = repository.commit(revision or "main")
        if sha is None:
            self.error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return sha, files

    def info(self, name, repository, revision=None):
        sha, files = self.commit(repository, revision)
        if sha is None:
            return
        siblings = [{"rfilename": path} for path in files]
        if self.query.get("blobs") in (["true"], ["True"], ["1"]):
            siblings = [{"rfilename": file.path, "size": len(file.data), "blobId": file.oid} |
                        ({"lfs": {"sha256": file.sha256, "size": len(file.data), "pointerSize": file.pointer_size}} if file.lfs else {})
                        for file in files.values()]
        self.answer_json({"_id": "0" * 24, "id": name, "modelId": name, "author": name.partition("/")[0], "sha": sha,
                          "lastModified": "2024-07-26T12:00:00.000Z", "private": repository.private,
                          "gated": "manual" if repository.gated else False, "disabled": False, "downloads": 1, "likes": 0,
                          "tags": [], "siblings": siblings}, {"X-Repo-Commit": sha})

    def refs(self, name, repository):
        branches = [{"name": head, "ref": f"refs/heads/{head}", "targetCommit": sha} for head, sha in repository.heads.items()]
        self.answer_json({"branches": branches, "tags": [], "converts": []})

    def tree(self, name, repository, revision, folder=None):
        sha, files = self.commit(repository, revision)
        if sha is None:
            return
        prefix = f"{folder}/" if folder else ""
        recursive = self.query.get("recursive") in (["true"], ["True"], ["1"])
        entries, folders = [], set()
        for path, file in files.items():
            if path.startswith(prefix):
                parts = path[len(prefix):].split("/")
                for depth in range(1, len(parts) if recursive else min(len(parts), 2)):
                    parent = prefix + "/".join(parts[:depth])
                    if parent not in folders:
                        folders.add(parent)
                        entries.append({"type": "directory", "oid": git_oid(parent.encode()), "size": 0, "path": parent})
                if recursive or len(parts) == 1:
                    entries.append(file.entry())
        if folder and not entries:
            return self.error(404, "EntryNotFound", f"{folder} does not exist on {revision!r}")
        start = int(self.query.get("cursor", ["0"])[0])
        headers = {"X-Repo-Commit": sha}
        if start + PAGE < len(entries):
            query = urllib.parse.urlencode({**{key: values[0] for key, values in self.query.items()}, "cursor": start + PAGE})
            headers["Link"] = f'<{self.hub.endpoint}{self.url.path}?{query}>; rel="next"'
        self.answer_json(entries[start:start + PAGE], headers)

    def file(self, repository, revision, path):
        sha, files = self.commit(repository, revision)
        if sha is None:
            return None, None
        if repository.gated and self.token not in self.hub.allowed:
            message = "Access to this model is restricted. You must be authenticated and have access to it."
            self.error(403 if self.token else 401, "GatedRepo", message)
            return None, None
        if path not in files:
            self.answer_json({"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found",
                                                            "X-Repo-Commit": sha}, 404)
            return None, None
        return sha, files[path]

    def resolve(self, name, repository, revision, path):
        sha, file = self.file(repository, revision, path)
        if file is None:
            return
        headers = {"X-Repo-Commit": sha, "X-Request-Id": "Root=1", "Vary": "Origin, Accept"}
        if file.lfs:
            location = f"{self.hub.cdn}/repos/{name}/{file.sha256}?Expires=9999999999&Signature={self.hub.secret}"
            headers |= {"X-Linked-ETag": f'"{file.sha256}"', "X-Linked-Size": str(len(file.data)), "Location": location}
            if repository.announce_xet:
                headers |= {"X-Xet-Hash": "a" * 64, "Link": f'<{self.hub.endpoint}/api/models/{name}/xet-read-token/{sha}>; rel="xet-auth"'}
            return self.answer(302, b"Found. Redirecting", headers)
        if repository.small_files_redirect:
            quoted = urllib.parse.quote(path)
            headers |= {"Location": f"/api/resolve-cache/models/{name}/{sha}/{quoted}?etag=%22{file.oid}%22",
                        "X-Linked-ETag": f'"{file.oid}"', "X-Linked-Size": str(len(file.data))}
            return self.answer(307, b"Temporary Redirect", headers)
        self.answer_git(sha, file)

    def cached(self, name, repository, revision, path):
        sha, file = self.file(repository, revision, path)
        if file is not None:
            self.answer_git(sha, file)

    def answer_git(self, sha, file):
        headers = {"X-Repo-Commit": sha, "ETag": f'"{file.oid}"', "Content-Type": "text/plain; charset=utf-8",
                   "Content-Disposition": f'inline; filename*=UTF-8\'\'{urllib.parse.quote(file.path)}; filename="{pathlib.PurePath(file.path).name}";'}
        gzipped = "gzip" in self.headers.get("Accept-Encoding", "") and file.path.endswith(TEXT_SUFFIXES)
        if gzipped and not self.headers.get("Range"):
            # As the hub's front does with text: compressed on the fly, a weak etag, nothing to resume.
            return self.answer(200, gzip.compress(file.data), {**headers, "ETag": f'W/"{file.oid}"', "Content-Encoding": "gzip"})
        self.answer_data(file.data, headers)


def make_certificates():
    """A certificate authority of one afternoon and a server certificate for 127.0.0.1: (path of the CA, path of the chain)."""
    import datetime
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    folder = pathlib.Path(tempfile.mkdtemp(prefix="hub-tls-"))
    begin = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=1)

    def certificate(name, key, issuer_name, issuer_key, ca):
        builder = (x509.CertificateBuilder().subject_name(name).issuer_name(issuer_name).public_key(key.public_key())
                   .serial_number(x509.random_serial_number()).not_valid_before(begin)
                   .not_valid_after(begin + datetime.timedelta(days=2))
                   .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
                   .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
                   .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
                   .add_extension(x509.KeyUsage(digital_signature=True, key_cert_sign=ca, crl_sign=ca, content_commitment=False,
                                                key_encipherment=False, data_encipherment=False, key_agreement=False,
                                                encipher_only=False, decipher_only=False), critical=True))
        if not ca:
            names = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False).add_extension(
                x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        return builder.sign(issuer_key, hashes.SHA256())

    def name(text):
        return x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, text)])

    authority, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root = certificate(name("test authority"), authority, name("test authority"), authority, True)
    leaf = certificate(name("127.0.0.1"), key, name("test authority"), authority, False)
    pem = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(root.public_bytes(pem))
    (folder / "chain.pem").write_bytes(leaf.public_bytes(pem) + key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return folder / "ca.pem", folder / "chain.pem"


def read_root(root):
    repositories = {}
    for folder in sorted(root.glob("*/*")):
        if folder.is_dir():
            name, _, revision = folder.relative_to(root).as_posix().partition("@")
            files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
            repositories.setdefault(name, {})[revision or "main"] = files
    return repositories


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=pathlib.Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--token", action="append", default=[], help="a valid token with access to everything (hf_good always is)")
    parser.add_argument("--gated", action="append", default=[])
    parser.add_argument("--private", action="append", default=[])
    options = parser.parse_args()
    repositories = {name: Repository(revisions, gated=name in options.gated, private=name in options.private)
                    for name, revisions in read_root(options.root).items()}
    tokens = ["hf_good", *options.token]
    # hf_other is a valid token whose owner was not let through any gate.
    with Hub(repositories, tokens=[*tokens, "hf_other"], port=options.port, tls=options.tls, allowed=tokens) as hub:
        print(json.dumps({"endpoint": hub.endpoint, "cdn": hub.cdn, "ca": str(hub.ca) if hub.ca else None}), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
