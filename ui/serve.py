"""Starts the page: launched locally, shared with nobody, fetching nothing."""

import sys
import threading

from ui.chat import build
from ui.client import Client
from ui.theme import HEAD, ICON, JS, theme

IDLE = 0.02  # seconds between two looks at an empty queue; Gradio's own 0.001 takes a tenth of a core, day and night
MAX_FILE = "256mb"  # what the page takes; the server's own limit for each kind is stated and checked on the page


def serve(server: str, api_key: str | None, host: str, port: int, stopped: threading.Event) -> None:
    """Runs until it is stopped. Raises OSError where the port is taken."""
    blocks = build(Client(server, api_key))
    blocks._queue.sleep_when_free = IDLE  # Gradio has no public name for it
    blocks.launch(
        server_name=host,
        server_port=port,
        share=False,
        quiet=True,
        theme=theme(),
        head=HEAD,
        favicon_path=ICON,
        js=JS,
        footer_links=[],
        max_file_size=MAX_FILE,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        enable_monitoring=False,
        run_history=False,
        prevent_thread_lock=True,
    )
    print(f"The chat is at http://{host}:{port} (server: {server})", file=sys.stderr)
    stopped.wait()
    blocks.close(verbose=False)
