"""From token ids to text that may be shown: whole characters only, and nothing of a stop string.

It knows a tokenizer's `decode` and nothing else.
"""

from collections.abc import Sequence
from typing import Any

_HALF = "\N{REPLACEMENT CHARACTER}"  # what a decoder shows for bytes of a character that is not all here yet
_WINDOW = 8  # tokens that are decoded again with each new one


class Words:
    """Feed it tokens; it gives text as soon as that is certain. `stopped` once a stop string came."""

    def __init__(self, tokenizer: Any, stop: Sequence[str] = ()) -> None:
        self._tokenizer = tokenizer
        self._stop = stop
        self._ids: list[int] = []  # the window
        self._said = 0  # characters of the window's text that were handed on
        self._held = ""  # may be the beginning of a stop string
        self.stopped = False

    def feed(self, token: int) -> str:
        """One more token: the text that is now certain, often one word, sometimes nothing."""
        self._ids.append(token)
        text = self._decode()
        whole = text.removesuffix(_HALF)
        piece, self._said = whole[self._said :], max(self._said, len(whole))
        if whole == text and len(self._ids) > _WINDOW:
            # Some tokens stay: what a token looks like may depend on the one before it.
            del self._ids[: -_WINDOW // 2]
            self._said = len(self._decode())
        return self._filter(piece)

    def end(self) -> str:
        """No more tokens: what was held back. Half a character stays unsaid."""
        held, self._held = self._held, ""
        return held

    def _decode(self) -> str:
        text: str = self._tokenizer.decode(self._ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    def _filter(self, piece: str) -> str:
        text = self._held + piece
        places = [place for stop in self._stop if (place := text.find(stop)) >= 0]
        if places:
            self.stopped, self._held = True, ""
            return text[: min(places)]
        keep = max((_overlap(text, stop) for stop in self._stop), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of a text may be the beginning of the stop string."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)
