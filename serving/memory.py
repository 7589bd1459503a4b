"""Giving memory back to the system. glibc keeps what was freed between two blocks that are still in use."""

import ctypes


def trim() -> None:
    """Hand all free pages back, where the C library can do that."""
    found = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if found is not None:
        found(0)
