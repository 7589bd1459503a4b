"""raw-tone: tones without an encoder; the wave is cut into windows, and only their input embedding is learned."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from modalities.architectures import InputEmbedding
from modalities.base import Encoder
from tests.toy import tone


class Windows(Encoder):
    """A wave as it is, 16 numbers a token."""

    width = tone.LENGTH // tone.WINDOWS
    identity = "windows-v1"

    def forward(self, media: Sequence[Any]) -> list[Tensor]:
        return list(torch.from_numpy(np.stack(media)).view(len(media), tone.WINDOWS, -1))


MODALITY = replace(tone.MODALITY, encoder=lambda store: Windows(), connector=InputEmbedding)
