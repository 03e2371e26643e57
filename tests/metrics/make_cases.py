"""Writes cases.json: what scikit-learn, seqeval, rouge_score and sacrebleu give for random samples, and the official SQuAD scorers' rules.

python make_cases.py        (pip install scikit-learn seqeval rouge_score sacrebleu)
"""
import collections
import json
import pathlib
import random
import re
import string
import warnings

import sacrebleu
import sklearn.metrics as sk
from nltk.stem.porter import PorterStemmer
from rouge_score.rouge_scorer import RougeScorer
from seqeval.metrics import accuracy_score, classification_report
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

warnings.filterwarnings("ignore")
rng = random.Random(6)


def classification():
    out = []
    for classes, length in ((2, 40), (2, 1), (5, 60), (9, 12)):
        truth = [rng.randrange(classes) for _ in range(length)]
        guess = [t if rng.random() < 0.6 else rng.randrange(classes) for t in truth]
        case = {"references": truth, "predictions": guess, "accuracy": sk.accuracy_score(truth, guess)}
        for average in ("binary", "micro", "macro"):
            if average == "binary" and classes > 2:
                continue
            case[average] = sk.precision_recall_fscore_support(truth, guess, average=average, zero_division=0)[:3]
        out.append(case)
    return out


def multilabel():
    out = []
    for columns, length in ((3, 20), (6, 8)):
        truth = [[rng.randrange(2) for _ in range(columns)] for _ in range(length)]
        guess = [[bit if rng.random() < 0.7 else rng.randrange(2) for bit in row] for row in truth]
        case = {"references": truth, "predictions": guess, "accuracy": sk.accuracy_score(truth, guess)}
        for average in ("micro", "macro"):
            case[average] = sk.precision_recall_fscore_support(truth, guess, average=average, zero_division=0)[:3]
        out.append(case)
    return out


def entities():
    out = []
    for marks, types in (("BIO", ["PER", "LOC"]), ("BIOES", ["PER", "A-B", "MISC"]), ("BI", ["X"])):
        tags = [mark if mark == "O" else f"{mark}-{kind}" for mark in marks for kind in (types if mark != "O" else types[:1])]
        truth = [[rng.choice(tags) for _ in range(rng.randrange(1, 12))] for _ in range(12)]
        guess = [[tag if rng.random() < 0.7 else rng.choice(tags) for tag in row] for row in truth]
        report = classification_report(truth, guess, output_dict=True, zero_division=0)
        keep = {name: [row["precision"], row["recall"], row["f1-score"], int(row["support"])] for name, row in report.items()
                if not name.endswith("avg") or name.startswith("micro")}
        out.append({"references": truth, "predictions": guess, "scores": keep, "accuracy": accuracy_score(truth, guess)})
    return out


# The rules of evaluate-v1.1.py and evaluate-v2.0.py (rajpurkar.github.io/SQuAD-explorer), written down once more.
def normal(text):
    text = "".join(char for char in text.lower() if char not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def f1(guess, truth, second):
    guess, truth = normal(guess).split(), normal(truth).split()
    if second and not (guess and truth):
        return float(guess == truth)
    same = sum((collections.Counter(guess) & collections.Counter(truth)).values())
    return 2 * (same / len(guess)) * (same / len(truth)) / (same / len(guess) + same / len(truth)) if same else 0.0


def squad_v1(samples):
    exact = sum(max(normal(s["prediction"]) == normal(a) for a in s["answers"]) for s in samples)
    return {"exact_match": 100 * exact / len(samples),
            "f1": 100 * sum(max(f1(s["prediction"], a, False) for a in s["answers"]) for s in samples) / len(samples)}


def squad_v2(samples, threshold):
    raw = {"exact": [], "f1": []}
    for s in samples:
        answers = [a for a in s["answers"] if normal(a)] or [""]
        raw["exact"].append(max(int(normal(s["prediction"]) == normal(a)) for a in answers))
        raw["f1"].append(max(f1(s["prediction"], a, True) for a in answers))
    has = [bool(s["answers"]) for s in samples]
    cut = {key: [float(not h) if s["no_answer_probability"] > threshold else v for v, h, s in zip(values, has, samples)] for key, values in raw.items()}
    out = {}
    for prefix, wanted in (("", (True, False)), ("HasAns_", (True,)), ("NoAns_", (False,))):
        chosen = [i for i, h in enumerate(has) if h in wanted]
        if chosen:
            for key in ("exact", "f1"):
                out[prefix + key] = 100 * sum(cut[key][i] for i in chosen) / len(chosen)
            out[prefix + "total"] = len(chosen)
    for key in ("exact", "f1"):
        best = now = has.count(False)
        at = 0.0
        for i in sorted(range(len(samples)), key=lambda i: samples[i]["no_answer_probability"]):
            now += raw[key][i] if has[i] else -1 if samples[i]["prediction"] else 0
            if now > best:
                best, at = now, samples[i]["no_answer_probability"]
        out[f"best_{key}"], out[f"best_{key}_thresh"] = 100 * best / len(samples), at
    return out


PIECES = ["The", "a", "an", "answer", "is", "42", "U.S.", "Ångström", "ΣΊΣΥΦΟΣ", "naïve", "co-op", "don't", "\u00a0", "the\u0301", "a_b", "--", "日本", "ＡＢＣ",
          "theatre", "\u2019", "of", "Paris,", "(paris)", "İstanbul", "½"]


def squad():
    def text(low=0):
        return rng.choice(["", " "]).join([" ".join(rng.choice(PIECES) for _ in range(rng.randrange(low, 5)))])

    samples = []
    for _ in range(60):
        answers = [text(1) for _ in range(rng.randrange(1, 4))]
        guess = rng.choice(answers + [text()])
        samples.append({"prediction": guess.upper() if rng.random() < 0.2 else guess, "answers": answers})
    second = [{"prediction": s["prediction"] if rng.random() < 0.8 else "", "answers": s["answers"] if rng.random() < 0.6 else [],
               "no_answer_probability": round(rng.random(), 3)} for s in samples]
    return {"texts": [[t, normal(t)] for t in (text() for _ in range(60))], "v1": samples, "v1_scores": squad_v1(samples), "v2": second,
            "v2_scores": squad_v2(second, 1.0), "v2_scores_half": squad_v2(second, 0.5)}


WORDS = """relational conditional valenci hesitanci digitizer conformabli radicalli differentli vileli analogousli vietnamization predication operator feudalism
decisiveness hopefulness callousness formaliti sensitiviti sensibiliti triplicate formative formalize electriciti electrical hopeful goodness revival allowance inference
airliner gyroscopic adjustable defensible irritant replacement adjustment dependent adoption homologou communism activate angulariti homologous effective bowdlerize probate
rate cease controll roll caresses ponies ties caress cats feed agreed plastered bled motoring sing conflated troubled sized hopping tanned falling hissing fizzed failing
filing happy sky skies dying lying tying news innings proceed succeed exceed flies dies spied died enjoy enjoyment spy fly try say yyyy syzygy toy geology archaeology
theologi philologi dually carefully annually alli rationalli beautifully be by is was running quickly happiness nationalization generalizations oscillators""".split()


def rouge():
    out = []
    plain, stemmed = (RougeScorer(["rouge1", "rouge2", "rougeL", "rougeLsum"], use_stemmer=flag) for flag in (False, True))
    for _ in range(25):
        pool = rng.sample(WORDS, 14) + ["The", "U.S.", "naïve", "42", "\u212aelvin"]
        pair = ["".join(rng.choice(pool) + rng.choice([" ", " ", " ", ", ", "\n", "-"]) for _ in range(rng.randrange(0 if rng.random() < 0.2 else 8, 40))) for _ in range(2)]
        case = {"prediction": pair[0], "reference": pair[1]}
        for name, scorer in (("plain", plain), ("stemmed", stemmed)):
            case[name] = {key: list(value) for key, value in scorer.score(pair[1], pair[0]).items()}
        out.append(case)
    endings = ["", "s", "ed", "ing", "y", "ies", "ational", "ization", "fulness", "alli", "ement", "ion", "e", "ll", "ied", "eed", "logi", "bli", "able"]
    stems = sorted({w for base in WORDS[:110] for w in (base, base[: max(2, len(base) // 2)] + rng.choice(endings), base[:3] + rng.choice(endings))})
    return {"cases": out, "stems": [[word, PorterStemmer().stem(word)] for word in stems]}


def bleu():
    parts = ["Hello", "world", ",", ".", "3.14", "1,000", "10-20", "a-b", "&quot;", "&amp;lt;", "<skipped>", "-\n", "don't", "(x)", "$5", "é.", "…", "日本。", "\u3000", "[1]", "~", "..", "x."]
    lines = [rng.choice(["", " "]).join(rng.choice(parts) for _ in range(rng.randrange(0, 14))) for _ in range(120)]
    corpora = []
    words = "the cat sat on a mat and then it ran away from home . , 3.5".split()
    for count, references, low in ((20, 1, 4), (12, 3, 4), (3, 1, 0), (2, 2, 1), (1, 1, 3)):
        truth = [[" ".join(rng.choice(words) for _ in range(rng.randrange(low, 18))) for _ in range(references)] for _ in range(count)]
        guess = [" ".join(w for w in row[0].split() + ["cat"] if rng.random() < 0.8) for row in truth]
        score = sacrebleu.corpus_bleu(guess, [list(column) for column in zip(*truth)])
        corpora.append({"predictions": guess, "references": truth, "score": score.score, "counts": score.counts, "totals": score.totals,
                        "precisions": score.precisions, "bp": score.bp, "sys_len": score.sys_len, "ref_len": score.ref_len})
    tokenize = Tokenizer13a()
    return {"lines": [[line, tokenize(line.rstrip())] for line in lines], "corpora": corpora}


def main():
    cases = {"classification": classification(), "multilabel": multilabel(), "entities": entities(), "squad": squad(), "rouge": rouge(), "bleu": bleu()}
    path = pathlib.Path(__file__).parent / "data" / "cases.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(cases, ensure_ascii=False, indent=None, separators=(",", ":")) + "\n")
    print(path, path.stat().st_size)


if __name__ == "__main__":
    main()
