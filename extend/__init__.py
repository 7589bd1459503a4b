"""Teach the model new modalities, offline: MERA and the methods beside it. It does not know who serves."""


class RunError(ValueError):
    """A run that cannot start. The message names the cure."""
