"""Chat templates: the 378 goldens, then random Jinja programs against jinja2 as transformers sets it up.

usage: templates.py PAGODA [--count N] [--seed S] [--exotic] [--self]
A random program and three contexts must give the same text, or an error on both sides. --self needs no binary: it renders the goldens
with the oracle and shows what share of the random programs renders without an error.
"""

import argparse
import datetime
import json
import pathlib
import random
import re
import tempfile

import jinja2
from transformers.utils import chat_template_utils

from common import Count, data_folder, jsonl

NOW = "2024-07-26T12:00:00"


class FixedClock(datetime.datetime):
    @classmethod
    def now(cls, zone=None):
        return cls.fromisoformat(NOW)


chat_template_utils.datetime = FixedClock

# What an error of another wording must still speak of, by the oracle's message.
CAUSES = {"'dict object' has no attribute 'description'": ["description"], "'functions' is undefined": ["functions"],
          "access to attribute 'append' of 'list' object is unsafe.": ["append"],
          "Object of type generator is not JSON serializable": ["tojson", "generator", "serializ"],
          'can only concatenate str (not "dict") to str': ["str", "concat", "dict", "mapping", "add"]}


def beyond(text):
    """Integers of more than 64 bits and complex numbers, which templates do not hold here: an error is right there too, other text is not."""
    return any(int(digits) > 2**63 - 1 for digits in re.findall(r"\d{19,}", text)) or re.search(r"\dj\b", text, re.IGNORECASE) is not None


def oracle(source, context):
    try:
        return chat_template_utils._compile_jinja_template(source).render(**context), None
    except Exception as error:
        return None, f"{type(error).__name__}: {error}"


def goldens(program, data, count):
    folder = data / "chat_templates"
    contexts = json.loads((folder / "contexts.json").read_text())["contexts"]
    rows = {}
    for line in (folder / "goldens.jsonl").read_text().splitlines():
        row = json.loads(line)
        rows.setdefault(row["template"], []).append(row)
    for name, group in rows.items():
        if program is None:
            for row in group:
                text, error = oracle((folder / name).read_text(), contexts[row["context"]])
                count.check(text == row.get("output") and (error is None or row["message"] in error), name, f"{row['context']}: {error}")
            continue
        got, error = jsonl([program, "template", "--file", folder / name, "--jsonl", "--now", NOW], [contexts[row["context"]] for row in group])
        if error:
            count.check(False, name, error, len(group))
            continue
        for row, mine in zip(group, got):
            if "output" in row:
                count.check(mine == row["output"], name, lambda: f"{row['context']}: {difference(mine, row['output'])}")
            else:
                said = mine.get("error", "") if isinstance(mine, dict) else ""
                good = row["message"] in said if row["error"] == "TemplateError" else any(word in said for word in CAUSES.get(row["message"], [row["message"]]))
                count.check(said and good, name, f"{row['context']}: need an error like {row['message']!r}, got {str(mine)[:200]!r}")


def difference(got, need):
    if not isinstance(got, str):
        return f"got {str(got)[:200]!r}"
    at = next((index for index, (a, b) in enumerate(zip(got, need)) if a != b), min(len(got), len(need)))
    return f"differ at {at}: need ...{need[max(0, at - 40):at + 40]!r}, got ...{got[max(0, at - 40):at + 40]!r}"


# --- random programs --------------------------------------------------------------------------------------------------
CONTEXTS = [
    {"messages": [{"role": "system", "content": " You are concise. "}, {"role": "user", "content": "What's <b>up</b>?\nZürich & 中文 🙂"},
                  {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {"x": 1, "y": [True, None, 2.5]}}}]},
                  {"role": "tool", "content": "4"}],
     "tools": [{"type": "function", "function": {"name": "get", "description": "Get \"it\"", "parameters": {"type": "object", "properties": {"a": {"type": "string"}, "B": {"type": "integer"}}, "required": ["a"]}}}],
     "add_generation_prompt": True, "bos_token": "<s>", "eos_token": "</s>", "n": 3, "x": 2.5, "flag": False, "nothing": None, "numbers": [5, -1, 3, 3, 0], "words": ["b", "A", "c", "a"],
     "deep": {"a": {"b": [1, {"c": "d"}]}, "z": "Z", "A": 0}},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "image"}]}], "tools": None, "add_generation_prompt": False, "bos_token": "", "eos_token": "</s>",
     "n": -7, "x": 1e16, "flag": True, "nothing": None, "numbers": [], "words": ["one two", "", "  x  ", "'q\"uote\\"], "deep": {}},
    {"messages": [], "add_generation_prompt": True, "bos_token": "<s>", "eos_token": "", "n": 0, "x": -0.1, "flag": True, "nothing": None, "numbers": [1.5, 2, True], "words": ["ß", "É", "\t\n", "İ"],
     "deep": {"a": 1, "k": [[1, 2], [3]]}},
]
STRINGS = ["''", "'a'", "' b '", "'Hello World'", "\"it's\"", "'a,b,,c'", "'x\\ny'", "'<|im_start|>'", "'ünï 中'", "'%s-%s'", "'%d|%.2f'", "'tab\\t'", "'12'", "'3.7'", "'true'", "'aXbXc'", "'\\\\'", "'A' 'B'"]
ATTRIBUTES = ["role", "content", "tool_calls", "function", "name", "arguments", "type", "text", "a", "b", "z", "missing", "items"]
TESTS = ["defined", "undefined", "none", "string", "number", "integer", "float", "boolean", "mapping", "sequence", "iterable", "true", "false", "odd", "even", "lower", "upper", "callable"]
TESTS_WITH = ["divisibleby(3)", "equalto(3)", "eq('a')", "ne(2)", "gt(1)", "ge(2)", "lt(5)", "le(0)", "in(numbers)", "sameas(none)", "sameas(true)"]
FILTERS = ["trim", "upper", "lower", "capitalize", "title", "length", "count", "first", "last", "list", "string", "int", "float", "abs", "tojson", "reverse", "sort", "unique", "join", "join(', ')",
           "default('D')", "default('D', true)", "d('E')", "replace('a', 'Q')", "replace('a', 'Q', 1)", "items", "items | list", "dictsort", "map('upper')", "map(attribute='role')", "map('length')",
           "selectattr('role', 'equalto', 'user')", "selectattr('role')", "rejectattr('content')", "select('string')", "reject('none')", "select", "map(attribute='content', default='-')", "tojson(indent=2)",
           "tojson(ensure_ascii=true)", "tojson(sort_keys=true)", "tojson(separators=(',', ':'))", "indent", "indent(2)", "indent(2, true)", "indent(width=3, blank=true)", "min", "max", "sum",
           "round", "round(1)", "round(0, 'floor')", "round(1, 'ceil')", "safe", "e", "escape", "int(7)", "int(base=16)", "float(1.5)", "trim('<>')", "sum(start=10)", "sort(reverse=true)",
           "sort(case_sensitive=true)", "sort(attribute='role')", "groupby('role')", "batch(2)", "batch(2, 'f')", "slice(2)", "format(1, 2)", "join(attribute='role')", "map('trim')", "map('int')"]
EXOTIC = ["wordcount", "wordwrap(5)", "center(9)", "truncate(5)", "truncate(7, true, '~')", "urlencode", "striptags", "filesizeformat", "pprint", "xmlattr", "forceescape", "attr('upper')"]
METHODS = ["upper()", "lower()", "strip()", "lstrip()", "rstrip()", "strip(' H')", "split()", "split(',')", "split(',', 1)", "rsplit(',', 1)", "split('X')[-1]", "splitlines()", "title()", "capitalize()", "swapcase()",
           "startswith('H')", "endswith(('s', 'd'))", "replace('l', 'L')", "replace('l', '', 1)", "find('o')", "rfind('o')", "index('o')", "count('l')", "isdigit()", "isalpha()", "isalnum()", "isspace()", "isupper()", "islower()",
           "join(words)", "format(1, 2)", "zfill(4)", "ljust(5)", "rjust(5, '.')", "center(7, '*')", "partition(',')", "removeprefix('H')", "removesuffix('d')", "encode()", "casefold()", "lstrip('<|')", "rstrip('\\n')"]
DICT_METHODS = ["items()", "keys()", "values()", "get('a')", "get('nope')", "get('nope', 7)", "items() | list", "keys() | list", "values() | list | tojson", "copy()", "pop('a')", "update({})"]


class Generator:
    def __init__(self, rng, exotic):
        self.rng, self.filters = rng, FILTERS + (EXOTIC if exotic else [])
        self.names = ["messages", "tools", "n", "x", "flag", "nothing", "numbers", "words", "deep", "bos_token", "eos_token", "undefined_name"]
        self.macros = []

    def one(self, *choices):
        return self.rng.choice(choices)

    def number(self):
        return self.one("0", "1", "2", "3", "-1", "7", "10", "1.5", "-0.25", "1e3", "100", "2.0", "1_000", "n", "x", "loop.index" if "loop" in self.names else "4")

    def sequence(self, depth):
        return self.one("messages", "numbers", "words", "[]", "[1, 'a', none]", "range(3)", "range(1, 6, 2)", "range(5, 0, -2)", "'abc'", "deep", "words[1:]", "numbers[::-1]", "messages[:2]", "(1, 2)",
                        "deep.items()", f"[{self.expression(depth - 1)}, {self.expression(depth - 1)}]", "words + ['t']", "'a b c'.split()", "dict(a=1, b=2)", "{'k': 1, 2: 'v'}", "numbers * 2")

    def expression(self, depth):
        rng = self.rng
        if depth <= 0:
            return self.one(self.number(), rng.choice(STRINGS), rng.choice(self.names), "true", "False", "none", "None", self.sequence(0) if depth == 0 else "1")
        kind = rng.randrange(17)
        left, right = (lambda: self.expression(depth - 1)), (lambda: self.expression(depth - 1))
        if kind == 0:
            if rng.random() < 0.75:
                return f"{self.number()} {self.one('+', '-', '*', '/', '//', '%', '~', '**')} {self.one(self.number(), f'({self.number()} - {self.number()})')}"
            return f"{left()} {self.one('+', '-', '*', '/', '//', '%', '~', '~', '+')} {right()}"
        if kind == 1:
            return f"({left()}) ~ {right()}"
        if kind == 2:
            if rng.random() < 0.6:
                return self.one(f"{self.number()} {self.one('<', '>', '<=', '>=')} {self.number()}", f"{rng.choice(STRINGS)} {self.one('in', 'not in', '<', '==')} {rng.choice(STRINGS)}",
                                f"{left()} {self.one('in', 'not in')} {self.sequence(0)}", f"{left()} {self.one('==', '!=')} {right()}")
            return f"{left()} {self.one('==', '!=', '<', '>', '<=', '>=', 'in', 'not in')} {right()}"
        if kind == 3:
            return f"({left()} {self.one('and', 'or')} {self.one('', 'not ')}{right()})"
        if kind == 4:
            return f"({left()} if {right()}{self.one(f' else {left()}', '', f' else {left()}')})"
        if kind in (5, 6, 7):
            if rng.random() < 0.25:
                return f"({left()}) | {rng.choice(self.filters)}"
            if rng.random() < 0.5:
                return f"{self.one(*STRINGS, 'bos_token', 'words[0]')} | {rng.choice(self.filters)}"
            return f"{self.sequence(depth)} | {rng.choice(self.filters)}{self.one('', '', ' | list', ' | ' + rng.choice(self.filters))}"
        if kind == 8:
            return f"{left()} is {self.one('', 'not ')}{rng.choice(TESTS + TESTS_WITH)}"
        if kind == 9:
            return f"{rng.choice(STRINGS + ['bos_token', 'words[0]', 'messages[0].content'])}.{rng.choice(METHODS)}"
        if kind == 10:
            return f"{self.one('deep', 'messages[0]', 'deep.a', '{}', 'messages[-1]', 'dict(a=1)')}.{rng.choice(DICT_METHODS)}"
        if kind == 11:
            return f"{self.one('deep', 'messages[0]', 'messages[-1]', 'tools[0].function', rng.choice(self.names))}{self.one('.' + rng.choice(ATTRIBUTES), repr([rng.choice(ATTRIBUTES)]))}"
        if kind == 12:
            return f"{self.one('words', 'numbers', 'messages', 'bos_token', STRINGS[3], 'range(9)')}[{self.one('0', '-1', '1:', ':-1', '::2', '::-1', '99', '1:3', str(rng.randrange(-4, 5)), 'n')}]"
        if kind == 13:
            return self.sequence(depth)
        if kind == 14:
            return self.one(f"not {left()}", f"-{self.number()}", f"+{self.number()}", f"-{self.number()} | abs", f"-{left()}")
        if kind == 15:
            return f"{{{rng.choice(STRINGS)}: {left()}, 'k': {right()}}}{self.one('', '.k', ' | tojson', ' | length')}"
        return self.one(f"{left()} ** {self.one('2', '0.5', '3')}", "strftime_now('%d %B %Y %H:%M')", f"{rng.choice(self.macros)}({left()})" if self.macros else "'m'", "cycler('a', 'b').next()", "joiner(',')()",
                        f"namespace(v={left()}).v", f"{left()} is in {self.sequence(0)}", "[1, 2] == (1, 2)", "1 == 1.0 == true", "1 < 2 < 3")

    def mark(self):
        return self.one("", "", "", "-")

    def block(self, text):
        return f"{{%{self.one('', '', '-', '+')} {text} {self.mark()}%}}"

    def output(self, depth):
        return f"{{{{{self.mark()} {self.expression(depth)} {self.mark()}}}}}"

    def text(self):
        return self.one("", " ", "\n", "text", " a\n  b\n", "<|im_start|>", "\n\n", "    ", "\t", "{ x }", "#", "'", "中\r\n", "x{#- c -#} y", "{# c #}\n")

    def body(self, depth, count=None):
        return "".join(self.text() + self.statement(depth) for _ in range(count or self.rng.randrange(1, 4))) + self.text()

    def scoped(self, names, make):
        before = list(self.names)
        self.names += names
        made = make()
        self.names = before
        return made

    def statement(self, depth):
        rng, kind = self.rng, self.rng.randrange(14)
        if depth <= 0 or kind < 5:
            return self.output(self.rng.randrange(1, 4))
        if kind == 5:
            middle = self.block(f"elif {self.expression(2)}") + self.body(depth - 1, 1) if rng.random() < 0.3 else ""
            other = self.block("else") + self.body(depth - 1, 1) if rng.random() < 0.6 else ""
            return self.block(f"if {self.expression(2)}") + self.body(depth - 1) + middle + other + self.block("endif")
        if kind in (6, 7):
            inside = lambda: self.body(depth - 1) + (self.block(f"if {self.one('loop.index > 2', 'loop.last', 'not loop.first', self.expression(1))}") + self.block(self.one("break", "continue")) + self.block("endif") + self.text()
                                                     if rng.random() < 0.25 else "") + self.one("", "{{ loop.index0 }}{{ loop.length }}", "{{ loop.previtem }}|{{ loop.nextitem }}", "{{ loop.cycle('o', 'e') }}", "{{ loop.revindex }}{{ loop.depth }}", "{{ loop.changed(item) }}")
            head = self.one(f"for item in {self.sequence(1)}", f"for item in {self.sequence(1)} if {self.one('item', 'item is string', 'loop is undefined', 'item is not none')}", "for key, value in deep.items()", "for item in messages",
                            "for key, value in deep | dictsort", "for item in messages | selectattr('role', 'equalto', 'user')", f"for item in {self.expression(1)}")
            other = self.block("else") + self.text() if rng.random() < 0.2 else ""
            return self.block(head) + self.scoped(["loop", "item", "item", "key", "value"], inside) + other + self.block("endfor")
        if kind == 8:
            name = self.one("v1", "v2")
            made = self.block(f"set {name} = {self.expression(2)}")
            self.names.append(name)
            return made + self.text() + f"{{{{ {name} }}}}"
        if kind == 9:
            return self.block("set ns = namespace(total=0, seen=[])") + self.block(f"for item in {self.sequence(0)}") + self.block(f"set ns.total = {self.one('ns.total + 1', 'loop.index', 'ns.total ~ item', 'item')}") + self.block("endfor") + "{{ ns.total }}"
        if kind == 10:
            name = f"m{len(self.macros)}"
            body = self.scoped(["a", "b"], lambda: self.body(depth - 1, 1))
            self.macros.append(name)
            calls = rng.random() < 0.3
            call = self.block(f"call {name}(2)") + self.text() + self.block("endcall") if calls else self.one(
                f"{{{{ {name}({self.expression(1)}) }}}}", f"{{{{ {name}(1, b={self.expression(1)}) }}}}", f"{{{{ {name}() }}}}")
            tail = "[{{ caller() }}]" if calls else self.one("", "{{ a }}{{ b }}", "{{ a is defined }}")
            return self.block(f"macro {name}(a, b={self.expression(0)})") + body + tail + self.block("endmacro") + call
        if kind == 11:
            return self.one(self.block("filter " + self.one("upper", "trim", "indent(2)", "replace('a', 'b')")) + self.body(depth - 1, 1) + self.block("endfilter"),
                            self.block("set captured") + self.body(depth - 1, 1) + self.block("endset") + "{{ captured }}{{ captured | length }}",
                            self.block("set captured | upper") + self.text() + self.block("endset") + "{{ captured }}")
        if kind == 12:
            return self.block("generation") + self.body(depth - 1, 1) + self.block("endgeneration")
        return self.one("{% raw %}{{ x }}{% endraw %}", self.block("if false") + "{{ raise_exception('no') }}" + self.block("endif"), "{{ raise_exception('Stop: ' ~ n) }}" if rng.random() < 0.1 else "",
                        self.block("set a, b = 1, [2]") + "{{ a }}{{ b }}", self.block("with w = n + 1") + "{{ w }}" + self.block("endwith"), self.block("macro z()") + "z{{ varargs }}{{ kwargs }}" + self.block("endmacro") + "{{ z(1, k=2) }}",
                        "{{ messages.append(1) }}" if rng.random() < 0.2 else "", "{{ ''.__class__ }}" if rng.random() < 0.1 else "{{ self is defined }}", "{{ dict(deep, q=1) | tojson }}", "{{ [n, x] | join('/') }}",
                        self.block("for a, b in [[1, 2], ['x', none]]") + "{{ a }}-{{ b }};" + self.block("endfor"),
                        self.block("for item in [1, [2, [3]]] recursive") + "{{ loop(item) if item is iterable else item }}," + self.block("endfor"))

    def program(self):
        return [self.text() + self.statement(2) for _ in range(self.rng.randrange(1, 5))] + [self.text()]


def random_programs(program, options, count):
    rng = random.Random(options.seed)
    rendered = total = 0
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "t.jinja"

        def verdict(parts):
            """None where both agree, else a text."""
            source = "".join(parts)
            path.write_text(source, newline="")
            theirs = [oracle(source, context) for context in CONTEXTS]
            if any("0x" in (text or "").lower() for text, _ in theirs):  # an address of a Python object: nobody's to copy
                return None, theirs
            got, error = jsonl([program, "template", "--file", path, "--jsonl", "--now", NOW], CONTEXTS, timeout=60)
            if error:
                # A program that does not even parse may be refused as a whole.
                return (None if error.startswith("exit code") and int(error.split()[2].rstrip(":")) in (2, 4) and all(e for _, e in theirs) else error), theirs
            for mine, (text, failed), number in zip(got, theirs, range(9)):
                if failed is None and mine != text:
                    if beyond(text) and isinstance(mine, dict) and "error" in mine:
                        continue
                    return f"context {number}: {difference(mine, text)}", theirs
                if failed is not None and not (isinstance(mine, dict) and "error" in mine):
                    return f"context {number}: need an error ({failed}), got {str(mine)[:120]!r}", theirs
            return None, theirs

        for index in range(options.count):
            generator = Generator(random.Random(rng.randrange(2**62)), options.exotic)
            parts = generator.program()
            if program is None:
                theirs = [oracle("".join(parts), context) for context in CONTEXTS]
                rendered, total = rendered + sum(error is None for _, error in theirs), total + len(theirs)
                continue
            wrong, _ = verdict(parts)

            def detail():
                small, why = parts, wrong
                for position in range(len(parts) - 1, -1, -1):
                    less = small[:position] + small[position + 1:]
                    again, _ = verdict(less)
                    if again:
                        small, why = less, again
                return f"program {index}: {''.join(small)!r}\n  {why}"
            count.check(wrong is None, "random program", detail if count.shown.get("random program", 0) < count.show else "")
    if program is None:
        print(f"{rendered} of {total} random renderings without an error")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pagoda")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--show", type=int, default=10)
    parser.add_argument("--exotic", action="store_true", help="also the filters that no chat template uses")
    parser.add_argument("--self", action="store_true")
    options = parser.parse_args()
    count, data = Count(options.show), data_folder()
    program = None if options.self else str(pathlib.Path(options.pagoda).resolve())
    print(f"jinja2 {jinja2.__version__}, seed {options.seed}")
    if data is None:
        count.skip("goldens", "PAGODA_TEST_DATA is not set")
    else:
        goldens(program, data, count)
    random_programs(program, options, count)
    count.finish()


if __name__ == "__main__":
    main()
