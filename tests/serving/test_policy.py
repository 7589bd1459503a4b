"""The policy is read strictly, and the shipped file says the defaults."""

from pathlib import Path

import pytest

from serving.policy import DEFAULT, Policy, PolicyError, read_policy


def test_the_shipped_policy_is_the_default_and_says_every_key() -> None:
    assert read_policy(DEFAULT) == Policy()
    assert Policy() == Policy(aggregate=0.95, modality=0.90, dataset=0.85, forward=0.80, text=0.98)
    assert [line.partition(" ")[0] for line in DEFAULT.read_text().splitlines() if line[0] != "#"] == [
        *Policy.model_fields
    ]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("modalities = 0.9", "unknown key 'modalities'; known: aggregate, modality, dataset, forward, text"),
        ("[gate]\nmodality = 0.9", "unknown key 'gate'"),
        ("modality = 90", "modality = 90 is no share; write 0.95 for 95 %"),
        ("modality = '0.9'", "modality = '0.9' is no share"),
        ("modality = true", "modality = True is no share"),
        ("modality = nan", "modality = nan is no share"),
        ("modality = -0.1", "modality = -0.1 is no share"),
        ("expert = 1", "expert = 1 is neither true nor false"),
        ("modality 0.9", "is not TOML"),
        ("modality = 0.9\nmodality = 0.8", "is not TOML"),
    ],
)
def test_a_policy_is_read_strictly(content: str, complaint: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(content)
    with pytest.raises(PolicyError) as error:
        read_policy(file)
    assert str(error.value).startswith("mine.toml")
    assert complaint in str(error.value)
    assert "\n" not in str(error.value)


def test_a_key_that_is_left_out_keeps_its_default(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("text = 0\nexpert = true\n")
    assert read_policy(file) == Policy(text=0.0, expert=True)


def test_a_policy_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"no policy file 'none\.toml'; the shipped one is serving/gate\.toml"):
        read_policy(tmp_path / "none.toml")
