"""PTB tokens without Java: what Stanford's PTBTokenizer 3.4.1 makes of a caption, lower-cased.

A caption is read from left to right; at each place the first kind of token below that fits is taken, so their order is
the grammar. It covers what captions hold (contractions, abbreviations, numbers, fractions, measures, brackets, quotes);
tests/eval/test_tokens.py compares it with the jar, caption by caption. Known to differ: three points between letters
("a...b"), leading underscores, "2+2", and scripts whose letters combine (Devanagari). It knows no score.
"""

import re
import unicodedata
from collections.abc import Iterator

_LETTER = r"[^\W\d_]"
_APOSTROPHE = "['’]"

# Abbreviations keep their point: always, before a capital or with one, or only before a number.
_ALWAYS = """mr mrs ms dr prof rev st mt ft jr sr vs etc ave blvd rd inc corp ltd co gov gen sen rep col sgt capt lt cpl
esq messrs hon bros maj dept univ al cf ph.d"""
_CAPITAL = "Jan Feb Mar Apr Jun Jul Aug Sep Sept Oct Nov Dec Mon Tue Tues Wed Thu Thurs Fri Sat Sun"
_NUMBERED = "no nos fig figs art pp p"
_TWO = {"cannot": 3, "gonna": 3, "gotta": 3, "wanna": 3, "lemme": 3, "gimme": 3}  # where a word is cut in two

_BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}
_SIGNS = {
    "…": "...",
    "–": "--",
    "—": "--",
    "£": "#",
    "€": "$",
    "½": "1/2",
    "¼": "1/4",
    "¾": "3/4",
    "‘": "`",
    "¢": "cents",
}
_ENTITIES = {"&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&nbsp;": " "}


def _any(words: str) -> str:
    return "|".join(map(re.escape, words.split()))


_KINDS = {
    "tag": rf"</?{_LETTER}[^<>]*>",
    "link": r"(?:https?://|www\.)[^\s\"<>]*[^\s\"<>.,;:!?)]",
    "mail": r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+",
    "name": rf"[#@]{_LETTER}\w*",
    "face": r"[:;=]-?[()](?!\w)",
    "escaped": r"(?i:-[lr][rcs]b-)",
    "clitic": rf"(?<!\S)(?i:{_APOSTROPHE}(?:s|m|d|ll|re|ve)|n{_APOSTROPHE}t)(?!\w)",
    "part": r"[½¼¾²³]",
    "phone": r"\(\d{3}\)\s?\d{3}-\d{4}",
    "short": rf"(?<!\w)(?:(?i:{_any(_ALWAYS)})|{_any(_CAPITAL)}|(?i:{_any(_NUMBERED)})(?=\.\s?\d))\.(?![^\W_])",
    "initials": rf"(?<![^\W_]){_LETTER}(?:\.{_LETTER})+(?:\.(?!\w)|(?![\w.]))|(?<![^\W_]){_LETTER}\.(?![\w.])",
    "decade": rf"{_APOSTROPHE}\d\ds\b",
    "number": r"(?<!\w)[-+]?\d+(?:[.,:/-]\d+)*(?![\w/-])|(?<!\w)[.,]\d+(?!\w)",
    "money": r"(?:US|C|A)\$",
    "quoted": rf"{_APOSTROPHE}(?:em|til|n{_APOSTROPHE})(?!\w)",
    "twas": rf"{_APOSTROPHE}t(?=(?:is|was)\b)",
    "word": r"[^\W_½¼¾²³]+(?:[-/_&][^\W_½¼¾²³]+)*(?:\+\+|#)?",
    "ellipsis": r"\.{3,}|…|\. \. \.",
    "dashes": r"-{2,}|[–—]",
    "shout": r"[!?]{2,}",
    "open": r"``|\"(?=\w)(?<!\w\")|“",
    "close": r"''|\"|”",
    "mark": r"\S",
}
_TOKEN = re.compile("|".join(f"(?P<{kind}>{pattern})" for kind, pattern in _KINDS.items()))
_WHOLE = ("ol{0}(?!{1})", "ma{0}am", "o{0}{1}{{2,}}", "[cdl]{0}{1}{{2,}}")  # no apostrophe of these ends a word
_ODD = re.compile("(?i:" + "|".join(one.format(_APOSTROPHE, _LETTER) for one in _WHOLE) + ")")
_CLITIC = re.compile(rf"(?i:{_APOSTROPHE}(?:n{_APOSTROPHE}|(?:s|m|d|ll|re|ve|n)(?!\w)))")
_NOT = re.compile(rf"(?i:n{_APOSTROPHE}t(?!\w))")


def tokens(caption: str) -> list[str]:
    """The tokens of a caption, punctuation included."""
    for entity, sign in _ENTITIES.items():
        caption = caption.replace(entity, sign)
    return [token for token in _read(caption) if token]


def _read(caption: str) -> Iterator[str]:
    place = 0
    while place < len(caption):
        if caption[place].isspace() or unicodedata.category(caption[place]) in ("Cf", "Cc", "Cn", "Co", "Cs"):
            place += 1
            continue
        found = _after_word(caption, place) or _TOKEN.match(caption, place)
        assert found is not None, "Every character that is no space is a token at least."
        kind, text = found.lastgroup, found[0]
        if kind == "word":
            text, parts = _cut(caption, place, text)
            yield from parts
        else:
            yield _plain(str(kind), text)
        place += len(text)


def _after_word(caption: str, place: int) -> re.Match[str] | None:
    """A clitic, where a word or a number has just ended."""
    if place and caption[place - 1].isalnum():
        return _CLITIC.match(caption, place) or _NOT.match(caption, place)
    return None


def _cut(caption: str, place: int, text: str) -> tuple[str, list[str]]:
    """A word as far as it goes, and the tokens it consists of."""
    if odd := _ODD.match(caption, place):
        return odd[0], [odd[0].lower().replace("’", "'")]
    if text.lower() == "y" and caption[place + 1 : place + 2] in ("'", "’"):
        return caption[place : place + 2], ["y'"]
    if _NOT.match(caption, place + len(text) - 1) and len(text) > 1 and text[-1] in "nN":
        text = text[:-1]
    at = _TWO.get(text.lower(), len(text))
    return text, [text[:at].lower(), text[at:].lower()]


def _plain(kind: str, text: str) -> str:
    if kind == "ellipsis":
        return "..."
    if kind in ("dashes", "open", "close"):
        return {"dashes": "--", "open": "``", "close": "''"}[kind]
    if kind == "phone":
        text = text.replace(" ", "\xa0")  # one token, with a space that is none
    if kind == "mark" and unicodedata.category(text) == "So" and text not in "°®™©":
        return ""  # pictographs are no tokens
    for sign, token in (_BRACKETS | _SIGNS).items():
        text = text.replace(sign, token)
    return text.replace("’", "'").lower()
