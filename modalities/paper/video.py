"""The paper's video: four frames through CLIP-ViT-L/14-336, their tokens halved in height and width; MSVD, MSVD-QA."""

from pathlib import Path

from modalities.architectures import Projector
from modalities.base import Encoder, Modality
from modalities.encoders import vision
from modalities.paper import image, msvd
from modalities.video.reading import read


def encoder(store: Path) -> Encoder:
    """4 x 144 tokens."""
    return vision.FrameEncoder(vision.load(store, image.CLIP))


MODALITY = Modality(
    name="video",
    media_types=("video/x-msvideo", "video/mp4", "video/webm", "video/quicktime", "image/gif"),
    suffixes=(".avi", ".mp4", ".webm", ".mov", ".mkv", ".gif"),
    max_bytes=200_000_000,
    read=read,
    encoder=encoder,
    connector=Projector,
    datasets=msvd.load,
)
