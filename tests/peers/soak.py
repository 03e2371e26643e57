"""Soak: many streaming clients at once for a while, a third of whom leave, malformed requests among them; memory, ends and the client's own cost.

usage: soak.py PAGODA [MODEL] [--clients 1000] [--seconds 60] [--seed 0] [--kv-cache-memory 256MiB]

Every client opens a stream of 16 to 64 tokens (ids as prompts, half of them seeded), reads it to its end or leaves in the middle of it, and begins anew;
one request in twenty is malformed and must get a 4xx. A stream that ends without [DONE], any other answer, a failed health check at the end, pages still
held, or memory that grew by more than 5 % after the first third is a failure. The client is asyncio and its own HTTP.
"""

import argparse
import asyncio
import json
import random
import resource
import time

import common
from serve_openai import Server, fetch

BROKEN = [b"{", b'{"prompt": [1], "max_tokens": -1}', b'{"prompt": [99999999]}', b'{"prompt": "x", "n": 100000}', b'{"prompt": [1], "stop": 7}',
          b"[" * 20000, b'{"prompt": [1], "temperature": 1e999}', b'{"prompt": [1], "unknown_field": true}', b'{"prompt": [1], "guided_regex": "(("}']


def rss(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS"))


class Soak:
    def __init__(self, port, seed, until):
        self.port, self.seed, self.until = port, seed, until
        self.done = {"ended": 0, "left": 0, "refused": 0, "tokens": 0}
        self.wrong = []

    async def ask(self, body):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        head = f"POST /v1/completions HTTP/1.1\r\nHost: soak\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        return reader, writer

    async def malformed(self, rng):
        reader, writer = await self.ask(rng.choice(BROKEN))
        answer = await reader.read()
        writer.close()
        if answer[9:10] == b"4":
            self.done["refused"] += 1
        else:
            self.wrong.append(f"a malformed request got {answer[:120]!r}")

    async def stream(self, rng):
        count = rng.randrange(16, 65)
        body = {"prompt": [rng.randrange(3, 400) for _ in range(rng.randrange(4, 40))], "max_tokens": count, "ignore_eos": True, "stream": True}
        body |= {"temperature": 1.0, "seed": rng.randrange(1 << 30)} if rng.random() < 0.5 else {"temperature": 0}
        leaves = rng.random() < 1 / 3
        stay = rng.randrange(0, count) if leaves else count + 1
        reader, writer = await self.ask(json.dumps(body).encode())
        events, tail = 0, b""
        try:
            while events < stay:
                piece = await reader.read(65536)
                if not piece:
                    break
                events += piece.count(b"data: {")
                self.done["tokens"] += piece.count(b"data: {")
                tail = (tail + piece)[-64:]
        finally:
            writer.close()
        if events >= stay and leaves:
            self.done["left"] += 1
        elif b"data: [DONE]" in tail and events == count:
            self.done["ended"] += 1
        else:
            self.wrong.append(f"a stream ended after {events} of {count} tokens: {tail!r}")

    async def client(self, number):
        rng = random.Random(self.seed * 1_000_003 + number)
        while time.monotonic() < self.until:
            try:
                await (self.malformed(rng) if rng.random() < 0.05 else self.stream(rng))
            except OSError as error:
                self.wrong.append(f"{type(error).__name__}: {error}")


async def run(soak, clients, server, samples):
    async def watch():
        begun = time.monotonic()
        while True:
            samples.append((time.monotonic() - begun, rss(server.process.pid)))
            print(f"{samples[-1][0]:5.0f} s: {soak.done}, wrong {len(soak.wrong)}, {samples[-1][1] >> 20} MiB", flush=True)
            await asyncio.sleep(15)

    watcher = asyncio.create_task(watch())
    await asyncio.gather(*(soak.client(i) for i in range(clients)))
    watcher.cancel()
    samples.append((samples[-1][0] + 15, rss(server.process.pid)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pagoda")
    parser.add_argument("model", nargs="?", help="default: the stories model of PAGODA_TEST_DATA")
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kv-cache-memory", default="256MiB", help="small: all of it is soon touched, and requests push each other out")
    options = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, options.clients + 256)), hard))
    count = common.Count(10)
    if options.model is None:
        data = common.data_folder()
        if data is None:
            count.skip("soak", "PAGODA_TEST_DATA is not set and no MODEL is given")
            return count.finish()
        options.model = str(data / "checkpoints/llama2c/hf")
    server = Server(options.pagoda, options.model, "--kv-cache-memory", options.kv_cache_memory, "--max-open-requests", str(2 * options.clients))
    soak = Soak(int(server.url.rsplit(":", 1)[1]), options.seed, time.monotonic() + options.seconds)
    samples = []
    asyncio.run(run(soak, options.clients, server, samples))
    for wrong in soak.wrong[:10]:
        print(wrong)
    count.check(not soak.wrong, "streams and refusals", f"{len(soak.wrong)} wrong")
    count.check(min(soak.done.values()) > 0, "work done", soak.done)
    count.check(fetch(server.url + "/health")[0] == 200, "health at the end")
    time.sleep(1)
    state = json.loads(fetch(server.url + "/pagoda/state")[1])
    count.check(state["running"] == state["waiting"] == 0 and state["cache"]["used"] == 0, "nothing is held at the end", str(state)[:300])
    settled = [size for at, size in samples if at >= samples[-1][0] / 3]
    count.check(max(settled) <= 1.05 * settled[0], "memory is flat", [size >> 20 for _, size in samples])
    print(f"client: {time.process_time():.1f} s of processor time; server: {samples[0][1] >> 20} to {samples[-1][1] >> 20} MiB")
    count.check(server.stop() == 0, "a clean end")
    count.finish()


if __name__ == "__main__":
    main()
