"""Tool calls found in the same texts by `pagoda serve` and by vLLM's parsers, whole and streamed.

usage: tool_calls.py PAGODA [--model FOLDER]     (default: the stories model of PAGODA_TEST_DATA; needs vllm, skips without)

The model is made to write each text (structured_outputs), so what is compared is the reading alone: names, arguments as JSON, content
but for white space beside calls. Where this project means to differ (docs/decisions/0015) there is no text here.
"""

import json
import pathlib
import sys
import tempfile

import openai

import common
from serve_openai import CHAT, Server

TOOLS = [{"type": "function", "function": {"name": name, "parameters": {"type": "object"}}} for name in ("f", "get_weather", "add")]
ARGUMENTS = ['{}', '{"x": 1}', '{"city": "Zürich", "days": [1, 2.5, null]}', '{"s": "a \\"quoted\\" {brace} </tool_call"}', '{"n": {"m": {"k": []}}}',
             '{"u": "\\u00e9\\n"}', '{"t": true, "e": -1e3}']
CONTENTS = ["Hello", "a < b and [x] {y}", "<tool", "1; 2", "It is <b>bold</b>."]


def texts():
    for arguments in ARGUMENTS:
        for name in ("f", "get_weather"):
            call = f'{{"name": "{name}", "arguments": {arguments}}}'
            yield "hermes", f"<tool_call>\n{call}\n</tool_call>"
            yield "hermes", f"Let me look.\n<tool_call>{call}</tool_call>\n<tool_call>\n{call}\n</tool_call>"
            yield "hermes", f"<tool_call>{call}"
            yield "llama3_json", f'{{"name": "{name}", "parameters": {arguments}}}'
            yield "llama3_json", f'<|python_tag|>{{"name": "{name}", "parameters": {arguments}}}; {call}'
            # vLLM reads the older list only with Mistral's own tokenizers.
            yield "mistral", f"[TOOL_CALLS]{name}{arguments}"
            yield "mistral", f"Well[TOOL_CALLS]{name}{arguments}[TOOL_CALLS]add{arguments}"
    for content in CONTENTS:
        yield from (("hermes", content), ("mistral", content))
        if "{" not in content:
            yield "llama3_json", content
    yield "hermes", '<tool_call>{"name": "f", "arguments": {bad}}</tool_call>'
    yield "hermes", '<tool_call>{"name": "f"'


class Vocabulary:
    """All of a tokenizer that the parsers ask for here."""

    def get_vocab(self):
        return {text: i for i, text in enumerate(["<tool_call>", "</tool_call>", "<|python_tag|>", "[TOOL_CALLS]", "[ARGS]", "<think>", "</think>"])}

    def __getattr__(self, name):
        raise AttributeError(name)


def simple(content, calls):
    return (content or "").strip(), [(name, json.loads(arguments)) for name, arguments in calls]


def theirs(parser, text):
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.tool_parsers import ToolParserManager
    request = ChatCompletionRequest(messages=[], model="m", tools=TOOLS, tool_choice="auto")
    found = ToolParserManager.get_tool_parser(parser)(Vocabulary(), request.tools).extract_tool_calls(text, request)
    return simple(found.content, [(call.function.name, call.function.arguments) for call in found.tool_calls])


def ours(client, text, **more):
    ask = dict(model="stories", messages=[{"role": "user", "content": "Once"}], extra_body={"structured_outputs": {"choice": [text]}}, **more)
    message = client.chat.completions.create(**ask).choices[0].message
    whole = simple(message.content, [(call.function.name, call.function.arguments) for call in message.tool_calls or []])
    content, calls = "", []
    for chunk in client.chat.completions.create(**ask, stream=True):
        delta = chunk.choices[0].delta
        content += delta.content or ""
        for piece in delta.tool_calls or []:
            if piece.id:
                calls.append([piece.function.name, ""])
            calls[piece.index][1] += piece.function.arguments
    return whole, simple(content, calls)


def main():
    count = common.Count()
    data = common.data_folder()
    model = pathlib.Path(sys.argv[sys.argv.index("--model") + 1]) if "--model" in sys.argv else data and data / "checkpoints/llama2c/hf"
    try:
        import vllm.tool_parsers  # noqa: F401
    except ImportError:
        count.skip("tool_calls", "needs vllm", 1)
        count.finish()
    if not model or not model.is_dir():
        count.skip("tool_calls", "needs PAGODA_TEST_DATA", 1)
        count.finish()
    everything = list(texts())
    with tempfile.NamedTemporaryFile("w", suffix=".jinja") as template:
        template.write(CHAT)
        template.flush()
        for parser in ("hermes", "llama3_json", "mistral"):
            server = Server(common.binary(), str(model), "--served-model-name", "stories", "--chat-template", template.name, "--tool-call-parser",
                            parser)
            client = openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0)
            for text in (text for name, text in everything if name == parser):
                expected = theirs(parser, text)
                whole, streamed = ours(client, text, tools=TOOLS)
                count.check(whole == expected, parser, lambda: (text, whole, expected))
                count.check(streamed == whole, parser + ", streamed", lambda: (text, streamed, whole))
            count.check(server.stop() == 0, "a clean end", parser)
    count.finish()


if __name__ == "__main__":
    main()
