"""pulse: a second toy modality, for all that needs two. Tones under another name, with other noise."""

from dataclasses import replace
from functools import partial

from tests.toy import tone

MODALITY = replace(
    tone.MODALITY,
    name="pulse",
    media_types=("application/x-pulse",),
    suffixes=(".pulse",),
    datasets=partial(tone.datasets, suffix="pulse", offset=1000),
)
