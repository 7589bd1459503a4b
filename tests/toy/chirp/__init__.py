"""chirp: a third toy modality, for all that needs three. Tones under yet another name."""

from dataclasses import replace
from functools import partial

from tests.toy import tone

MODALITY = replace(
    tone.MODALITY,
    name="chirp",
    media_types=("application/x-chirp",),
    suffixes=(".chirp",),
    datasets=partial(tone.datasets, suffix="chirp", offset=2000),
)
