"""Tasks with labels, adapters and logs beside the original libraries: transformers, peft, scikit-learn, seqeval, TensorFlow.

usage: fine_tuning.py PAGODA [--tensorflow PYTHON]
Models are fixtures. XQuAD comes from PAGODA_TEST_DATA (skips without); TensorFlow and peft may be missing (skips).
"""

import argparse
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from safetensors.torch import load_file, save_file
from transformers import (AutoModelForCausalLM, AutoModelForQuestionAnswering, AutoModelForSequenceClassification,
                          AutoModelForTokenClassification, AutoTokenizer)

from common import Count, binary, data_folder, run

FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "fixtures"
READ_EVENTS = """
import json, sys
from tensorflow.core.util import event_pb2
import tensorflow as tf
rows = []
for path in sys.argv[1:]:
    for record in tf.data.TFRecordDataset(path):
        event = event_pb2.Event.FromString(record.numpy())
        for value in event.summary.value:
            if value.HasField("simple_value"):
                rows.append([value.tag, event.step, value.simple_value])
            else:
                rows.append([value.tag, event.step, tf.make_ndarray(value.tensor).tolist()[0].decode()])
print(json.dumps(rows))
"""
WORDS = "good bad film book old new city river king queen tea rain light dark very not".split()


class Tasks:
    def __init__(self, program, count, options, folder):
        self.program, self.count, self.options, self.folder = program, count, options, folder
        self.rng = random.Random(1)

    def pagoda(self, *arguments, timeout=900):
        return run([self.program, *arguments], timeout=timeout)

    def train(self, task, model, rows, out, *flags):
        path = self.folder / f"{out.name}.jsonl"
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        done = self.pagoda("train", task, model, "--train-file", path, "--validation-file", path, "--output-dir", out, "--quiet", "--json", *flags)
        self.count.check(done.returncode == 0, f"train {task}", done.stderr[-500:])
        return path, json.loads(done.stdout) if done.returncode == 0 else {}

    def evaluate(self, task, model, path, *flags):
        done = self.pagoda("evaluate", task, model, "--validation-file", path, "--json", "--quiet", *flags)
        self.count.check(done.returncode == 0, f"evaluate {task}", done.stderr[-500:])
        return json.loads(done.stdout) if done.returncode == 0 else {}

    def near(self, got, want, what, tolerance=1e-5):
        self.count.check(abs(got - want) <= tolerance * max(1, abs(want)), what, f"got {got}, want {want}")

    # ---- classification

    def text_classification(self):
        import sklearn.metrics

        rows = []
        for _ in range(60):
            words = [self.rng.choice(WORDS) for _ in range(self.rng.randrange(2, 9))]
            rows.append({"sentence": " ".join(words), "label": "high" if "good" in words else "middle" if "bad" in words else "low"})
        out = self.folder / "classifier"
        path, summary = self.train("text-classification", FIXTURES / "encoders" / "bert_bin", rows, out, "--tokenizer-name",
                                   FIXTURES / "encoders" / "bert", "--num-train-epochs", 40, "--learning-rate", "3e-3", "--logging-steps", 5,
                                   "--eval-strategy", "epoch", "--per-device-train-batch-size", 8, "--max-seq-length", 32)
        if not summary:
            return
        got = self.evaluate("text-classification", out, path, "--max-seq-length", 32)
        model, tokenizer = AutoModelForSequenceClassification.from_pretrained(out).eval(), AutoTokenizer.from_pretrained(out)
        self.count.check(model.config.id2label == {0: "high", 1: "low", 2: "middle"}, "labels in the config", model.config.id2label)
        with torch.no_grad():
            logits = torch.cat([model(**tokenizer(row["sentence"], truncation=True, max_length=32, return_tensors="pt")).logits for row in rows])
        truth = [model.config.label2id[row["label"]] for row in rows]
        guess = logits.argmax(-1).tolist()
        self.near(got["eval_loss"], torch.nn.functional.cross_entropy(logits, torch.tensor(truth)).item(), "loss of the trained classifier")
        self.near(got["eval_accuracy"], sklearn.metrics.accuracy_score(truth, guess), "accuracy", 1e-9)
        self.near(got["eval_f1"], sklearn.metrics.f1_score(truth, guess, average="macro"), "F1", 1e-9)
        self.count.check(got["eval_accuracy"] > 0.9, "the classifier learns", got)
        self.near(summary["eval_loss"], got["eval_loss"], "loss at the end of training")
        self.events(out)
        page = (out / "report.html").read_text()
        self.count.check("Finished" in page and page.count("<polyline") >= 4 and "http" not in page.replace("http://www.w3.org", ""), "report", page[:200])

    def events(self, out):
        python = self.options.tensorflow
        if subprocess.run([python, "-c", "import tensorflow"], capture_output=True).returncode != 0:
            return self.count.skip("tensorboard", f"{python} has no tensorflow (--tensorflow PYTHON)")
        files = sorted(str(path) for path in (out / "runs").rglob("events.out.tfevents.*"))
        done = run([python, "-c", READ_EVENTS, *files])
        if not self.count.check(done.returncode == 0, "tensorboard", done.stderr[-400:]):
            return
        rows = json.loads(done.stdout)
        history = json.loads((out / "trainer_state.json").read_text())["log_history"]
        want = [[entry["step"], entry["loss"]] for entry in history if "loss" in entry]
        got = [[step, value] for tag, step, value in rows if tag == "train/loss"]
        self.count.check(len(got) == len(want) and all(a[0] == b[0] and abs(a[1] - b[1]) < 1e-5 for a, b in zip(got, want)), "train/loss in TensorFlow", f"{got[:2]} {want[:2]}")
        self.count.check(any(tag == "eval/loss" for tag, *_ in rows) and any(tag == "args" for tag, *_ in rows), "tags", sorted({row[0] for row in rows}))

    def token_classification(self):
        import seqeval.metrics

        rows = []
        for _ in range(40):
            words = [self.rng.choice(WORDS) for _ in range(self.rng.randrange(2, 9))]
            tags = ["O"] * len(words)
            for index, word in enumerate(words):
                if word in ("king", "queen"):
                    tags[index] = "B-PER"
                elif word in ("city", "river"):
                    tags[index] = "I-LOC" if index and tags[index - 1].endswith("LOC") else "B-LOC"
            rows.append({"tokens": words, "ner_tags": tags})
        out = self.folder / "tagger"
        path, summary = self.train("token-classification", FIXTURES / "encoders" / "bert_bin", rows, out, "--tokenizer-name", FIXTURES / "encoders" / "bert",
                                   "--num-train-epochs", 60, "--learning-rate", "3e-3", "--per-device-train-batch-size", 8)
        if not summary:
            return
        got = self.evaluate("token-classification", out, path)
        model, tokenizer = AutoModelForTokenClassification.from_pretrained(out).eval(), AutoTokenizer.from_pretrained(out)
        truth, guess = [], []
        for row in rows:
            encoded = tokenizer(row["tokens"], is_split_into_words=True, return_tensors="pt")
            with torch.no_grad():
                best = model(**encoded).logits[0].argmax(-1).tolist()
            words = encoded.word_ids()
            firsts = [index for index, word in enumerate(words) if word is not None and word != words[index - 1]]
            guess.append([model.config.id2label[best[index]] for index in firsts])
            truth.append(row["ner_tags"])
        self.near(got["eval_f1"], seqeval.metrics.f1_score(truth, guess), "entity F1", 1e-9)
        self.near(got["eval_accuracy"], seqeval.metrics.accuracy_score(truth, guess), "tag accuracy", 1e-9)
        self.count.check(got["eval_f1"] > 0.9, "the tagger learns", got)

    # ---- question answering on XQuAD's nested JSON

    def question_answering(self):
        sys.path.insert(0, str(FIXTURES))
        sys.path.insert(0, str(FIXTURES.parent / "metrics"))
        data = data_folder()
        path = data / "text" / "rows" / "xquad" / "xquad.en.json" if data else None
        if path is None or not path.exists():
            return self.count.skip("question answering", "PAGODA_TEST_DATA has no XQuAD")
        whole = json.loads(path.read_text())
        some = self.folder / "xquad.json"
        for article in whole["data"][:3]:  # the fixture has 72 positions: long questions leave no room for windows
            for paragraph in article["paragraphs"]:
                paragraph["qas"] = [question for question in paragraph["qas"] if len(question["question"]) < 50]
        some.write_text(json.dumps({"version": "1.1", "data": whole["data"][:3]}))
        out = self.folder / "reader"
        done = self.pagoda("train", "question-answering", FIXTURES / "encoders" / "bert", "--train-file", some, "--output-dir", out, "--max-steps", 8,
                           "--max-seq-length", 70, "--doc-stride", 8, "--quiet", "--learning-rate", "1e-3")
        if not self.count.check(done.returncode == 0, "train on XQuAD", done.stderr[-500:]):
            return
        answers = self.folder / "answers.json"
        got = self.evaluate("question-answering", out, some, "--max-seq-length", 70, "--doc-stride", 8, "--predictions-file", answers)
        rows = [{"id": question["id"], "context": paragraph["context"], "question": question["question"], "answers": {
            "text": [answer["text"] for answer in question["answers"]], "answer_start": [answer["answer_start"] for answer in question["answers"]]}}
            for article in whole["data"][:3] for paragraph in article["paragraphs"] for question in paragraph["qas"]]
        from make_cases import squad_v1
        from tasks import best_answers

        predictions = json.loads(answers.read_text())
        want = squad_v1([{"prediction": predictions[row["id"]], "answers": row["answers"]["text"]} for row in rows])
        self.near(got["eval_exact_match"], want["exact_match"], "exact match by the reference scorer", 1e-9)
        self.near(got["eval_f1"], want["f1"], "F1 by the reference scorer", 1e-9)
        model, tokenizer = AutoModelForQuestionAnswering.from_pretrained(out).eval(), AutoTokenizer.from_pretrained(out)
        features = tokenizer([row["question"].lstrip() for row in rows], [row["context"] for row in rows], truncation="only_second", max_length=70, stride=8,
                             return_overflowing_tokens=True, return_offsets_mapping=True)
        features["context_offsets"] = [[pair if features.sequence_ids(index)[token] == 1 else None for token, pair in enumerate(offsets)]
                                       for index, offsets in enumerate(features["offset_mapping"])]
        starts, ends = [], []
        for ids, types in zip(features["input_ids"], features["token_type_ids"]):
            with torch.no_grad():
                output = model(torch.tensor([ids]), token_type_ids=torch.tensor([types]))
            starts.append(output.start_logits[0].numpy())
            ends.append(output.end_logits[0].numpy())
        theirs = best_answers(rows, features, starts, ends, False)
        same = sum(predictions[row["id"]] == theirs[row["id"]] for row in rows)
        self.count.check(same >= 0.98 * len(rows), "answers of transformers with run_qa's post-processing", f"{same} of {len(rows)}")

    # ---- adapters

    def adapters(self):
        try:
            import peft
        except ImportError:
            return self.count.skip("adapters", "peft is missing")
        rows = self.folder / "ids.jsonl"
        rows.write_text("".join(json.dumps({"input_ids": [self.rng.randrange(60) for _ in range(12)]}) + "\n" for _ in range(16)))
        line = [self.rng.randrange(60) for _ in range(9)]
        lines = self.folder / "line.jsonl"
        lines.write_text(json.dumps({"input_ids": line}) + "\n")
        for family, targets in (("llama", "q_proj,v_proj"), ("gpt2", "c_attn,c_proj"), ("qwen2", "all-linear")):
            base, out, merged = FIXTURES / family, self.folder / f"lora-{family}", self.folder / f"merged-{family}"
            done = self.pagoda("train", "clm", base, "--train-file", rows, "--output-dir", out, "--max-steps", 6, "--lora-r", 4, "--lora-alpha", 8,
                               "--lora-target-modules", targets, "--learning-rate", "1e-2", "--quiet")
            if not self.count.check(done.returncode == 0, f"LoRA of {family}", done.stderr[-500:]):
                continue
            ours = self.logits(out, lines)
            model = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), out).eval()
            with torch.no_grad():
                theirs = model(torch.tensor([line])).logits[0]
            self.count.check(ours is not None and (ours - theirs).abs().max() < 1e-3, f"peft loads ours: {family}", None if ours is None else (ours - theirs).abs().max())
            self.count.check(ours is not None and (ours - self.logits(base, lines)).abs().max() > 1e-3, f"the adapter changes something: {family}", "")
            done = self.pagoda("merge", base, "--adapter", out, "--out", merged, "--quiet")
            self.count.check(done.returncode == 0, f"merge {family}", done.stderr[-300:])
            with torch.no_grad():
                whole = AutoModelForCausalLM.from_pretrained(merged, dtype=torch.float32).eval()(torch.tensor([line])).logits[0]
            self.count.check((whole - theirs).abs().max() < 1e-3, f"transformers loads what is merged: {family}", (whole - theirs).abs().max())
            # And the other way: an adapter that peft made.
            names = [name for name in targets.split(",")] if targets != "all-linear" else targets
            config = peft.LoraConfig(r=3, lora_alpha=5, target_modules=names, task_type="CAUSAL_LM", use_rslora=family == "qwen2", init_lora_weights=False)
            model = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), config).eval()
            theirs_folder = self.folder / f"peft-{family}"
            model.save_pretrained(theirs_folder)
            with torch.no_grad():
                theirs = model(torch.tensor([line])).logits[0]
            ours = self.logits(theirs_folder, lines)
            self.count.check(ours is not None and (ours - theirs).abs().max() < 1e-3, f"ours loads peft's: {family}", None if ours is None else (ours - theirs).abs().max())
        self.peft_variants(peft, line, lines)
        self.dora(peft, rows, line, lines)
        self.adapter_of_a_classifier(peft)

    def peft_variants(self, peft, line, lines):
        """What LoraConfig can say beside rank and names, as peft's model computes it, and merged."""
        variants = {
            "patterns": ("llama", {"target_modules": r".*(q_proj|up_proj)|lm_head", "rank_pattern": {r"layers\.1\..*up_proj": 5, "q_proj": 1}, "alpha_pattern": {"lm_head": 1.5}}),
            "chosen": ("qwen2", {"target_modules": ["q_proj", "v_proj", "o_proj"], "layers_to_transform": [0], "exclude_modules": r".*v_proj", "use_rslora": True}),
            "biases": ("gpt2", {"target_modules": ["c_attn"], "bias": "all", "lora_bias": True}),
            "own biases": ("qwen2", {"target_modules": ["k_proj"], "bias": "lora_only"}),
            "dora": ("qwen2", {"target_modules": "all-linear", "use_dora": True, "use_rslora": True}),
            "dora of Conv1D": ("gpt2", {"target_modules": ["c_attn", "c_proj"], "use_dora": True}),
            "embedding": ("llama", {"target_modules": ["embed_tokens", "k_proj"]}),
            "tied embedding": ("smollm2", {"target_modules": ["embed_tokens"], "use_dora": True}),
            "saved whole": ("llama", {"target_modules": ["q_proj"], "modules_to_save": ["norm", "lm_head"]}),
        }
        for name, (family, fields) in variants.items():
            base, folder, merged = FIXTURES / family, self.folder / f"peft-{name}", self.folder / f"merged-{name}"
            config = peft.LoraConfig(r=3, lora_alpha=5, task_type="CAUSAL_LM", init_lora_weights=False, **fields)
            model = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), config).eval()
            with torch.no_grad():
                for parameter in model.parameters():
                    if parameter.requires_grad:
                        parameter.mul_(1 + 0.2 * torch.randn(parameter.shape)).add_(0.05 * torch.randn(parameter.shape))
                theirs = model(torch.tensor([line])).logits[0]
            model.save_pretrained(folder)
            ours = self.logits(folder, lines)
            self.count.check(ours is not None and (ours - theirs).abs().max() < 1e-3, f"ours loads peft's: {name}", None if ours is None else (ours - theirs).abs().max())
            done = self.pagoda("merge", base, "--adapter", folder, "--out", merged, "--quiet")
            if self.count.check(done.returncode == 0, f"merge peft's: {name}", done.stderr[-300:]):
                with torch.no_grad():
                    whole = AutoModelForCausalLM.from_pretrained(merged, dtype=torch.float32).eval()(torch.tensor([line])).logits[0]
                self.count.check((whole - theirs).abs().max() < 1e-3, f"transformers loads what is merged of peft's: {name}", (whole - theirs).abs().max())

    def dora(self, peft, rows, line, lines):
        for family, bias in (("gpt2", "all"), ("llama", "none")):
            base, out = FIXTURES / family, self.folder / f"dora-{family}"
            done = self.pagoda("train", "clm", base, "--train-file", rows, "--output-dir", out, "--max-steps", 6, "--lora-r", 4, "--use-dora", "--lora-bias", bias,
                               "--lora-target-modules", r".*(c_attn|c_fc|[qv]_proj)", "--learning-rate", "1e-2", "--quiet")
            if not self.count.check(done.returncode == 0, f"DoRA of {family}", done.stderr[-500:]):
                continue
            ours = self.logits(out, lines)
            model = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), out).eval()
            with torch.no_grad():
                theirs = model(torch.tensor([line])).logits[0]
            self.count.check(ours is not None and (ours - theirs).abs().max() < 1e-3, f"peft loads our DoRA: {family}", None if ours is None else (ours - theirs).abs().max())

    def adapter_of_a_classifier(self, peft):
        rows = [{"sentence": " ".join(self.rng.choice(WORDS) for _ in range(5)), "label": self.rng.choice(["a", "b", "c"])} for _ in range(12)]
        out, base, merged = self.folder / "lora-classifier", FIXTURES / "encoders" / "bert_bin", self.folder / "merged-classifier"
        _, summary = self.train("text-classification", base, rows, out, "--tokenizer-name", FIXTURES / "encoders" / "bert", "--use-peft", "--max-steps", 6,
                                "--learning-rate", "1e-2", "--max-seq-length", 32)
        if not summary:
            return
        done = self.pagoda("merge", base, "--adapter", out, "--out", merged, "--quiet")
        if not self.count.check(done.returncode == 0, "merge a classifier", done.stderr[-300:]):
            return
        tokenizer = AutoTokenizer.from_pretrained(merged)
        encoded = tokenizer(rows[0]["sentence"], return_tensors="pt")
        model = peft.PeftModel.from_pretrained(AutoModelForSequenceClassification.from_pretrained(base, num_labels=3), out).eval()
        whole = AutoModelForSequenceClassification.from_pretrained(merged).eval()
        with torch.no_grad():
            theirs, ours = model(**encoded).logits, whole(**encoded).logits
        self.count.check((theirs - ours).abs().max() < 1e-4, "peft loads our classifier's adapter", f"{theirs} {ours}")
        self.count.check(whole.config.id2label == {0: "a", 1: "b", 2: "c"}, "labels of the merged classifier", whole.config.id2label)

    def logits(self, model, lines, *flags):
        out = self.folder / "logits.safetensors"
        done = self.pagoda("logits", model, "--ids", lines, "--out", out, "--dtype", "float32", *flags)
        if done.returncode != 0:
            print(done.stderr[-300:])
            return None
        tensors = load_file(out)
        return next(tensor for name, tensor in tensors.items() if "logits" in name).float()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--tensorflow", default=sys.executable)
    options = parser.parse_args()
    count = Count()
    with tempfile.TemporaryDirectory() as folder:
        tasks = Tasks(binary(), count, options, pathlib.Path(folder))
        for step in (tasks.text_classification, tasks.token_classification, tasks.question_answering, tasks.adapters):
            try:
                step()
            except ImportError as error:
                count.skip(step.__name__, str(error))
    count.finish()


if __name__ == "__main__":
    main()
