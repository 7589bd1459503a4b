"""The paper's audio: BEATs iter3+ (AS2M), a Q-Former of 32 queries from bert-base-uncased, AudioCaps, Clotho-AQA."""

from pathlib import Path

from modalities.base import Encoder, Modality
from modalities.encoders import beats
from modalities.paper import sounds
from modalities.paper.decode import wave
from modalities.qformer import QFormer

WEIGHTS = "BEATs_iter3_plus_AS2M.pt"


def encoder(store: Path) -> Encoder:
    """50 tokens a second; the file lies in store/assets."""
    return beats.load(store, WEIGHTS)


MODALITY = Modality(
    name="audio",
    media_types=("audio/wav", "audio/x-wav", "audio/flac", "audio/mpeg", "audio/ogg", "audio/mp4"),
    suffixes=sounds.SUFFIXES,
    max_bytes=50_000_000,
    read=wave,
    encoder=encoder,
    connector=QFormer,
    datasets=sounds.load,
)
