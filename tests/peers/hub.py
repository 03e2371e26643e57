"""pagoda pull against a local hub, beside the real huggingface_hub client: same cache, same gates, and every fault survived.

usage: hub.py PAGODA [--self] ; --self checks only that our hub satisfies the real client (no binary needed).
"""

import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time

for variable in ("HF_ENDPOINT", "HF_TOKEN", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE"):
    os.environ.pop(variable, None)
os.environ.update(HF_HUB_DISABLE_PROGRESS_BARS="1", HF_HUB_DISABLE_TELEMETRY="1", HF_HUB_DISABLE_XET="1")
os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="hf-home-")

import huggingface_hub
from huggingface_hub import constants, errors, hf_hub_download, snapshot_download

from common import Count, binary, run
from hub_server import Hub, Repository, git_oid

SHA = r"[0-9a-f]{40}"
FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "fixtures"


def repositories():
    rng = random.Random(5)
    llama = {path.name: path.read_bytes() for path in (FIXTURES / "llama").iterdir()
             if path.name in ("config.json", "generation_config.json", "model.safetensors")}
    llama |= {"README.md": b"# Llama\n" * 400, "tokenizer_config.json": b'{"a": "' + "é".encode() * 3000 + b'"}',
              ".gitattributes": b"*.safetensors filter=lfs\n", "onnx/model.onnx": rng.randbytes(5000), "empty.txt": b"",
              "original/params.json": b"{}", "folder with space/ü+%.txt": b"odd name\n", "pytorch_model.bin": rng.randbytes(9000)}
    many = {f"part/{index:03}.txt": str(index).encode() for index in range(120)} | {"config.json": b"{}"}
    big = {"config.json": llama["config.json"], "model.safetensors": rng.randbytes(3_000_000)}
    other = {"config.json": llama["config.json"], "model.safetensors": llama["model.safetensors"], "added.txt": b"a branch\n"}
    return {"org/llama": Repository({"main": llama, "v1.0": other, "refs/pr/1": {"config.json": b'{"pr": 1}'}}),
            "org/many": Repository({"main": many}), "org/big": Repository({"main": big}),
            "org/plain": Repository({"main": other}, small_files_redirect=False),
            "org/gated": Repository({"main": other}, gated=True), "org/private": Repository({"main": other}, private=True),
            "org/xet": Repository({"main": big}, announce_xet=True)}


def listing(cache):
    """{relative path: content, or the target of a link}; locks, temporary tags and both clients' notes of what a commit holds left out."""
    found = {}
    for path in sorted(cache.rglob("*")):
        name = path.relative_to(cache).as_posix()
        if name.startswith(".locks") or "/trees/" in f"/{name}" or "/.pagoda/" in name or path.name == "CACHEDIR.TAG":
            continue
        if path.is_symlink():
            found[name] = "-> " + os.readlink(path)
        elif path.is_file():
            found[name] = path.read_bytes()
    return found


def without_rubbish(cache):
    return [name for name in listing(cache) if not any(part in name for part in ("/blobs/", "/snapshots/", "/refs/", "/.no_exist/"))] + \
        [name for name in listing(cache) if ".incomplete" in name or ".tmp" in name or "tmp_" in name]


def wrong_blobs(cache):
    """Blobs whose content is not what their name says."""
    import hashlib

    wrong = []
    for path in cache.glob("*/blobs/*"):
        data = path.read_bytes()
        right = hashlib.sha256(data).hexdigest() if len(path.name) == 64 else git_oid(data)
        if ".incomplete" not in path.name and right != path.name:
            wrong.append(path.name)
    return wrong


def raises(kind, function, *arguments, **named):
    try:
        function(*arguments, **named)
    except kind:
        return True
    except Exception as error:
        print(f"  (got {type(error).__name__}: {str(error)[:200]})")
        return False
    return False


class Folder:
    """A fresh HF_HOME, four folders deep in one of ours, so that whatever leaves it by `..` is found and removed."""

    def __enter__(self):
        self.outer = pathlib.Path(tempfile.mkdtemp(prefix="hub-"))
        path = self.outer / "a" / "b" / "home"
        path.mkdir(parents=True)
        return path

    def __exit__(self, *_):
        shutil.rmtree(self.outer, ignore_errors=True)


# --- our hub before the real client -----------------------------------------------------------------------------------
def real_client(count, hub):
    check = count.check
    constants.DOWNLOAD_CHUNK_SIZE = 5  # it resumes at whole chunks, of 10 MB by default
    where = {"endpoint": hub.endpoint}
    with Folder() as home:
        path = pathlib.Path(snapshot_download("org/llama", cache_dir=home, token="hf_good", **where))
        files = hub.repositories["org/llama"].commit("main")[1]
        check({name: (path / name).read_bytes() for name in files} == {name: file.data for name, file in files.items()},
              "client snapshot", "files differ")
        check(not wrong_blobs(home), "client blobs", wrong_blobs(home))
        cdn = [entry for entry in hub.log if entry["path"].startswith("/repos/")]
        check(cdn and not any(entry["token"] for entry in cdn), "client cdn token", "a token reached the CDN")
        check(pathlib.Path(snapshot_download("org/llama", cache_dir=home, local_files_only=True)) == path, "client offline")
        path = pathlib.Path(snapshot_download("org/llama", revision="v1.0", cache_dir=home, **where))
        check((path / "added.txt").exists(), "client revision")
        path = pathlib.Path(snapshot_download("org/llama", revision="refs/pr/1", cache_dir=home, **where))
        check((path / "config.json").read_bytes() == b'{"pr": 1}', "client pull request")
        path = pathlib.Path(snapshot_download("org/many", cache_dir=home, **where))
        check(len(list(path.rglob("*.txt"))) == 120, "client pages of a listing")
        path = pathlib.Path(snapshot_download("org/plain", cache_dir=home, allow_patterns=["*.json"], **where))
        check([file.name for file in path.iterdir()] == ["config.json"], "client patterns")
        check(raises(errors.GatedRepoError, hf_hub_download, "org/gated", "config.json", cache_dir=home, token=False, **where), "client gated")
        check(raises(errors.GatedRepoError, hf_hub_download, "org/gated", "config.json", cache_dir=home, token="hf_other", **where), "client not let in")
        check(pathlib.Path(hf_hub_download("org/gated", "config.json", cache_dir=home, token="hf_good", **where)).exists(), "client let in")
        check(raises(errors.RepositoryNotFoundError, hf_hub_download, "org/private", "config.json", cache_dir=home, token=False, **where), "client private")
        check(raises(errors.RepositoryNotFoundError, hf_hub_download, "org/absent", "config.json", cache_dir=home, token="hf_good", **where), "client absent")
        check(raises(errors.RevisionNotFoundError, hf_hub_download, "org/llama", "config.json", revision="nope", cache_dir=home, **where), "client revision absent")
        check(raises(errors.RemoteEntryNotFoundError, hf_hub_download, "org/llama", "nope.json", cache_dir=home, **where), "client entry absent")
        check(list(home.glob("models--org--llama/.no_exist/*/nope.json")), "client no_exist")
        check(raises(errors.HfHubHTTPError, hf_hub_download, "org/llama", "README.md", cache_dir=home, token="hf_bad", force_download=True, **where)
              or raises(ValueError, hf_hub_download, "org/llama", "README.md", cache_dir=home, token="hf_bad", force_download=True, **where), "client bad token")
    for kind, more in (("drop", {"after": 1_000_000}), ("drop", {"after": 5, "reset": True}), ("status", {"status": 429, "headers": {"Retry-After": "0"}}),
                       ("no_length", {}), ("ignore_range", {}), ("slow", {"delay": 0.2})):
        with Folder() as home:
            hub.reset()
            hub.fault("GET /repos/", kind, **more)
            path = pathlib.Path(hf_hub_download("org/big", "model.safetensors", cache_dir=home, **where))
            check(path.read_bytes() == hub.repositories["org/big"].commit("main")[1]["model.safetensors"].data, f"client fault {kind}")
            if kind == "drop":
                ranges = [entry["range"] for entry in hub.log if entry["path"].startswith("/repos/")]
                check(ranges[-1] is not None and len(ranges) == 2, "client resumes", ranges)
    for kind in ("short",):
        with Folder() as home:
            hub.reset()
            hub.fault("GET /repos/", kind)
            check(raises(OSError, hf_hub_download, "org/big", "model.safetensors", cache_dir=home, **where), f"client fault {kind}")
    hub.reset()


def real_client_tls(count):
    """The client trusts our authority through SSL_CERT_FILE alone, so a client of ours must be able to as well."""
    with Hub(repositories(), tls=True) as hub, Folder() as home:
        code = ("import sys; from huggingface_hub import hf_hub_download;"
                f"print(hf_hub_download('org/llama', 'model.safetensors', cache_dir={str(home)!r}, endpoint={hub.endpoint!r}))")
        environment = os.environ | {"SSL_CERT_FILE": str(hub.ca)}
        done = run([sys.executable, "-c", code], env=environment, timeout=120)
        count.check(done.returncode == 0, "client TLS", done.stderr[-500:])
        done = run([sys.executable, "-c", code.replace("model.safetensors", "config.json")], env=os.environ | {"HF_HUB_ETAG_TIMEOUT": "3"}, timeout=200)
        count.check(done.returncode != 0, "client TLS without the authority", "an unknown authority was trusted")


# --- pagoda -------------------------------------------------------------------------------------------------------------
class Pagoda:
    def __init__(self, program, hub):
        self.program, self.hub = program, hub

    def pull(self, home, name, *flags, timeout=120, **environment):
        base = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "SSL_"))}
        base |= {"HF_HOME": str(home), "HF_ENDPOINT": self.hub.endpoint, "HOME": str(home)}
        return run([self.program, "pull", name, *flags], env=base | environment, timeout=timeout)


def cache_of(home):
    return home / "hub"


def pagoda_against_client(count, pagoda):
    check, hub = count.check, pagoda.hub
    for name, flags, client in (
            ("org/llama", [], {}),
            ("org/llama", ["--revision", "v1.0"], {"revision": "v1.0"}),
            ("org/llama", ["--revision", "refs/pr/1"], {"revision": "refs/pr/1"}),
            ("org/llama", ["--revision", hub.repositories["org/llama"].heads["v1.0"]], {"revision": hub.repositories["org/llama"].heads["v1.0"]}),
            ("org/llama", ["--include", "*.json"], {"allow_patterns": ["*.json"]}),
            ("org/llama", ["--include", "*.json", "--include", "onnx/*", "--exclude", "gen*"],
             {"allow_patterns": ["*.json", "onnx/*"], "ignore_patterns": ["gen*"]}),
            ("org/llama", ["--include", "original/"], {"allow_patterns": ["original/"]}),
            ("org/llama", ["--include", "[a-c]*.json"], {"allow_patterns": ["[a-c]*.json"]}),
            ("org/many", ["--include", "*"], {}), ("org/plain", ["--include", "*"], {}), ("org/xet", ["--include", "*"], {})):
        label = f"pull {name} {' '.join(flags)}"
        with Folder() as ours, Folder() as theirs:
            done = pagoda.pull(ours, name, *flags)
            if not check(done.returncode == 0, label, f"exit code {done.returncode}: {done.stderr[-400:]}"):
                continue
            snapshot_download(name, cache_dir=cache_of(theirs), endpoint=hub.endpoint, **client)
            mine, real = listing(cache_of(ours)), listing(cache_of(theirs))
            if "--include" in flags:
                check(mine == real, label, f"only ours {sorted(mine.keys() - real.keys())}, only theirs {sorted(real.keys() - mine.keys())}, "
                      f"differ {[key for key in mine.keys() & real.keys() if mine[key] != real[key]]}")
            else:  # without patterns pagoda takes only what it needs: a part of theirs
                part = {key: value for key, value in mine.items() if "/.no_exist/" not in key}
                check(part.items() <= real.items(), label, f"not in the real cache: {sorted(part.keys() - real.keys())}")
            if not flags:
                names = {pathlib.PurePath(key).name for key in mine if "/snapshots/" in key}
                check({"config.json", "model.safetensors", "generation_config.json", "tokenizer_config.json"} <= names, label, names)
                check(not names & {"pytorch_model.bin", "model.onnx", "params.json"}, label, f"more than is needed: {names}")
            check(not wrong_blobs(cache_of(ours)) and not without_rubbish(cache_of(ours)), label, without_rubbish(cache_of(ours)))
            # The real client reads our cache offline.
            code = ("from huggingface_hub import hf_hub_download, snapshot_download, scan_cache_dir;"
                    f"p = hf_hub_download({name!r}, 'config.json', revision={client.get('revision')!r});"
                    f"s = snapshot_download({name!r}, revision={client.get('revision')!r}, allow_patterns=['config.json']);"
                    "i = scan_cache_dir(); assert not i.warnings, i.warnings; assert len(i.repos) == 1; print(p)")
            if any(key.endswith("/config.json") for key in mine):
                environment = os.environ | {"HF_HOME": str(ours), "HF_HUB_OFFLINE": "1"}
                environment.pop("HF_HUB_CACHE", None)
                done = run([sys.executable, "-c", code], env=environment)
                check(done.returncode == 0, f"client reads our cache of {label}", done.stderr[-400:])
            # Ours reads theirs offline, without a request.
            hub.reset()
            done = pagoda.pull(theirs, name, *flags, HF_HUB_OFFLINE="1")
            check(done.returncode == 0 and not hub.log, f"offline {label}", f"exit code {done.returncode}: {done.stderr[-300:]} {hub.log[:2]}")
            # A second pull fetches no content again.
            hub.reset()
            done = pagoda.pull(ours, name, *flags)
            fetched = [entry for entry in hub.log if entry["method"] == "GET" and entry["status"] in (200, 206) and "/api/models" not in entry["path"]]
            check(done.returncode == 0 and not fetched, f"again {label}", fetched[:2])


def pagoda_places_and_tokens(count, pagoda):
    check, hub = count.check, pagoda.hub
    with Folder() as home:
        done = pagoda.pull(home, "org/llama", HF_HUB_CACHE=str(home / "elsewhere"))
        check(done.returncode == 0 and (home / "elsewhere" / "models--org--llama").is_dir(), "HF_HUB_CACHE", done.stderr[-300:])
    with Folder() as home:
        hub.reset()
        done = pagoda.pull(home, "org/gated", HF_TOKEN="hf_good")
        check(done.returncode == 0, "token", done.stderr[-300:])
        check(any(entry["token"] == "hf_good" for entry in hub.log), "token", "no request bore the token")
        check(not any(entry["token"] for entry in hub.log if entry["path"].startswith("/repos/")), "token", "the token went to the CDN")
    with Folder() as home:  # where `hf auth login` keeps it
        (home / "token").write_text("hf_good\n")
        check(pagoda.pull(home, "org/gated").returncode == 0, "token file")
    # Exit codes by kind: 3 not found, 2 invalid input, 6 device (network).
    for label, codes, name, flags, environment, words in (
            ("gated, no token", (2, 3), "org/gated", [], {}, ("gated", "token")),
            ("gated, not let in", (2, 3), "org/gated", [], {"HF_TOKEN": "hf_other"}, ("access",)),
            ("private", (3,), "org/private", [], {}, ("org/private",)),
            ("absent", (3,), "org/absent", [], {"HF_TOKEN": "hf_good"}, ("org/absent",)),
            ("bad token", (2, 3), "org/llama", [], {"HF_TOKEN": "hf_bad"}, ("token",)),
            ("no such revision", (3,), "org/llama", ["--revision", "nope"], {}, ("nope",)),
            ("no such file", (2, 3), "org/llama", ["--include", "nope*"], {}, ("nope",)),
            ("no such name", (2, 3), "llama", [], {}, ("llama",)),
            ("name leaves the cache", (2,), "../x", [], {}, ()),
            ("revision leaves the cache", (2, 3), "org/llama", ["--revision", "../../x"], {}, ()),
            ("offline, empty cache", (3,), "org/llama", [], {"HF_HUB_OFFLINE": "1"}, ("offline",)),
            ("nobody listens", (6,), "org/llama", [], {"HF_ENDPOINT": "http://127.0.0.1:9"}, ("127.0.0.1",)),
            ("no such host", (6,), "org/llama", [], {"HF_ENDPOINT": "http://no-such-host.invalid"}, ("no-such-host",)),
            ("endpoint is no address", (2,), "org/llama", [], {"HF_ENDPOINT": "nonsense"}, ("nonsense",))):
        with Folder() as home:
            done = pagoda.pull(home, name, *flags, **environment)
            check(done.returncode in codes, label, f"exit code {done.returncode}, need one of {codes}: {done.stderr[-300:]}")
            check(all(word.lower() in done.stderr.lower() for word in words), label, f"{words} not in {done.stderr[-300:]!r}")
            check(not list(home.glob("hub/*/snapshots/*/*")), label, "a snapshot was begun")


def pagoda_faults(count, pagoda):
    check, hub = count.check, pagoda.hub
    right = hub.repositories["org/big"].commit("main")[1]["model.safetensors"].data
    CONTENT, ANY = r"GET /repos/", r""
    # Faults that pass: the pull must succeed, and nothing wrong may be kept.
    for label, rules in (
            ("drop", [(CONTENT, "drop", {"after": 1_000_000})]),
            ("drop by reset", [(CONTENT, "drop", {"after": 700_000, "reset": True})]),
            ("drop three times", [(CONTENT, "drop", {"after": 400_000, "times": 3})]),
            ("drop, then no ranges", [(CONTENT, "drop", {"after": 1_000_000}), (CONTENT, "ignore_range", {})]),
            ("drop of a small file", [(r"GET /api/resolve-cache/.*config", "drop", {"after": 3})]),
            ("503 of the API", [(r"GET /api/models", "status", {"status": 503, "times": 2})]),
            ("500 of resolve", [(r"/resolve/", "status", {"status": 500, "times": 1})]),
            ("502 of the CDN", [(CONTENT, "status", {"status": 502, "times": 2})]),
            ("429 with Retry-After", [(CONTENT, "status", {"status": 429, "headers": {"Retry-After": "1"}, "times": 1})]),
            ("no answer", [(CONTENT, "refuse", {"times": 2})]),
            ("chunked", [(ANY, "no_length", {"times": 50})]),
            ("slow", [(CONTENT, "slow", {"delay": 1.0})])):
        with Folder() as home:
            hub.reset()
            for match, kind, more in rules:
                hub.fault(match, kind, **more)
            done = pagoda.pull(home, "org/big")
            cache = cache_of(home)
            blobs = {path.name: path for path in cache.glob("*/snapshots/*/model.safetensors")}
            check(done.returncode == 0 and blobs and next(iter(blobs.values())).read_bytes() == right, f"fault {label}",
                  f"exit code {done.returncode}: {done.stderr[-300:]}")
            check(not wrong_blobs(cache) and not without_rubbish(cache), f"fault {label}", f"rubbish {without_rubbish(cache)}, wrong {wrong_blobs(cache)}")
            if label.startswith("drop") and "small" not in label:
                ranges = [entry["range"] for entry in hub.log if entry["path"].startswith("/repos/")]
                check(any(ranges), f"fault {label}", f"never resumed: {ranges}")
    # Faults that stay: a clear error, exit code, no signal, nothing wrong in the cache; then a pull without fault heals it.
    for label, match, kind, more in (
            ("wrong bytes", CONTENT, "wrong_bytes", {}),
            ("wrong bytes of a small file", r"GET /api/resolve-cache/", "wrong_bytes", {}),
            ("short body", CONTENT, "short", {}),
            ("long length", CONTENT, "long_length", {}),
            ("503 for ever", r"/api/models/[^/]+/[^/]+", "status", {"status": 503}),
            ("403 of the CDN", CONTENT, "expired", {}),
            ("drop at once", CONTENT, "drop", {"after": 0}),
            ("garbage", CONTENT, "garbage", {}), ("garbage of the API", r"GET /api/models", "garbage", {}),
            ("captive portal", ANY, "html", {}), ("captive portal on the CDN", CONTENT, "html", {}),
            ("redirect loop", r"/resolve/|/api/models", "redirect_loop", {}),
            ("no commit in the answer", r"/resolve/|resolve-cache", "strip", {"headers": ["X-Repo-Commit"]}),
            ("etag leaves the cache", r"/resolve/", "override", {"headers": {"X-Linked-ETag": '"../../../../evil"', "ETag": '"../../../../evil"'}}),
            ("commit leaves the cache", r"", "override", {"headers": {"X-Repo-Commit": "../../../evil"}}),
            ("size is no number", r"/resolve/", "override", {"headers": {"X-Linked-Size": "-5"}}),
            ("wrong range", CONTENT, "wrong_range", {})):
        with Folder() as home:
            hub.reset()
            if label == "wrong range":
                hub.fault(CONTENT, "drop", after=1_000_000)
            hub.fault(match, kind, times=10_000, **more)
            done = pagoda.pull(home, "org/big", timeout=300)
            cache = cache_of(home)
            tolerable = label in ("no commit in the answer", "commit leaves the cache", "size is no number", "etag leaves the cache", "wrong range")
            if not (tolerable and done.returncode == 0):  # a client that takes these from the API instead may go on
                check(1 < done.returncode < 64 and done.returncode != 124, f"fault {label}", f"exit code {done.returncode}: {done.stderr[-300:]}")
                check("[" in done.stderr, f"fault {label}", f"no error in the house's form: {done.stderr[-300:]!r}")
                check(not list(cache.glob("*/snapshots/*/model.safetensors")) or "small file" in label, f"fault {label}", "a snapshot names a file that did not come")
            check(not wrong_blobs(cache), f"fault {label}", f"kept wrong blobs {wrong_blobs(cache)}")
            evil = [path for path in home.parents[2].rglob("*evil*")]
            check(not evil, f"fault {label}", f"wrote {evil}")
            hub.reset()
            done = pagoda.pull(home, "org/big")
            check(done.returncode == 0 and not wrong_blobs(cache) and not without_rubbish(cache), f"healed after {label}",
                  f"exit code {done.returncode}: {done.stderr[-300:]}")


def pagoda_hostile_listings(count, pagoda):
    """File names of a listing that would leave the snapshot are refused, or at least never written."""
    evil = {"config.json": b"{}", "../../../../evil.json": b"{}", "/evil.json": b"{}", "a/../../evil.json": b"{}", "C:\\evil.json": b"{}",
            "new\nline.json": b"{}", "x" * 300 + ".json": b"{}"}
    for path in list(evil)[1:]:
        with Hub({"org/evil": Repository({"main": {"config.json": b"{}", path: b"{}"}})}) as hub, Folder() as home:
            done = Pagoda(pagoda.program, hub).pull(home, "org/evil", "--include", "*", timeout=60)
            written = [each for each in home.parents[2].rglob("*evil.json") if "/snapshots/" not in each.as_posix()]
            count.check(done.returncode >= 0 and done.returncode != 124 and not written and not pathlib.Path("/evil.json").exists(),
                        "hostile listing", f"{path[:40]!r}: exit code {done.returncode}, wrote {written}")


def pagoda_together_and_cut_off(count, pagoda):
    check, hub = count.check, pagoda.hub
    right = hub.repositories["org/big"].commit("main")[1]["model.safetensors"].data
    with Folder() as home:  # four at once into one cache
        hub.reset()
        hub.fault(r"GET /repos/", "slow", times=2, delay=0.3)
        results = []
        threads = [threading.Thread(target=lambda: results.append(pagoda.pull(home, "org/big"))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        check(all(done.returncode == 0 for done in results), "four at once", [done.stderr[-200:] for done in results])
        check(not wrong_blobs(cache_of(home)) and not without_rubbish(cache_of(home)), "four at once", without_rubbish(cache_of(home)))
    for signal in ("KILL", "INT", "TERM"):  # cut off midway, then again
        with Folder() as home:
            hub.reset()
            hub.fault(r"GET /repos/", "slow", per_kib=0.002)
            environment = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "SSL_"))}
            environment |= {"HF_HOME": str(home), "HF_ENDPOINT": hub.endpoint}
            process = subprocess.Popen([pagoda.program, "pull", "org/big"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(1.5)
            process.send_signal(getattr(__import__("signal"), f"SIG{signal}"))
            process.wait(20)
            check(not list(cache_of(home).glob("*/snapshots/*/model.safetensors")), f"cut off by {signal}", "a snapshot names a file that did not come")
            hub.reset()
            done = pagoda.pull(home, "org/big")
            files = list(cache_of(home).glob("*/snapshots/*/model.safetensors"))
            check(done.returncode == 0 and files and files[0].read_bytes() == right, f"healed after {signal}", done.stderr[-300:])
            check(not without_rubbish(cache_of(home)), f"healed after {signal}", without_rubbish(cache_of(home)))
            if signal != "KILL":
                check(any(entry["range"] for entry in hub.log), f"healed after {signal}", "began anew where it could have resumed")
    with Folder() as home:  # a full disk: a tiny tmpfs, where we may mount one
        if run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", home]).returncode == 0:
            try:
                hub.reset()
                done = pagoda.pull(home, "org/big")
                check(done.returncode in (5, 6), "full disk", f"exit code {done.returncode}: {done.stderr[-300:]}")
                check("space" in done.stderr.lower(), "full disk", done.stderr[-300:])
                check(not list(cache_of(home).glob("*/snapshots/*/model.safetensors")), "full disk", "a snapshot names a file that did not come")
            finally:
                run(["umount", home])
        else:
            count.skip("full disk", "may not mount a tmpfs here")
    with Folder() as home:  # a cache that may not be written
        (home / "hub").mkdir()
        (home / "hub").chmod(0o500)
        if os.geteuid() != 0:
            done = pagoda.pull(home, "org/big")
            check(done.returncode == 6 and str(home) in done.stderr, "cache is read-only", f"exit code {done.returncode}: {done.stderr[-300:]}")
        else:
            count.skip("cache is read-only", "root may write everywhere")


def pagoda_tls(count, program):
    with Hub(repositories(), tls=True) as hub, Folder() as home:
        pagoda = Pagoda(program, hub)
        done = pagoda.pull(home, "org/llama", SSL_CERT_FILE=str(hub.ca))
        count.check(done.returncode == 0, "TLS", done.stderr[-300:])
        done = pagoda.pull(home, "org/plain")
        count.check(done.returncode == 6 and "certificate" in done.stderr.lower(), "TLS without the authority", f"exit code {done.returncode}: {done.stderr[-300:]}")
    # A certificate of another host (it speaks of 127.0.0.1).
    with Hub(repositories(), tls=True, address="127.0.0.2") as hub, Folder() as home:
        done = Pagoda(program, hub).pull(home, "org/plain", SSL_CERT_FILE=str(hub.ca))
        count.check(done.returncode == 6, "TLS for another host", f"exit code {done.returncode}: {done.stderr[-300:]}")


def name_in_place_of_folder(count, pagoda):
    with Folder() as home:
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "SSL_"))}
        environment |= {"HF_HOME": str(home), "HF_ENDPOINT": pagoda.hub.endpoint}
        command = [pagoda.program, "generate", "org/llama", "--prompt-ids", "[21]", "--max-new-tokens", "5", "--dtype", "float32", "--json"]
        first = run(command, env=environment)
        again = run(command, env=environment | {"HF_HUB_OFFLINE": "1"})
        count.check(first.returncode == 0 and first.stdout == again.stdout, "name in place of a folder", f"{first.stderr[-300:]} {again.stderr[-300:]}")


def main():
    count = Count()
    print(f"huggingface_hub {huggingface_hub.__version__}")
    with Hub(repositories(), tokens=("hf_good", "hf_other")) as hub:
        real_client(count, hub)
        real_client_tls(count)
        if "--self" not in sys.argv:
            pagoda = Pagoda(binary(), hub)
            pagoda_against_client(count, pagoda)
            pagoda_places_and_tokens(count, pagoda)
            pagoda_faults(count, pagoda)
            pagoda_hostile_listings(count, pagoda)
            pagoda_together_and_cut_off(count, pagoda)
            name_in_place_of_folder(count, pagoda)
            pagoda_tls(count, pagoda.program)
    count.finish()


if __name__ == "__main__":
    main()
