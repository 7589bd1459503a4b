"""What the page says: header, offer, bubbles and hints, made from values. It knows no server and keeps no state."""

from html import escape
from typing import Any

import gradio as gr

from ui.client import Live
from ui.conversation import Conversation, Shown, Turn
from ui.media import megabytes
from ui.theme import MARK

WELCOME = "### What would you like to ask about?\n\nDrop a file anywhere on this page, or just start to write."
ANGLED = (60, 68, None)  # degrees: from above and aside, so that a shape shows its depth at once


def header(now: Live | str | None, before: Live | str | None = None) -> str:
    """The name, and beside it what is live: a checkpoint with its senses, or why there is none."""
    match now:
        case Live():
            old = before if isinstance(before, Live) else now
            marks = {sense.name: "new" for sense in now.modalities} | {sense.name: "" for sense in old.modalities}
            senses = "".join(f'<li class="{marks[s.name]}">{escape(s.name)}</li>' for s in now.modalities)
            status = (
                f'<span class="dot live"></span><code aria-label="Live checkpoint">{escape(now.checkpoint)}</code>'
                f'<ul aria-label="Senses"><li>text</li>{senses}</ul>'
            )
        case None:
            status = '<span class="dot"></span><span>Looking for the server …</span>'
        case sentence:
            status = f'<span class="dot away"></span><span>{escape(sentence)}</span>'
    return f'<h1>{MARK}Polymera</h1><div class="status" role="status">{status}</div>'


def offer(now: Live | str) -> str:
    """Which files can be dropped, and how large they may be; page.js gives the suffixes to the file picker."""
    if not isinstance(now, Live):
        return ""
    suffixes = ",".join(suffix for sense in now.modalities for suffix in sense.suffixes)
    kinds = "".join(
        f"<li><b>{escape(sense.name)}</b> {escape(' '.join(sense.suffixes or sense.media_types))}"
        f" up to {megabytes(sense.max_bytes)}</li>"
        for sense in now.modalities
    )
    return f'<ul aria-label="Files it takes" data-accept="{escape(suffixes)}">{kinds}</ul>'


def messages(talk: Conversation) -> list[dict[str, Any]]:
    """The bubbles."""
    return [{"role": turn.role, "content": _content(turn)} for turn in talk.turns]


def about(talk: Conversation) -> Any:
    """Which files the next question is about; a click on it forgets them."""
    subject = talk.subject()
    return gr.Button(f"about: {subject}  ✕", visible=bool(subject))


def busy() -> Any:
    """The text box while an answer is written: empty, with a stop button. One may write ahead."""
    return gr.Textbox(value="", submit_btn=False, stop_btn="Stop")


def ready() -> Any:
    """The text box when it is the person's turn; what was written ahead stays."""
    return gr.Textbox(submit_btn="Send", stop_btn=False)


def _content(turn: Turn) -> list[Any]:
    """What stands in a bubble: a file above its name, a question, or an answer above its maker; page.css styles it."""
    if turn.shown:
        return _file(turn.shown)
    if turn.role == "user":
        return [escape(turn.text, quote=False)]
    if turn.state == "failed":
        return list(filter(None, (turn.text, f"⚠ {turn.ending}")))
    footer = " · ".join(filter(None, (turn.checkpoint, turn.ending)))
    return list(filter(None, (turn.text or "…", footer)))


def _file(shown: Shown) -> list[Any]:
    """The best view of a file that a browser has, and its name."""
    name, view = shown.media.name, shown.preview
    if view is None:
        return [name]
    if shown.media.display == "model":
        return [gr.Model3D(str(view), camera_position=ANGLED, show_label=False, interactive=False), name]
    return [{"path": str(view)}, name]
