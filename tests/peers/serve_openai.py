"""The real `openai` package drives `pagoda serve`: completions, chats, tools, responses, whole and streamed, several at once, and its errors.

usage: serve_openai.py PAGODA [--model FOLDER]     (default: the stories model of PAGODA_TEST_DATA)
"""

import concurrent.futures
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import urllib.request

import openai

import common

CHAT = "{{ bos_token }}{% for m in messages %}{{ m['content'] }} {% endfor %}"


class Server:
    """`pagoda serve` on a free port, stopped as a service manager would."""

    def __init__(self, binary, model, *flags):
        self.process = subprocess.Popen([binary, "serve", model, "--port", "0", "--json", "--disable-access-log", *flags],
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"serve did not start: {self.process.stderr.read()}")
        self.ready = json.loads(line)
        self.url = self.ready["url"]

    def stop(self):
        self.process.terminate()
        return self.process.wait(60)


def fetch(url, data=None, headers=None):
    request = urllib.request.Request(url, data, headers or {})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def expect_error(count, group, kind, call):
    try:
        call()
    except kind as error:
        count.check(True, group)
        return error
    except Exception as error:  # noqa: BLE001: any other is the failure
        count.check(False, group, f"got {type(error).__name__}: {error}")
        return None
    count.check(False, group, "no error")
    return None


def completions(count, client, model, expected):
    whole = client.completions.create(model=model, prompt="", max_tokens=64, temperature=0)
    text = whole.choices[0].text
    count.check(expected.startswith(text.strip()) and len(text) > 50, "greedy", repr(text))
    count.check(whole.usage.completion_tokens == 64, "usage", whole.usage)
    pieces = [chunk.choices[0].text for chunk in
              client.completions.create(model=model, prompt="", max_tokens=64, temperature=0, stream=True)]
    count.check("".join(pieces) == text and len(pieces) > 10, "stream", pieces)
    scored = client.completions.create(model=model, prompt="Once upon", max_tokens=4, temperature=0, logprobs=3, echo=True)
    lists = scored.choices[0].logprobs
    count.check(len(lists.tokens) == len(lists.token_logprobs) == len(lists.top_logprobs) and lists.token_logprobs[0] is None,
                "logprobs", lists)
    several = client.completions.create(model=model, prompt=["Once", "The"], max_tokens=8, n=3, temperature=1, seed=1)
    count.check([c.index for c in several.choices] == list(range(6)), "n of several prompts", several)
    stopped = client.completions.create(model=model, prompt="", max_tokens=200, temperature=0, stop=["."])
    count.check("." not in stopped.choices[0].text and stopped.choices[0].finish_reason == "stop", "stop", stopped)
    beams = client.completions.create(model=model, prompt="Once", max_tokens=8, n=2, extra_body={"use_beam_search": True})
    count.check(len(beams.choices) == 2, "beams", beams)
    return text


def chats(count, client, model):
    messages = [{"role": "user", "content": "Once upon a time"}]
    whole = client.chat.completions.create(model=model, messages=messages, max_tokens=24, temperature=0)
    count.check(whole.choices[0].message.role == "assistant" and whole.choices[0].message.content, "chat", whole)
    stream = client.chat.completions.create(model=model, messages=messages, max_tokens=24, temperature=0, stream=True,
                                            stream_options={"include_usage": True})
    text, usage = "", None
    for chunk in stream:
        if chunk.choices:
            text += chunk.choices[0].delta.content or ""
        usage = chunk.usage or usage
    count.check(text == whole.choices[0].message.content, "chat stream", text)
    count.check(usage is not None and usage.completion_tokens == 24, "chat usage", usage)
    scored = client.chat.completions.create(model=model, messages=messages, max_tokens=3, logprobs=True, top_logprobs=2)
    count.check(len(scored.choices[0].logprobs.content) == 3 and len(scored.choices[0].logprobs.content[0].top_logprobs) == 2,
                "chat logprobs", scored)


def structured(count, client, model):
    schema = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer", "minimum": 0, "maximum": 99},
                                               "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 3}},
              "required": ["name", "age", "tags"], "additionalProperties": False}
    for seed in range(8):
        answer = client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "Once"}], max_tokens=200, temperature=1, seed=seed,
            response_format={"type": "json_schema", "json_schema": {"name": "person", "schema": schema}}).choices[0]
        try:
            value = json.loads(answer.message.content)
            good = set(value) == {"name", "age", "tags"} and 0 <= value["age"] <= 99 and len(value["name"]) <= 12
        except (ValueError, TypeError, KeyError):
            good = False
        count.check(good and answer.finish_reason == "stop", "json schema", answer)
        answer = client.completions.create(model=model, prompt="Once", max_tokens=60, temperature=1, seed=seed,
                                           extra_body={"structured_outputs": {"regex": "[a-z]{3,9} (cat|dog)[.!]"}}).choices[0].text
        count.check(re.fullmatch("[a-z]{3,9} (cat|dog)[.!]", answer), "regex", repr(answer))


TOOLS = [{"type": "function", "function": {
    "name": "get_weather", "description": "The weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"enum": ["Paris", "Bern"]}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
                   "required": ["city", "days"], "additionalProperties": False}}}]


def good_arguments(text):
    value = json.loads(text)
    return set(value) == {"city", "days"} and value["city"] in ("Paris", "Bern") and 1 <= value["days"] <= 9


def tools(count, client, model):
    messages = [{"role": "user", "content": "Once"}]
    named = {"type": "function", "function": {"name": "get_weather"}}
    for seed in range(4):
        for choice, finish in ((named, "stop"), ("required", "tool_calls")):
            ask = dict(model=model, messages=messages, tools=TOOLS, tool_choice=choice, parallel_tool_calls=False, temperature=1, seed=seed,
                       max_tokens=100)
            answer = client.chat.completions.create(**ask).choices[0]
            call = answer.message.tool_calls[0]
            count.check(call.function.name == "get_weather" and good_arguments(call.function.arguments) and answer.finish_reason == finish
                        and answer.message.content is None, "forced call", answer)
            name, arguments, last = "", "", None
            for chunk in client.chat.completions.create(**ask, stream=True):
                delta = chunk.choices[0].delta
                for piece in delta.tool_calls or []:
                    name += piece.function.name or ""
                    arguments += piece.function.arguments or ""
                last = chunk.choices[0].finish_reason or last
            count.check((name, arguments, last) == (call.function.name, call.function.arguments, finish), "forced call, streamed", arguments)
    # The model's own words, made to be a call.
    text = '<tool_call>{"name": "get_weather", "arguments": {"city": "Bern", "days": 2}}</tool_call>'
    ask = dict(model=model, messages=messages, tools=TOOLS, extra_body={"structured_outputs": {"choice": [text]}})
    answer = client.chat.completions.create(**ask).choices[0]
    count.check(answer.finish_reason == "tool_calls" and json.loads(answer.message.tool_calls[0].function.arguments) == {"city": "Bern", "days": 2},
                "call in the text", answer)
    with client.chat.completions.stream(**ask) as stream:
        events = list(stream)
        final = stream.get_final_completion().choices[0]
    count.check(final.message.tool_calls[0].function.name == "get_weather" and any(e.type == "tool_calls.function.arguments.done" for e in events),
                "call in the text, streamed", final)
    messages += [answer.message, {"role": "tool", "tool_call_id": answer.message.tool_calls[0].id, "content": "sunny"}]
    count.check(client.chat.completions.create(model=model, messages=messages, tools=TOOLS, tool_choice="none", max_tokens=4).choices[0].message.content,
                "the tool's answer goes on")


def responses(count, client, model):
    ask = dict(model=model, input="Once upon a time", temperature=0, max_output_tokens=24)
    whole = client.responses.create(**ask)
    chat = client.chat.completions.create(model=model, messages=[{"role": "user", "content": "Once upon a time"}], max_tokens=24, temperature=0)
    count.check(whole.output_text == chat.choices[0].message.content and whole.usage.output_tokens == 24 and whole.status == "incomplete",
                "response", whole)
    events = list(client.responses.create(**ask, stream=True))
    count.check("".join(e.delta for e in events if e.type == "response.output_text.delta") == whole.output_text, "response, streamed", events)
    count.check([e.sequence_number for e in events] == list(range(len(events))) and events[0].type == "response.created"
                and events[-1].type == "response.incomplete" and events[-1].response.output_text == whole.output_text, "events", events)
    schema = {"type": "object", "properties": {"age": {"type": "integer", "minimum": 0, "maximum": 99}}, "required": ["age"],
              "additionalProperties": False}
    with client.responses.stream(model=model, input="Once", instructions="Speak", temperature=1, max_output_tokens=60,
                                 extra_body={"seed": 3}, text={"format": {"type": "json_schema", "name": "a", "schema": schema, "strict": True}}) as stream:
        final = stream.until_done().get_final_response()
    count.check(0 <= json.loads(final.output_text)["age"] <= 99 and final.status == "completed", "response by schema", final)
    function = [{"type": "function", "strict": True, **TOOLS[0]["function"]}]
    called = client.responses.create(model=model, input="Once", tools=function, tool_choice="required", parallel_tool_calls=False, temperature=1,
                                     extra_body={"seed": 1})
    call = called.output[0]
    count.check(call.type == "function_call" and good_arguments(call.arguments), "response with a call", called)
    with client.responses.stream(model=model, input="Once", tools=function, tool_choice={"type": "function", "name": "get_weather"}) as stream:
        arguments = "".join(e.delta for e in stream if e.type == "response.function_call_arguments.delta")
        final = stream.get_final_response()
    count.check(good_arguments(arguments) and final.output[0].arguments == arguments, "response with a call, streamed", final)
    outcome = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    by_id = client.responses.create(model=model, previous_response_id=called.id, input=[outcome], temperature=0, max_output_tokens=8)
    by_items = client.responses.create(model=model, input=[{"role": "user", "content": "Once"}, call, outcome], temperature=0, max_output_tokens=8)
    count.check(by_id.output_text == by_items.output_text and by_id.usage.input_tokens == by_items.usage.input_tokens, "previous_response_id", by_id)
    count.check(client.responses.retrieve(by_id.id).output_text == by_id.output_text, "retrieve")
    client.responses.delete(by_id.id)
    expect_error(count, "deleted", openai.NotFoundError, lambda: client.responses.retrieve(by_id.id))
    running = client.responses.create(**{**ask, "max_output_tokens": 200}, background=True)
    while running.status == "in_progress":
        time.sleep(0.05)
        running = client.responses.retrieve(running.id)
    count.check(running.status in ("completed", "incomplete") and running.output_text.startswith(whole.output_text), "background", running)
    running = client.responses.cancel(client.responses.create(**{**ask, "max_output_tokens": 200}, background=True).id)
    count.check(running.status in ("cancelled", "incomplete", "completed"), "cancel", running)
    expect_error(count, "wrong item", openai.BadRequestError,
                 lambda: client.responses.create(model=model, input=[{"type": "item_reference", "id": "x"}]))


def together(count, client, model, alone):
    def one(i):
        if i % 3 == 0:
            return client.completions.create(model=model, prompt="", max_tokens=64, temperature=0).choices[0].text == alone
        if i % 3 == 1:
            stream = client.completions.create(model=model, prompt="Once", max_tokens=200, temperature=1, seed=i, stream=True)
            next(iter(stream))
            stream.close()  # a client that leaves
            return True
        text = [client.completions.create(model=model, prompt="Once", max_tokens=20, temperature=1, seed=7).choices[0].text
                for _ in range(2)]
        return text[0] == text[1]

    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        for i, good in enumerate(pool.map(one, range(90))):
            count.check(good, "the same in company", i)


def errors(count, client, model, url):
    expect_error(count, "no such model", openai.NotFoundError, lambda: client.completions.create(model="gpt-4", prompt="a"))
    expect_error(count, "wrong value", openai.BadRequestError,
                 lambda: client.completions.create(model=model, prompt="a", temperature=-1))
    expect_error(count, "unknown field", openai.BadRequestError,
                 lambda: client.completions.create(model=model, prompt="a", extra_body={"nonsense": 1}))
    expect_error(count, "wrong key", openai.AuthenticationError,
                 lambda: openai.OpenAI(base_url=url + "/v1", api_key="wrong", max_retries=0).models.list())
    count.check(fetch(url + "/health")[0] == 200, "health after errors")


def main():
    count = common.Count()
    data = common.data_folder()
    model = pathlib.Path(sys.argv[sys.argv.index("--model") + 1]) if "--model" in sys.argv else data and data / "checkpoints/llama2c/hf"
    if not model or not model.is_dir():
        count.skip("serve_openai", "needs PAGODA_TEST_DATA", 1)
        count.finish()
    with tempfile.NamedTemporaryFile("w", suffix=".jinja") as template:
        template.write(CHAT)
        template.flush()
        begun = time.monotonic()
        server = Server(common.binary(), str(model), "--tool-call-parser", "hermes", "--api-key", "secret", "--served-model-name", "stories", "--chat-template",
                        template.name)
        print(f"ready after {time.monotonic() - begun:.2f} s")
        client = openai.OpenAI(base_url=server.url + "/v1", api_key="secret", max_retries=0)
        count.check([m.id for m in client.models.list()] == ["stories"], "models")
        expected = (model / "../expected_greedy.txt").resolve()
        expected = expected if expected.is_file() else model / "expected_greedy.txt"
        alone = completions(count, client, "stories", expected.read_text() if expected.is_file() else "")
        chats(count, client, "stories")
        structured(count, client, "stories")
        tools(count, client, "stories")
        responses(count, client, "stories")
        together(count, client, "stories", alone)
        errors(count, client, "stories", server.url)
        status, text = fetch(server.url + "/metrics", headers={"Authorization": "Bearer secret"})
        count.check(status == 200 and "vllm:generation_tokens_total" in text, "metrics", text[:200])
        count.check(server.stop() == 0, "a clean end", server.process.returncode)
    count.finish()


if __name__ == "__main__":
    main()
