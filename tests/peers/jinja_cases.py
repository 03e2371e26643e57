"""Asks jinja2, set up as transformers does, for the results of the templates in tests/text/jinja_cases.jsonl and rewrites the file.

usage: jinja_cases.py [--check] [FILE]
The first line is the context of all cases. Every other line holds a template "t" and what came of it: the text "o" (with "s", the
spans of generation blocks, where there are any), or the exception's type "e" and message "m". Add a case as {"t": "..."} and run this.
--check only compares.
"""

import argparse
import copy
import datetime
import json
import pathlib
import sys

from transformers.utils import chat_template_utils


class FixedClock(datetime.datetime):
    @classmethod
    def now(cls, zone=None):
        return cls(2024, 7, 26, 12, 0, 0)


chat_template_utils.datetime = FixedClock


def outcome(source, context):
    try:
        template = chat_template_utils._cached_compile_jinja_template(source)
        blocks, spans = [], []
        with template.environment.activate_tracker(blocks, spans):
            for block in template.generate(**copy.deepcopy(context)):
                blocks.append(block)
        result = {"o": "".join(blocks)}
        if spans:
            result["s"] = [list(span) for span in spans]
        return result
    except Exception as error:
        message = getattr(error, "message", None)
        return {"e": type(error).__name__, "m": message if isinstance(message, str) else str(error)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("file", nargs="?", default=pathlib.Path(__file__).parent.parent / "text" / "jinja_cases.jsonl", type=pathlib.Path)
    options = parser.parse_args()
    lines = options.file.read_text(encoding="utf-8").splitlines()
    context = json.loads(lines[0])
    rows, changed = [json.dumps(context, ensure_ascii=False)], 0
    for line in lines[1:]:
        row = json.loads(line)
        fresh = {"t": row["t"], **outcome(row["t"], context)}
        changed += fresh != row
        rows.append(json.dumps(fresh, ensure_ascii=False))
    print(f"{len(lines) - 1} cases, {changed} changed")
    if options.check:
        sys.exit(changed != 0)
    options.file.write_text("\n".join(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
