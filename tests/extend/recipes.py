"""A recipe for the pico model: everything on, seconds long."""

from extend.recipe import Recipe

VALUES = {
    "base_llm": "pico",
    "calibrate": True,
    "replay": 0.5,
    "lora": {"rank": 4, "alpha": 8},
    "warm": {"epochs": 1},
    "align": {"batch": 16, "lr_connector": 1e-3, "share": 0.5},
    "tune": {"batch": 16, "lr_connector": 1e-2, "lr_llm": 2e-2, "epochs": 8},
    "realign": {"batch": 16, "lr_connector": 1e-3},
}
PICO = Recipe.model_validate(VALUES)
TOML = """
base_llm = "pico"
calibrate = true
replay = 0.5
[lora]
rank = 4
alpha = 8
[warm]
epochs = 1
[align]
lr_connector = 1e-3
share = 0.5
[tune]
lr_connector = 1e-2
lr_llm = 2e-2
epochs = 8
[realign]
lr_connector = 1e-3
"""
