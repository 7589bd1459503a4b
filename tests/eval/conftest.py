"""What tests of the judge share: an endpoint that misbehaves."""

from collections.abc import Iterator
from threading import Thread

import pytest

from tests.eval.misbehaving import Misbehaving


@pytest.fixture
def endpoint() -> Iterator[Misbehaving]:
    made = Misbehaving()
    thread = Thread(target=made.server.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()
