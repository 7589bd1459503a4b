"""The chat: what happens when a file is dropped, a question sent, an answer stopped, a checkpoint swapped.

It names no modality and holds no model: it speaks to the server through `ui.client` alone.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import gradio as gr

from ui import page
from ui.client import Client, Live, ServerError
from ui.conversation import Conversation, Question, Shown
from ui.media import Refused, accept
from ui.preview import preview

FRAME = 0.05  # seconds between two looks at an answer that is being written
ENDINGS = {"stop": "", "length": "cut short"}
KEEP = (600, 7200)  # seconds: how often old uploads are swept, and how old they may get


class Chat:
    """The handlers of the page. One object serves everybody; what one person said is in their Conversation."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.answering: dict[str, asyncio.Task[None]] = {}  # by browser session

    async def refresh(self, seen: Live | str | None) -> tuple[Any, Any, Any]:
        """Every two seconds: header and offer follow the live checkpoint."""
        try:
            now: Live | str = await self.client.live()
        except ServerError as error:
            now = str(error)
        if now == seen:
            return gr.skip(), gr.skip(), gr.skip()
        return now, page.header(now, seen), page.offer(now)

    async def drop(self, files: list[str], talk: Conversation) -> tuple[Any, Any]:
        """Files were dropped: shows them at once. A refused one gets a sentence instead."""
        try:
            live = await self.client.live()
        except ServerError as error:
            talk.refuse(str(error))
        else:
            for path in map(Path, files):
                try:
                    media = accept(path, live)
                except Refused as refusal:
                    talk.refuse(str(refusal))
                else:
                    talk.show(Shown(media, await asyncio.to_thread(preview, path, media.display)))
        return page.messages(talk), page.about(talk)

    async def send(self, text: str, talk: Conversation, request: gr.Request) -> AsyncGenerator[tuple[Any, Any], None]:
        """Asks, and shows the answer as it is written until it ends, fails or is stopped."""
        session = str(request.session_hash)
        question = None if session in self.answering else talk.ask(text)
        if question is None:
            yield gr.skip(), gr.skip()
            return
        writing = self.answering[session] = asyncio.create_task(self._write(question))
        try:
            yield page.busy(), page.messages(talk)
            drawn = ""
            while not writing.done():
                await asyncio.wait({writing}, timeout=FRAME)
                if question.answer.text != drawn:
                    drawn = question.answer.text
                    yield gr.skip(), page.messages(talk)
        finally:  # the page may have been closed
            writing.cancel()
            del self.answering[session]
        yield page.ready(), page.messages(talk)

    async def stop(self, request: gr.Request) -> None:
        """Stops the answer of this session: its connection is closed, which the server takes as a cancel."""
        if writing := self.answering.get(str(request.session_hash)):
            writing.cancel()

    async def restart(self, talk: Conversation, request: gr.Request) -> tuple[Any, Any]:
        """Begins anew; an answer that is still being written has nowhere to go."""
        await self.stop(request)
        talk.clear()
        return page.messages(talk), page.about(talk)

    async def forget(self, talk: Conversation) -> Any:
        """The next question is about no file."""
        talk.forget()
        return page.about(talk)

    async def _write(self, question: Question) -> None:
        """Writes the answer into its turn. Cancelled, it closes the stream and notes that it was stopped."""
        answer = question.answer
        try:
            prompt = await asyncio.to_thread(question.prompt)
            async with aclosing(self.client.stream(prompt)) as pieces:
                async for piece in pieces:
                    answer.text += piece.text
                    answer.checkpoint = piece.checkpoint
                    answer.ending = ENDINGS.get(piece.finish_reason or "stop", str(piece.finish_reason))
            answer.state = "done"
        except asyncio.CancelledError:
            answer.state, answer.ending = "done", "stopped"
        except ServerError as error:
            answer.state, answer.ending = "failed", str(error)
        except OSError:
            answer.state, answer.ending = "failed", "The file is not kept any more. Please drop it again."


def build(client: Client) -> gr.Blocks:
    """The page."""
    chat = Chat(client)
    blocks = gr.Blocks(title="Polymera", analytics_enabled=False, fill_height=True, delete_cache=KEEP)
    with blocks:
        seen, talk = gr.State(None), gr.State(Conversation())
        with gr.Row(elem_id="top"):
            header = gr.HTML(page.header(None), elem_id="header")
            restart = gr.Button("New chat", elem_id="new-chat", size="sm", scale=0, min_width=96)
        board = gr.Chatbot(
            label="Conversation",
            show_label=False,
            elem_id="board",
            scale=1,
            height="100%",
            layout="bubble",
            buttons=[],
            feedback_options=None,
            latex_delimiters=[],
            allow_tags=False,
            group_consecutive_messages=False,
            placeholder=page.WELCOME,
        )
        about = gr.Button("about", elem_id="about", size="sm", visible=False)
        with gr.Row(elem_id="ask"):
            attach = gr.UploadButton("Add a file", elem_id="attach", file_count="multiple", scale=0, min_width=44)
            box = gr.Textbox(
                label="Message",
                show_label=False,
                container=False,
                elem_id="box",
                placeholder="Ask something, or drop a file",
                max_lines=8,
                submit_btn="Send",
                autofocus=True,
            )
        offer = gr.HTML("", elem_id="offer")

        bound: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        gr.on([gr.Timer(2).tick, blocks.load], chat.refresh, [seen], [seen, header, offer], queue=False, **bound)
        # Not queued: Gradio closes the queue's stream after an answer, and would lose an event joining just then.
        attach.upload(chat.drop, [attach, talk], [board, about], queue=False, **bound)
        box.submit(chat.send, [box, talk], [box, board], concurrency_limit=None, trigger_mode="multiple", **bound)
        box.stop(chat.stop, queue=False, **bound)
        restart.click(chat.restart, [talk], [board, about], queue=False, **bound)
        about.click(chat.forget, [talk], [about], queue=False, **bound)
        blocks.unload(chat.stop)
    return blocks
