"""First weights of a masked LM in BERT's shape that does not stop at the bag of words. Nothing in them is learnt but counts.

1. The output's bias begins as the logarithm of each token's share of the text: what takes about 100 steps to learn otherwise.
2. Attention begins local. Position embeddings are sines and cosines, louder than the tokens. In each head the key projection
   begins as the query projection, so that like attends to like (Trockman and Kolter 2023, "Mimetic initialization of
   self-attention layers"), and the queries are turned so that a head's best match lies `offset` places away.
"""
import array
import json
import math
import pathlib
import struct


def read(path):
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + length])
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        assert entry["dtype"] == "F32", f"{name}: got {entry['dtype']}, need F32"
        begin, end = entry["data_offsets"]
        tensors[name] = array.array("f", data[8 + length + begin:8 + length + end])
    return data[:8 + length], header, tensors


def write(path, head, header, tensors):
    names = sorted(header, key=lambda name: header[name]["data_offsets"][0])
    path.write_bytes(head + b"".join(tensors[name].tobytes() for name in names))


def spread(values):
    return math.sqrt(sum(v * v for v in values) / len(values))


def rescale(values, deviation):
    factor = deviation / spread(values)
    for i, value in enumerate(values):
        values[i] = value * factor


def apply(folder, counts, tokens, positions, queries, base, offsets):
    """Changes the float32 folder that `pagoda init` wrote. counts: of each token in the text; tokens, positions, queries: standard
    deviations; base: of the sines' wave lengths; offsets: of the heads in turn."""
    folder = pathlib.Path(folder)
    config = json.loads((folder / "config.json").read_text())
    width, heads = config["hidden_size"], config["num_attention_heads"]
    size = width // heads
    head, header, tensors = read(folder / "model.safetensors")
    waves = [base ** (-i / width) for i in range(0, width, 2)]
    rescale(tensors["bert.embeddings.word_embeddings.weight"], tokens)
    types = tensors["bert.embeddings.token_type_embeddings.weight"]
    types[:] = array.array("f", bytes(types.itemsize * len(types)))
    table = tensors["bert.embeddings.position_embeddings.weight"]
    for place in range(len(table) // width):
        for i, wave in enumerate(waves):
            table[place * width + 2 * i] = positions * math.sqrt(2) * math.sin(place * wave)
            table[place * width + 2 * i + 1] = positions * math.sqrt(2) * math.cos(place * wave)
    for layer in range(config["num_hidden_layers"]):
        path = f"bert.encoder.layer.{layer}.attention.self."
        query, key = tensors[path + "query.weight"], tensors[path + "key.weight"]
        rescale(query, queries)
        key[:] = query
        for row in range(width):
            offset = offsets[(row // size) % len(offsets)]
            for i, wave in enumerate(waves):
                sine, cosine, at = math.sin(offset * wave), math.cos(offset * wave), row * width + 2 * i
                a, b = query[at], query[at + 1]
                query[at], query[at + 1] = a * cosine - b * sine, a * sine + b * cosine
    total = sum(counts) + 0.1 * len(counts)
    shares = [math.log((count + 0.1) / total) for count in counts]
    middle = sum(shares) / len(shares)
    tensors["cls.predictions.bias"][:] = array.array("f", [share - middle for share in shares])
    write(folder / "model.safetensors", head, header, tensors)

