"""`python -m ui`: the chat in a browser, beside a Polymera server. What is dropped stays on this machine.

Exit code 2 is wrong use.
"""

import argparse
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Serve the page until stopped."""
    options = _options(argv)
    try:  # before seconds go into imports
        socket.create_server((options.host, options.port)).close()
    except (OSError, OverflowError):
        where = f"{options.host} port {options.port}"
        print(f"error: Cannot listen on {where}; stop what uses it, or choose another --port.", file=sys.stderr)
        return 2
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    with tempfile.TemporaryDirectory(prefix="polymera-ui-") as uploads:
        # Gradio reads both as it is imported: uploads go when the page goes, and nobody is told of its use.
        os.environ |= {"GRADIO_TEMP_DIR": uploads, "GRADIO_ANALYTICS_ENABLED": "False"}
        from ui.serve import serve

        serve(options.server, os.environ.get("POLYMERA_API_KEY"), options.host, options.port, stopped)
    return 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m ui",
        description="Chat with a Polymera server in a browser.",
        epilog="The environment's POLYMERA_API_KEY is sent to the server when it is set.",
    )
    parser.add_argument("--server", type=_url, default="http://127.0.0.1:8000", help="default: %(default)s")
    parser.add_argument("--host", default="127.0.0.1", help="default: %(default)s, this machine only")
    parser.add_argument("--port", type=int, default=7860, help="default: %(default)s")
    return parser.parse_args(argv)


def _url(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise argparse.ArgumentTypeError("give a URL such as http://127.0.0.1:8000")
    return text


if __name__ == "__main__":
    sys.exit(main())
