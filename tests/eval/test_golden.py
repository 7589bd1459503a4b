"""What a checkpoint says for certain, and only that, is written down once."""

from eval.golden import PROMPTS, certain, record
from modalities.assemble import assemble
from modalities.checkpoint import Store
from serving.golden import FILE, read


def test_the_answer_ends_where_the_second_choice_comes_near(pico_store: Store) -> None:
    model = assemble(pico_store, pico_store.load(str(pico_store.live())))
    whole = certain(model, PROMPTS[0], (), clear=0.0)
    assert len(whole) == 12
    assert certain(model, PROMPTS[0], (), clear=float("inf")) == ()
    lengths = [len(certain(model, PROMPTS[0], (), clear=clear / 4)) for clear in range(12)]
    assert lengths == sorted(lengths, reverse=True)
    assert certain(model, PROMPTS[0], (), clear=0.25) == whole[: lengths[1]]
    assert certain(model, PROMPTS[0], {whole[3]}, clear=0.0) == whole[: whole.index(whole[3])]


def test_it_is_written_once_and_read_again(pico_store: Store) -> None:
    checkpoint = pico_store.load(str(pico_store.live()))
    first = record(pico_store, checkpoint)
    assert [one.prompt for one in read(pico_store, checkpoint.id)] == list(PROMPTS)
    written = (pico_store.folder(checkpoint.id) / FILE).stat().st_mtime_ns
    assert record(pico_store, checkpoint) == first
    assert (pico_store.folder(checkpoint.id) / FILE).stat().st_mtime_ns == written
