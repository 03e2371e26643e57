"""What the peers' scripts share: the binary under test, counting, and one line of verdict."""

import json
import os
import pathlib
import subprocess
import sys


def binary():
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit(f"usage: {sys.argv[0]} PAGODA [options]")
    return str(pathlib.Path(sys.argv[1]).resolve())


def data_folder():
    folder = os.environ.get("PAGODA_TEST_DATA")
    return pathlib.Path(folder) if folder and pathlib.Path(folder).is_dir() else None


class Count:
    """Counts verdicts, shows the first failures of each group, and ends the program with the right exit code."""

    def __init__(self, show=5):
        self.passed = self.failed = self.skipped = 0
        self.show, self.shown = show, {}

    def check(self, good, group, detail="", times=1):
        if good:
            self.passed += times
            return True
        self.failed += times
        self.shown[group] = self.shown.get(group, 0) + 1
        if self.shown[group] <= self.show:
            print(f"FAIL {group}: {detail() if callable(detail) else detail}", flush=True)
        return False

    def skip(self, group, why, times=1):
        self.skipped += times
        print(f"SKIP {group}: {why}", flush=True)

    def finish(self):
        for group, count in self.shown.items():
            if count > self.show:
                print(f"... {group}: {count} failures in all")
        print(f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped")
        sys.exit(1 if self.failed else 0)


def run(command, text=None, timeout=600, **more):
    """CompletedProcess with text streams; a time-out counts as exit code 124, a signal is negative as always."""
    try:
        return subprocess.run([str(part) for part in command], input=text, capture_output=True, encoding="utf-8", errors="surrogateescape",
                              timeout=timeout, **more)
    except subprocess.TimeoutExpired as error:
        return subprocess.CompletedProcess(error.cmd, 124, "", f"no end within {timeout} s")


def jsonl(command, rows, timeout=600, **more):
    """Feeds `rows` to a --jsonl verb, one JSON a line, and returns what came back in order, or an error text."""
    done = run(command, "".join(json.dumps(row) + "\n" for row in rows), timeout, **more)
    if done.returncode != 0:
        return None, f"exit code {done.returncode}: {done.stderr.strip()[-400:]}"
    # Only "\n" ends a line: JSON strings may hold U+2028 and its like unescaped.
    lines = [line for line in done.stdout.split("\n") if line]
    if len(lines) != len(rows):
        return None, f"{len(rows)} lines in, {len(lines)} lines out: {done.stderr.strip()[-400:]}"
    return [json.loads(line) for line in lines], None
