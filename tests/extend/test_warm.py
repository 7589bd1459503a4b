"""What the warm start aims at: the words of captions and answers, however many there are of each."""

import torch

from extend.warm import _targets


def test_an_answer_of_one_word_weighs_as_much_as_a_caption_of_four() -> None:
    vocabulary = {word: place for place, word in enumerate((10, 20, 30, 40, 50))}
    (row,) = _targets([[{10}, {20, 30, 40, 50}]], vocabulary, torch.ones(5))
    assert torch.allclose(row, torch.tensor([0.5, 0.125, 0.125, 0.125, 0.125]))


def test_a_sample_weighs_as_much_as_its_rarest_word() -> None:
    rarity = torch.tensor([2.0, 3.0, 1.0])
    (row,) = _targets([[{7}, {8, 9}]], {7: 0, 8: 1, 9: 2}, rarity)
    assert torch.allclose(row, torch.tensor([2.0, 3.0 * 3 / 4, 3.0 * 1 / 4]) / 5)


def test_what_is_said_about_most_files_counts_little() -> None:
    rare_and_common = torch.tensor([3.0, 1.0])
    (row,) = _targets([[{7}, {8}]], {7: 0, 8: 1}, rare_and_common)
    assert torch.allclose(row, torch.tensor([0.75, 0.25]))


def test_a_word_said_twice_counts_twice_and_nothing_said_is_no_target() -> None:
    twice, nothing = _targets([[{7}, {7}, {8}], [set()]], {7: 0, 8: 1}, torch.ones(2))
    assert torch.allclose(twice, torch.tensor([2 / 3, 1 / 3]))
    assert torch.equal(nothing, torch.zeros(2))
