"""How a study names a method with its options: `mera@0.1+noise=0.5`. It knows no store and no modality."""

from dataclasses import dataclass

from pydantic import ValidationError

from extend import RunError
from extend.console import AFTERWARDS
from extend.methods import method_of
from extend.recipe import Recipe


@dataclass(frozen=True)
class Variant:
    """A method with its options, as in `mera@0.1+noise=0.5`."""

    text: str
    method: str
    replay: float | None
    options: tuple[tuple[str, object], ...]

    def recipe(self, base: Recipe) -> Recipe:
        """The study's recipe with this variant's changes."""
        values = base.model_dump(mode="json")
        values["options"] |= dict(self.options)
        return Recipe.model_validate(values | ({} if self.replay is None else {"replay": self.replay}))

    @property
    def plain(self) -> bool:
        """Whether it has no options: a row of Table 2."""
        return not self.options


def variant(text: str) -> Variant:
    """Read `NAME[@R][+realign][+noise=P][+sweep=stage|depth][+connectors][+worst]`. Raises RunError."""
    head, *extras = text.split("+")
    name, _, share = head.partition("@")
    options: dict[str, object] = {}
    for extra in extras:
        key, _, value = extra.partition("=")
        flag: object = AFTERWARDS if key == "realign" else True
        options[key] = value or flag
    try:
        made = Variant(text, name, float(share) if share else None, tuple(options.items()))
        method_of(name, made.recipe(_ANY).options)
    except (ValidationError, ValueError) as error:
        if isinstance(error, RunError):
            raise
        grammar = "NAME[@SHARE][+realign][+noise=SHARE][+sweep=stage|depth][+connectors][+worst]"
        raise RunError(f"{text!r} is no method; write {grammar}, as in mera@0.1+noise=0.5.") from None
    if made.replay is not None and name not in ("mera", "replay"):
        raise RunError(f"{name} replays nothing, so {text!r} has no share; write it without @.")
    return made


_RATES = {"lr_connector": 1e-3, "lr_llm": 1e-3}
_ANY = Recipe.model_validate(
    {"base_llm": "any", "lora": {"rank": 1, "alpha": 1}, "align": _RATES, "tune": _RATES, "realign": _RATES}
)
