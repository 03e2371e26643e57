"""/v1/embeddings against transformers' hidden states, through the real `openai` package (base64) and as floats.

usage: embeddings.py PAGODA     (on the fixtures)
"""

import json
import pathlib

import openai
import torch
import transformers

import common
from serve_openai import Server

FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "fixtures"
PROMPTS = [[5, 6, 7], [8], list(range(1, 60)), [9, 9, 9, 9], list(range(1, 40))]


def expected(model, ids, pooling, normalize):
    hidden = model(torch.tensor([ids]), output_hidden_states=True, use_cache=False).hidden_states[-1][0].double()
    vector = {"LAST": hidden[-1], "MEAN": hidden.mean(0), "CLS": hidden[0]}[pooling]
    return torch.nn.functional.normalize(vector, dim=0) if normalize else vector


@torch.no_grad()
def main():
    count = common.Count()
    for family in ("llama", "gpt2", "qwen2", "mistral", "smollm2", "gpt_bigcode_mqa"):
        model = transformers.AutoModelForCausalLM.from_pretrained(FIXTURES / family, dtype=torch.float32).eval()
        for pooling in ("LAST", "MEAN", "CLS"):
            server = Server(common.binary(), str(FIXTURES / family), "--served-model-name", "m", "--dtype", "float32",
                            "--kv-cache-memory", "64MiB", "--pooler-config", json.dumps({"pooling_type": pooling}))
            client = openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0)
            for normalize in (True, False):
                more = {"use_activation": normalize}
                packed = client.embeddings.create(model="m", input=PROMPTS, extra_body=more)
                plain = client.embeddings.create(model="m", input=PROMPTS, encoding_format="float", extra_body=more)
                count.check(packed.usage.prompt_tokens == sum(map(len, PROMPTS)), "usage", packed.usage)
                for ids, one, other in zip(PROMPTS, packed.data, plain.data, strict=True):
                    want = expected(model, ids, pooling, normalize)
                    got = torch.tensor(one.embedding, dtype=torch.float64)
                    count.check(torch.equal(got.float(), torch.tensor(other.embedding)), "base64 and floats", family)
                    error = ((got - want).abs().max() / want.abs().max()).item()
                    count.check(error < 1e-4, "transformers", f"{family} {pooling} {normalize}: {error}")
            server.stop()
    count.finish()


if __name__ == "__main__":
    main()
