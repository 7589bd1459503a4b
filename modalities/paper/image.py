"""The paper's image: CLIP-ViT-L/14-336 as LLaVA uses it, an MLP connector, MSCOCO-2014 and OK-VQA."""

from dataclasses import replace
from pathlib import Path

from modalities.architectures import Projector
from modalities.base import Encoder
from modalities.encoders import vision
from modalities.image import MODALITY as PICTURE
from modalities.paper import coco

CLIP = "openai/clip-vit-large-patch14-336"


def encoder(store: Path) -> Encoder:
    """The penultimate layer's 576 patch tokens, the class token dropped."""
    return vision.load(store, CLIP)


MODALITY = replace(PICTURE, encoder=encoder, connector=Projector, datasets=coco.load)
