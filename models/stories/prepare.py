"""Cuts a file of short stories into training text, and makes conversations about them.

usage: prepare.py STORIES.txt OUT_DIR

STORIES.txt: stories one after another, a single line end between two of them (TinyStories as published, CDLA-Sharing-1.0).
Writes to OUT_DIR: stories.train.jsonl and stories.valid.jsonl ({"text": ...}, every 50th story is held out), chats.train.jsonl
and chats.valid.jsonl ({"messages": [...]}) and questions.txt (20 held-out prompts). Every answer is a span of its story or a
plain sentence round one, so that it can be checked.
"""
import json
import pathlib
import random
import re
import sys

KINDS = ("girl boy dog cat bird bunny rabbit bear fish mouse frog duck pig cow horse monkey lion elephant fox squirrel turtle "
         "dragon robot car truck train bug bee ant butterfly fairy princess prince man woman child kid puppy kitten").split()
NOT_NAMES = {"the", "a", "his", "her", "it", "they", "after", "because", "and", "she", "he", "mr", "mrs", "miss", "dr", "little"}
CREATURE = re.compile(r"\b(?:a|an) ((?:\w+ ){0,2})(" + "|".join(KINDS) + r") (?:named|called) (\w+)")


def clean(text):
    """Undoes UTF-8 that was read as Windows-1252, and straightens quotation marks."""
    def repair(match):
        try:
            return match.group().encode("cp1252").decode("utf-8")
        except (UnicodeEncodeError, UnicodeDecodeError):
            return ""
    text = re.sub(r"[\u0080-\u2122]{2,4}", repair, text)
    for a, b in (("\u201c", '"'), ("\u201d", '"'), ("\u2018", "'"), ("\u2019", "'"), ("\u2013", "-"), ("\u2014", "-"), ("\u2026", "...")):
        text = text.replace(a, b)
    return "".join(c for c in text if c == "\n" or " " <= c <= "~")


def stories_of(text):
    for story in re.split(r"(?<!\n)\n(?!\n)", clean(text)):
        story = re.sub(r"\n{3,}", "\n\n", story).strip()
        if 150 <= len(story) <= 2000 and story[-1] in '.!?"':
            yield story


def sentences(story):
    return re.findall(r'[^.!?\n]+[.!?]+"?', story)


def first(pattern, story):
    match = re.search(pattern, story)
    return match.group(1).strip() if match else None


def questions(story, kind, name, rng):
    """(question, answer) pairs whose answers stand in the story."""
    they = {"girl": "she", "princess": "she", "woman": "she", "fairy": "she", "boy": "he", "prince": "he", "man": "he"}.get(kind, name)
    pairs = [(rng.choice(["who is the story about?", "who is it about?"]), f"the story is about {name}, a {kind}.")]
    place = first(r"\b(?:went|walked|ran|go|going) to (the \w+)\b", story)
    if place:
        pairs.append((rng.choice([f"where did {name} go?", "where did they go?"]), f"{they} went to {place}."))
    thing = first(r"\b(?:found|saw|see) (an? (?:\w+ )?\w+)(?=[ .,!])", story)
    if thing:
        pairs.append((rng.choice([f"what did {name} see?", f"what did {name} find?"]), f"{they} saw {thing}."))
    wish = first(r"\bwanted to (\w+(?: \w+){0,5})(?=[.,!])", story)
    if wish:
        pairs.append((f"what did {name} want to do?", f"{they} wanted to {wish}."))
    friend = first(r"\bfriend,? (?:named )?(\w+)\b", story)
    if friend and friend not in NOT_NAMES and story.count(friend) > 2 and friend != name:
        pairs.append(("who is the friend?", f"the friend is {friend}."))
    end = sentences(story)
    if end:
        pairs.append((rng.choice(["how does the story end?", "what happens at the end?"]), end[-1].strip()))
    return pairs


def chat(story, rng):
    match = CREATURE.search(story)
    if not match or match.group(3) in NOT_NAMES:
        return None
    kind, name = match.group(2), match.group(3)
    opening = rng.choice([
        f"tell me a story about a {kind} named {name}.", f"tell me a story about a {kind}.", f"please tell me a story about {name} the {kind}.",
        f"i want to hear a story about a {kind} named {name}.", "tell me a story.", f"do you know a story about a {kind}?"])
    messages = [{"role": "user", "content": opening}, {"role": "assistant", "content": story}]
    pairs = questions(story, kind, name, rng)
    rng.shuffle(pairs)
    for question, answer in pairs[:rng.randint(1, 3)]:
        messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return messages


def write(path, rows):
    with open(path, "w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def main():
    source, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    seen, train, valid = set(), [], []
    for i, story in enumerate(stories_of(source.read_text(encoding="utf-8"))):
        if story in seen:
            continue
        seen.add(story)
        (valid if i % 50 == 0 else train).append(story)
    rng = random.Random(0)
    chats = {"train": [m for m in (chat(s, rng) for s in train for _ in range(2)) if m],
             "valid": [m for m in (chat(s, rng) for s in valid) if m]}
    write(out / "stories.train.jsonl", [{"text": s} for s in train])
    write(out / "stories.valid.jsonl", [{"text": s} for s in valid])
    for name, rows in chats.items():
        write(out / f"chats.{name}.jsonl", [{"messages": m} for m in rows])
    asked = [m[0]["content"] for m in chats["valid"]][:20]
    (out / "questions.txt").write_text("\n".join(asked) + "\n", encoding="utf-8")
    print(f"{len(train)} stories to train on, {len(valid)} held out; {len(chats['train'])} and {len(chats['valid'])} conversations")


if __name__ == "__main__":
    main()
