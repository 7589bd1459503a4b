"""Teach the model new modalities, offline: MERA and the methods beside it. It does not know who serves."""
