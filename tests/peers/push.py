"""pagoda push against a local hub, beside huggingface_hub's upload_folder: the same repository afterwards, pulled back equal.

usage: push.py PAGODA [--self] ; --self checks only that our hub satisfies the real client (no binary needed).
"""

import os
import pathlib
import random
import sys
import tempfile

for variable in ("HF_ENDPOINT", "HF_TOKEN", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE"):
    os.environ.pop(variable, None)
os.environ.update(HF_HUB_DISABLE_PROGRESS_BARS="1", HF_HUB_DISABLE_TELEMETRY="1", HF_HUB_DISABLE_XET="1")
os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="hf-home-")

import huggingface_hub
from huggingface_hub import HfApi

from common import Count, binary, run
from hub_server import Hub


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def make_folder(root):
    rng = random.Random(3)
    folder = root / "model"
    files = {"config.json": b'{"architectures": ["LlamaForCausalLM"], "model_type": "llama"}', "model.safetensors": rng.randbytes(2_500_000),
             "part two.safetensors": rng.randbytes(300_001), "sub/ü+%.txt": "Grüße\n".encode(), "empty.txt": b"", "tokenizer.json": b"{}" * 3000}
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder, files


def state(hub, name, revision="main"):
    return {path: (file.data, file.lfs) for path, file in hub.repositories[name].commit(revision)[1].items() if path != ".gitattributes"}


class Pushes:
    def __init__(self, count, hub, folder, files, program):
        self.count, self.hub, self.folder, self.files, self.program = count, hub, folder, files, program

    def push(self, name, *flags, **environment):
        variables = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "SSL_"))}
        variables |= {"HF_HOME": os.environ["HF_HOME"], "HF_ENDPOINT": self.hub.endpoint, "HF_TOKEN": "hf_good"} | environment
        return run([self.program, "push", self.folder, name, *flags], env=variables)

    def plain(self):
        for label, part in (("whole", 0), ("in parts", 700_000)):
            self.hub.part_size, self.hub.objects = part, {}
            name = f"org/ours-{part}"
            done = self.push(name)
            after = state(self.hub, name) if done.returncode == 0 else {}
            card = after.pop("README.md", (b"", False))[0]
            real = state(self.hub, "org/real")
            self.count.check(done.returncode == 0 and after == real, f"push {label}", f"{done.stderr[-300:]} {sorted(after)} {sorted(real)}")
            self.count.check(card.startswith(b"---\nlibrary_name: transformers\npipeline_tag: text-generation\n"), f"card {label}", card[:200])
            done = self.push(name)
            self.count.check(done.returncode == 0 and "0 files committed" in done.stderr, f"push {label} again", done.stderr[-300:])
        self.hub.part_size = 0

    def card_is_read(self):
        card = huggingface_hub.ModelCard(state(self.hub, "org/ours-0")["README.md"][0].decode())
        self.count.check(card.data.pipeline_tag == "text-generation" and "pagoda" in card.data.tags, "card read by huggingface_hub", str(card.data))

    def pulled_back(self):
        with tempfile.TemporaryDirectory() as home:
            variables = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "SSL_"))}
            done = run([self.program, "pull", "org/ours-0", "--include", "*", "--quiet"], env=variables | {"HF_HOME": home, "HF_ENDPOINT": self.hub.endpoint})
            got = contents(pathlib.Path(done.stdout.strip())) if done.returncode == 0 else {}
            got = {name: data for name, data in got.items() if name not in (".gitattributes", "README.md")}
            self.count.check(got == self.files, "pulled back", f"{done.stderr[-300:]} {sorted(got)}")

    def faults(self):
        for label, match, kind, more in (("503 of the store", r"PUT /uploads", "status", {"status": 503, "times": 2}),
                                         ("no answer of the store", r"PUT /uploads", "refuse", {"times": 2}),
                                         ("500 of the batch", r"POST .*batch", "status", {"status": 500, "times": 1}),
                                         ("429", r"POST /api", "status", {"status": 429, "headers": {"Retry-After": "1"}, "times": 1})):
            self.hub.reset()
            self.hub.objects = {}
            self.hub.fault(match, kind, **more)
            done = self.push("org/" + label.replace(" ", "-"))
            self.count.check(done.returncode == 0, f"fault {label}", done.stderr[-300:])
        for label, match, kind, more in (("commit fails", r"POST .*/commit/", "status", {"status": 500}), ("captive portal", r"", "html", {}),
                                         ("garbage", r"POST .*batch", "garbage", {}), ("store refuses", r"PUT /uploads", "status", {"status": 403})):
            self.hub.reset()
            self.hub.objects = {}
            self.hub.fault(match, kind, times=10_000, **more)
            name = "org/" + label.replace(" ", "-")
            done = self.push(name)
            self.count.check(1 < done.returncode < 64 and "[" in done.stderr, f"fault {label}", f"exit code {done.returncode}: {done.stderr[-300:]}")
            there = name in self.hub.repositories and "config.json" in state(self.hub, name)
            self.count.check(not there, f"fault {label}", "half of a push is visible")
            self.hub.reset()
            done = self.push(name)
            self.count.check(done.returncode == 0 and state(self.hub, name)["model.safetensors"][0] == self.files["model.safetensors"],
                             f"healed after {label}", done.stderr[-300:])
        self.hub.reset()
        for token in ("hf_other", "hf_wrong"):
            done = self.push("org/ours-0", HF_TOKEN=token)
            self.count.check(done.returncode == 2 and "token" in done.stderr, "refused token", f"exit code {done.returncode}: {done.stderr[-300:]}")
        self.count.check(self.push("org/pr", "--create-pr").returncode == 0 and "refs/pr/1" in self.hub.repositories["org/pr"].heads, "pull request", "")
        self.count.check(self.push("org/branch", "--revision", "v2").returncode == 0 and "model.safetensors" in state(self.hub, "org/branch", "v2"), "branch", "")
        tokens = [entry for entry in self.hub.log if entry["path"].startswith("/uploads") and entry["token"]]
        self.count.check(not tokens, "token sent to the store", tokens[:1])


def main():
    count = Count()
    print(f"huggingface_hub {huggingface_hub.__version__}")
    with tempfile.TemporaryDirectory() as root, Hub({}, tokens=("hf_good", "hf_other")) as hub:
        folder, files = make_folder(pathlib.Path(root))
        api = HfApi(endpoint=hub.endpoint, token="hf_good")
        for name, part in (("org/real-parts", 700_000), ("org/real", 0)):
            hub.part_size, hub.objects = part, {}
            api.create_repo(name)
            api.upload_folder(repo_id=name, folder_path=folder)
            got = {path: data for path, (data, _) in state(hub, name).items()}
            count.check(got == files, f"the real client's push to {name}", sorted(got))
        if "--self" not in sys.argv:
            pushes = Pushes(count, hub, folder, files, binary())
            pushes.plain()
            pushes.card_is_read()
            pushes.pulled_back()
            pushes.faults()
    count.finish()


if __name__ == "__main__":
    main()
