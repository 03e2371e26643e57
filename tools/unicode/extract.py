# Writes src/text/unicode/ucd.txt, the pinned extract of the Unicode Character Database that tools/unicode/generate.cc turns
# into tables. Needs the Python module unicodedataplus 16.0.0 (Unicode 16.0 with ages, scripts and break properties).
# Usage: extract.py OUT
import re
import sys

import unicodedataplus as ucd

assert ucd.unidata_version == "16.0.0", ucd.unidata_version

# Case pairs newer than Python 3.11's own tables (Unicode 14), of Unicode 15 to 17: upper, lower, count, step between pairs.
NEW_CASE = [(0x1C89, 0x1C8A, 1), (0xA7CB, 0x0264, 1), (0xA7CC, 0xA7CD, 1), (0xA7CE, 0xA7CF, 1), (0xA7D2, 0xA7D3, 1),
            (0xA7D4, 0xA7D5, 1), (0xA7DA, 0xA7DB, 1), (0xA7DC, 0x019B, 1), (0x10D50, 0x10D70, 22), (0x16EA0, 0x16EBB, 25)]
# Numbers that Unicode 17 added: Rust's char::is_numeric in today's tokenizers knows them.
NEW_NUMBERS = [(0x11DE0, 0x11DE9, "Nd"), (0x16FF4, 0x16FF6, "Nl")]
# Marks that Unicode 17 added: they extend grapheme clusters for the segmentation that today's tokenizers use. Nothing else about
# them is wanted, so they stay unassigned here.
NEW_EXTEND = [(0x1ACF, 0x1ADD), (0x1AE0, 0x1AEB), (0x10EFA, 0x10EFB), (0x11B60, 0x11B67), (0x1E6E3, 0x1E6E3), (0x1E6E6, 0x1E6E6),
              (0x1E6EE, 0x1E6EF), (0x1E6F5, 0x1E6F5)]


def age(c):
    text = ucd.age(chr(c))
    return 0 if text in (None, "NA", "Unassigned", "") else round(float(text) * 10)


def record(c):
    ch = chr(c)
    gc, version, script = ucd.category(ch), age(c), ucd.script(ch)
    for first, last, category in NEW_NUMBERS:
        if first <= c <= last:
            gc, version, script = category, 170, "Common"
    grapheme = ucd.grapheme_cluster_break(ch)
    flags = ""
    if any(first <= c <= last for first, last in NEW_EXTEND):
        grapheme, flags = "Extend", "e"
    if ucd.is_extended_pictographic(ch):
        flags += "p"
    conjunct = ucd.indic_conjunct_break(ch)
    flags += {"Consonant": "c", "Linker": "l", "Extend": "e"}.get(conjunct, "")
    if gc[0] == "L" or gc == "Nl" or c in OTHER_ALPHABETIC:
        flags += "a"
    return gc, version, script, grapheme, flags or "-"


def other_alphabetic():
    """Alphabetic code points that are no letters: Unicode 15's list from Debian's unicode-data, and what 16 added."""
    found = set()
    for line in open("/usr/share/unicode/DerivedCoreProperties.txt", encoding="utf-8"):
        match = re.match(r"([0-9A-F]+)(?:\.\.([0-9A-F]+))?\s*; Alphabetic", line)
        if match:
            found.update(range(int(match[1], 16), int(match[2] or match[1], 16) + 1))
    for first, last in [(0x363, 0x36F), (0x897, 0x897), (0x1DD3, 0x1DE6), (0x10D69, 0x10D69), (0x10EFC, 0x10EFC),
                        (0x113B8, 0x113C0), (0x113C2, 0x113C2), (0x113C5, 0x113C5), (0x113C7, 0x113CA),
                        (0x113CC, 0x113CD), (0x1611E, 0x1612E)]:
        found.update(range(first, last + 1))
    return found


OTHER_ALPHABETIC = other_alphabetic()


def main():
    out = open(sys.argv[1], "w", encoding="ascii", newline="\n")
    put = lambda text: out.write(text + "\n")
    put("# Unicode Character Database 16.0, the parts that tokenizers need; made by tools/unicode/extract.py, do not edit.")
    put("# Data (C) Unicode, Inc., under the Unicode License v3 (https://www.unicode.org/license.txt).")
    put("# R first last category age*10 script grapheme_cluster_break flags"
        " (p pictographic, c/l/e Indic conjunct, a alphabetic)")
    start, previous = 0, None
    for c in range(0x110001):
        now = None if c == 0x110000 else ("Cs", 20, "Unknown", "Control", "-") if 0xD800 <= c < 0xE000 else record(c)
        if now != previous:
            if previous is not None and previous[0] != "Cn":
                put("R %X %X %s %d %s %s %s" % (start, c - 1, *previous))
            elif previous is not None and (previous[3] != "Other" or previous[4] != "-"):
                put("R %X %X %s %d %s %s %s" % (start, c - 1, *previous))
            start, previous = c, now
    put("# C code combining_class")
    put("# D code kind decomposition (kind: c canonical, x canonical but never composed, k compatibility)")
    put("# L, U, T code full lower, upper, title case")
    lower, upper = {}, {}
    for first_upper, first_lower, count in NEW_CASE:
        for i in range(count):
            lower[first_upper + i] = [first_lower + i]
            upper[first_lower + i] = [first_upper + i]
    for c in range(0x110000):
        if 0xD800 <= c < 0xE000:
            continue
        ch = chr(c)
        if ucd.combining(ch):
            put("C %X %d" % (c, ucd.combining(ch)))
        text = ucd.decomposition(ch)
        if text and not 0xAC00 <= c <= 0xD7A3:
            parts = text.split()
            kind = "k" if parts[0][0] == "<" else "c" if ucd.normalize("NFC", ch) == ch else "x"
            put("D %X %s %s" % (c, kind, " ".join(p.lstrip("0") for p in parts if p[0] != "<")))
        for letter, text in (("L", ch.lower()), ("U", ch.upper()), ("T", ch.title())):
            codes = [ord(x) for x in text]
            if letter == "L" and c in lower:
                codes = lower[c]
            if letter != "L" and c in upper:
                codes = upper[c]
            if codes != [c]:
                put("%s %X %s" % (letter, c, " ".join("%X" % x for x in codes)))


main()
