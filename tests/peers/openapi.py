"""Requests generated from the server's own OpenAPI document: no answer from 500 on, and none that contradicts the document.

usage: openapi.py PAGODA [--model FOLDER] [--examples N] [--seed N]     (default: a model of the fixtures, 150 examples an operation)

Valid and invalid requests, by schemathesis; every field alone at its bounds and beyond. What is checked: no server error, documented
status codes, content types and bodies, refusal of what the document does not allow, methods, keys. A valid request may still be
refused (400): fields can be at odds with each other.
"""

import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

import common
from serve_openai import CHAT, Server, fetch

CHECKS = ("not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,"
          "negative_data_rejection,unsupported_method,allow_header_conformance,ignored_auth")


def option(name, default):
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else default


def word_model(folder):
    """The LLaMA fixture with a tokenizer of whole words, as the C++ tests make it."""
    fixtures = pathlib.Path(__file__).resolve().parent.parent / "fixtures/llama"
    for name in ("config.json", "generation_config.json", "model.safetensors"):
        shutil.copy(fixtures / name, folder / name)
    vocab = {"<unk>": 0, "<s>": 1, **{f"w{i}": i for i in range(2, 99)}}
    token = {"id": 1, "content": "<s>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    (folder / "tokenizer.json").write_text(json.dumps({
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [token], "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": {
            "type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
        "decoder": None, "model": {"type": "WordLevel", "unk_token": "<unk>", "vocab": vocab}}))
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", "tokenizer_class": "PreTrainedTokenizerFast"}))
    (folder / "chat_template.jinja").write_text(CHAT)
    return folder


def main():
    count = common.Count()
    tool = pathlib.Path(sys.executable).parent / "schemathesis"
    if not tool.is_file():
        count.skip("openapi", "needs schemathesis (tests/peers/requirements.txt)", 1)
        count.finish()
    with tempfile.TemporaryDirectory() as folder:
        model = option("--model", None) or str(word_model(pathlib.Path(folder)))
        server = Server(common.binary(), model, "--api-key", "secret", "--served-model-name", "tiny", "--trust-request-chat-template")
        auth = {"Authorization": "Bearer secret"}
        status, text = fetch(server.url + "/openapi.json", headers=auth)
        count.check(status == 200, "document", text[:200])
        operations = [path for path, methods in json.loads(text)["paths"].items() if "text/event-stream" not in
                      json.dumps(methods.get("get", {}))]
        for path in operations:
            report = pathlib.Path(folder) / "report.json"
            run = subprocess.run(
                [str(tool), "run", server.url + "/openapi.json", "-H", "Authorization: Bearer secret", "--include-path", path,
                 "--checks", CHECKS, "--max-examples", option("--examples", "150"), "--seed", option("--seed", "1"),
                 "--phases", "examples,coverage,fuzzing", "--workers", "2", "--request-timeout", "60", "--warnings", "off",
                 "--suppress-health-check", "all", "--continue-on-failure", "--report-json-path", str(report)],
                capture_output=True, text=True, cwd=folder)
            count.check(run.returncode == 0, path, run.stdout[-6000:] + run.stderr[-500:])
        count.check(fetch(server.url + "/health")[0] == 200, "health afterwards")
        count.check(server.stop() == 0, "a clean end", server.process.returncode)
    count.finish()


if __name__ == "__main__":
    main()
