"""Writes tests/generate/data from transformers: processed rows, and searches over a toy model that is only two tables.

Run with the Python packages of tests/fixtures/requirements.txt. The toy: logits = first[last id] + second[id before it] (id 0
where there is none), in float32.
"""

import json
import pathlib
import random

import torch
from transformers import GenerationConfig, GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

FOLDER = pathlib.Path(__file__).parent / "data"


class ToyConfig(PretrainedConfig):
    model_type = "toy_table"


class Toy(PreTrainedModel, GenerationMixin):
    config_class = ToyConfig

    def __init__(self, config, first, second):
        super().__init__(config)
        self.register_buffer("first", first)
        self.register_buffer("second", second)
        self.anchor = torch.nn.Parameter(torch.zeros(1))
        self.post_init()

    def forward(self, input_ids, **_):
        before = torch.cat([torch.zeros_like(input_ids[:, :1]), input_ids[:, :-1]], dim=1)
        return CausalLMOutput(logits=self.first[input_ids] + self.second[before])

    def prepare_inputs_for_generation(self, input_ids, **_):
        return {"input_ids": input_ids}

    def _init_weights(self, module):
        pass


def toy(vocab, seed, decimals, scale):
    generator = torch.Generator().manual_seed(seed)
    tables = [(torch.randn(vocab, vocab, generator=generator) * scale * weight).mul(10**decimals).round().div(10**decimals)
              for weight in (1.0, 0.6)]
    return Toy(ToyConfig(vocab_size=vocab), *[table.float() for table in tables]).eval()


def search(model, prompt, **parameters):
    config = GenerationConfig(do_sample=False, pad_token_id=0, use_cache=False, **parameters)
    found = model.generate(torch.tensor([prompt]), generation_config=config, return_dict_in_generate=True, output_scores=True)
    case = {"prompt": prompt, "parameters": parameters}
    outputs = found.sequences[:, len(prompt):].tolist()
    ends = parameters.get("eos_token_id", [])
    for ids in outputs:  # what follows an end is filling
        for place, token in enumerate(ids):
            if token in ends:
                del ids[place + 1:]
                break
    case["outputs"] = outputs
    if parameters.get("num_beams", 1) > 1:
        case["scores"] = [float(f"{x:.8g}") for x in found.sequences_scores.tolist()]
    return case


def write_searches():
    rng = random.Random(5)
    models = []
    for vocab, seed, decimals, scale in ((12, 1, 2, 1.5), (24, 2, 2, 0.8), (16, 3, 0, 1.6), (70, 4, 1, 1.2)):
        model = toy(vocab, seed, decimals, scale)
        cases = []
        for number in range(70 if vocab < 70 else 24):
            parameters = {"max_new_tokens": rng.choice([1, 2, 5, 9, 14])}
            ends = rng.choice([[], [3], [3], [3, 5], [2, 3, 7]])
            if ends:
                parameters["eos_token_id"] = ends
            if number % 4:
                parameters["num_beams"] = rng.choice([2, 3, 4, 6])
                parameters["length_penalty"] = rng.choice([1.0, 1.0, 0.0, 2.0, 0.6, -0.7])
                parameters["early_stopping"] = rng.choice([False, True, "never"])
                parameters["num_return_sequences"] = rng.randint(1, parameters["num_beams"])
            if rng.random() < 0.25:
                parameters["no_repeat_ngram_size"] = rng.choice([1, 2, 3])
            if rng.random() < 0.2:
                parameters["repetition_penalty"] = rng.choice([1.3, 0.8])
            if ends and rng.random() < 0.2:
                parameters["min_new_tokens"] = rng.randint(1, parameters["max_new_tokens"])
            if rng.random() < 0.15:
                parameters["bad_words_ids"] = [[1], [4, 6], [2, 8, 2]]
            if rng.random() < 0.15:
                parameters["sequence_bias"] = [[[4], -1.5], [[6, 2], 2.0], [[1, 6], -0.5], [[6], 0.25]]
            if rng.random() < 0.1:
                parameters["suppress_tokens"] = [6, 9]
            if rng.random() < 0.1:
                parameters["begin_suppress_tokens"] = [1, 2, 8]
            if rng.random() < 0.08:
                parameters["forced_eos_token_id"] = [7]
            if rng.random() < 0.08:
                parameters["forced_bos_token_id"] = 8
            prompt = [rng.randrange(vocab) for _ in range(rng.choice([1, 1, 3, 6]))]
            if parameters.get("no_repeat_ngram_size") == 1 and vocab < 24:
                parameters["no_repeat_ngram_size"] = 2  # else no token is left
            wanted = parameters.get("num_return_sequences", 1)
            case = search(model, prompt, **{**parameters, "num_return_sequences": parameters.get("num_beams", 1)})
            case["parameters"] = parameters
            scores = case.get("scores", [])[:wanted + 1]
            case["outputs"] = case["outputs"][:wanted]
            if scores:
                case["scores"] = scores[:wanted]
            if all(a - b > 3e-6 * abs(a) or a == -1e9 for a, b in zip(scores, scores[1:])):  # else rounding orders them
                cases.append(case)
        models.append({"vocab": vocab, "first": [[round(x, 4) for x in row] for row in model.first.tolist()] if vocab < 70 else None,
                       "second": [[round(x, 4) for x in row] for row in model.second.tolist()] if vocab < 70 else None,
                       "cases": cases})
        if vocab == 70:  # as tenths, to save room
            models[-1]["tenths"] = [[[round(x * 10) for x in row] for row in table.tolist()] for table in (model.first, model.second)]
    (FOLDER / "searches.json").write_text(json.dumps(models, separators=(",", ":")) + "\n")


def write_processors():
    rng = random.Random(9)
    generator = torch.Generator().manual_seed(4)
    vocab = 48
    model = toy(vocab, 1, 2, 1.0)
    rows = [(torch.randn(vocab, generator=generator) * scale).mul(1000).round().div(1000) for scale in (1.0, 3.0, 6.0)]
    rows.append((torch.randn(vocab, generator=generator) * 1.5).round())     # many ties
    rows.append(torch.zeros(vocab))                                          # all equal
    rows.append(torch.cat([torch.full((vocab - 3,), -30.0), torch.tensor([5.0, 5.0, 4.0])]))
    cases = []

    def case(row, prompt, output, **parameters):
        config = GenerationConfig(**{"do_sample": False, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "typical_p": 1.0,
                                     "epsilon_cutoff": 0.0, "eta_cutoff": 0.0, "num_beams": 1, "max_new_tokens": 20, **parameters})
        config.max_length = len(prompt) + config.max_new_tokens
        ends = parameters.get("eos_token_id")
        config._eos_token_tensor = torch.tensor(ends) if ends else None
        processors = model._get_logits_processor(config, input_ids_seq_length=len(prompt), device="cpu", model_kwargs={})
        scores = processors(torch.tensor([prompt + output]), rows[row].clone()[None])[0]
        cases.append({"row": row, "prompt": prompt, "output": output, "parameters": parameters,
                      "scores": [None if x == -float("inf") else float(f"{x:.7g}") for x in scores.tolist()]})

    sampled = (
        dict(temperature=0.7), dict(temperature=3.0), dict(top_k=1), dict(top_k=7), dict(top_k=48), dict(top_k=1000), dict(top_p=0.9),
        dict(top_p=0.5), dict(top_p=0.0), dict(top_p=0.999), dict(min_p=0.1), dict(min_p=1.0), dict(min_p=0.9), dict(typical_p=0.3),
        dict(typical_p=0.95), dict(typical_p=0.999999), dict(epsilon_cutoff=0.02), dict(epsilon_cutoff=0.5), dict(eta_cutoff=0.02),
        dict(eta_cutoff=0.9), dict(temperature=0.6, top_k=20, top_p=0.9, min_p=0.02, typical_p=0.9, epsilon_cutoff=0.01, eta_cutoff=0.05),
        dict(num_beams=3, top_k=1), dict(num_beams=3, top_p=0.1, eos_token_id=[3, 5]), dict(num_beams=2, min_p=1.0, eos_token_id=[3]),
        dict(num_beams=2, typical_p=0.01, eos_token_id=[3, 4, 5]), dict(num_beams=2, epsilon_cutoff=0.9), dict(num_beams=2, eta_cutoff=0.9),
    )
    for parameters in sampled:
        for row in range(len(rows)):
            case(row, [1, 2], [], do_sample=True, **parameters)
    constrained = (
        dict(repetition_penalty=1.4), dict(repetition_penalty=0.6), dict(no_repeat_ngram_size=1), dict(no_repeat_ngram_size=2),
        dict(no_repeat_ngram_size=3), dict(no_repeat_ngram_size=40), dict(bad_words_ids=[[5], [7, 9], [9, 7, 9], [3]]),
        dict(bad_words_ids=[[3], [7, 3]], eos_token_id=[3]), dict(min_new_tokens=4, eos_token_id=[3, 6]),
        dict(sequence_bias=[[[4], 2.5], [[9, 4], -1.25], [[7, 9, 4], 0.125], [[9, 11], 3.0], [[4], 1.5]]),
        dict(suppress_tokens=[0, 4, 47]), dict(begin_suppress_tokens=[1, 2, 3]), dict(forced_bos_token_id=6),
        dict(forced_bos_token_id=6, begin_suppress_tokens=[1, 2]), dict(forced_eos_token_id=[8], max_new_tokens=7),
        dict(repetition_penalty=1.2, no_repeat_ngram_size=2, bad_words_ids=[[5]], min_new_tokens=9, eos_token_id=[2],
             sequence_bias=[[[5], 1.0], [[8], 2.0]], suppress_tokens=[9], do_sample=True, temperature=0.8, top_k=12, top_p=0.95),
    )
    contexts = (([1], []), ([1], [4]), ([7, 9], []), ([7, 9, 7, 9, 4, 7, 9], [4, 9, 7, 9]), ([7, 9, 4], [9, 11, 7, 9, 4, 7]))
    for parameters in constrained:
        for prompt, output in contexts:
            case(rng.choice([0, 1, 3]), prompt, output, **parameters)
    (FOLDER / "processors.json").write_text(json.dumps({"rows": [[round(x, 4) for x in row.tolist()] for row in rows], "cases": cases},
                                                       separators=(",", ":")) + "\n")


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    write_processors()
    write_searches()
