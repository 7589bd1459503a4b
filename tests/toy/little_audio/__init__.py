"""little-audio: the paper's audio with a Q-Former of two layers and four queries."""

from dataclasses import replace
from functools import partial

from modalities.paper import audio
from modalities.qformer import QFormer

MODALITY = replace(audio.MODALITY, connector=partial(QFormer, hidden=16, layers=2, heads=2, inner=32, queries=4))
