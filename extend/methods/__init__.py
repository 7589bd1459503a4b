"""One file a method; the file's name is the method's name, and each has run(stage).

CANNOT says which of a recipe's options a method does not take, and why; CANNOT_ALONE, which not without `realign`.
"""

import importlib
from pathlib import Path
from types import ModuleType

from extend import RunError
from extend.recipe import Options


def methods() -> list[str]:
    """The names of the method files."""
    return sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))


def method_of(name: str, options: Options) -> ModuleType:
    """The file of a method, if it can be run with these options. Raises RunError that names what it cannot do."""
    if name not in methods():
        raise RunError(f"No method {name!r}; there are: {', '.join(methods())}.")
    module = importlib.import_module(f"{__name__}.{name}")
    cannot = dict(getattr(module, "CANNOT", {}))
    if options.realign is None:
        alone = getattr(module, "CANNOT_ALONE", {})
        cannot |= {option: f"{why}; add realign" for option, why in alone.items()}
    for option, why in cannot.items():
        if getattr(options, option) != Options.model_fields[option].default:
            raise RunError(f"{name} cannot be run with {option}: {why}.")
    return module
