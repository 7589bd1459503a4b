"""uni-pulse: pulses through the one connector that uni-tone has."""

from dataclasses import replace

from tests.toy import pulse
from tests.toy.uni_tone import UNI

MODALITY = replace(pulse.MODALITY, connector=UNI)
