"""uni-tone: tones through the one connector that uni-pulse shares (paper, Appendix A.3)."""

from dataclasses import replace

from modalities.architectures import Projector, Shared
from tests.toy import tone

UNI = Shared("uni", Projector)

MODALITY = replace(tone.MODALITY, connector=UNI)
