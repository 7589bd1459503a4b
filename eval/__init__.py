"""Measures a checkpoint and gates it. Sits above serving, so that what is measured is what will serve."""


class EvalError(ValueError):
    """Something cannot be measured or judged. The message is one line, names the cure and holds no path."""
