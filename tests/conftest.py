"""Fixtures shared by all tests: the store in which fetched assets live, and a pico store."""

import os
from pathlib import Path

import pytest

from modalities.checkpoint import Store
from tests import pico


@pytest.fixture(scope="session")
def shared_store() -> Path:
    """A store that outlives the test run, so that real assets and data are fetched once."""
    return Path(os.environ.get("POLYMERA_TEST_STORE", Path(__file__).parent.parent / "store"))


@pytest.fixture
def pico_store(tmp_path: Path) -> Store:
    """A fresh store with the pico backbone and one live checkpoint."""
    return pico.store(tmp_path / "store")
