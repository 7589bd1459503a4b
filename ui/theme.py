"""How the page looks: Gradio's colours and sizes set to Polymera's; what remains is page.css and page.js.

Only the fonts of the machine that looks at it: nothing is fetched from anywhere.
"""

from pathlib import Path

import gradio as gr

HERE = Path(__file__).parent
HEAD = f"<style>{(HERE / 'page.css').read_text(encoding='utf-8')}</style>"
ICON = HERE / "mark.svg"
MARK = ICON.read_text(encoding="utf-8")
JS = (HERE / "page.js").read_text(encoding="utf-8")

INK = gr.themes.Color(
    name="ink",
    c50="#f8f8fa",
    c100="#f0f0f4",
    c200="#e3e3ea",
    c300="#cccdd8",
    c400="#9c9dad",
    c500="#717285",
    c600="#555668",
    c700="#3c3d4c",
    c800="#262732",
    c900="#1b1b24",
    c950="#131319",
)
IRIS = gr.themes.Color(
    name="iris",
    c50="#f2f2fe",
    c100="#e6e6fd",
    c200="#d0d0fb",
    c300="#b0b1f7",
    c400="#8d8ef0",
    c500="#6e6de6",
    c600="#5a55d6",
    c700="#4a45b4",
    c800="#3d3a90",
    c900="#343373",
    c950="#201f45",
)


def theme() -> gr.themes.Base:
    """Calm: one accent, no shadows, hairlines, room to breathe; light and dark."""
    return gr.themes.Base(
        primary_hue=IRIS,
        secondary_hue=IRIS,
        neutral_hue=INK,
        radius_size=gr.themes.sizes.radius_lg,
        font=("ui-sans-serif", "system-ui", "sans-serif"),
        font_mono=("ui-monospace", "Consolas", "monospace"),
    ).set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        body_text_color="*neutral_900",
        body_text_color_dark="*neutral_100",
        background_fill_primary="white",
        background_fill_primary_dark="*neutral_900",
        block_background_fill="transparent",
        block_background_fill_dark="transparent",
        block_border_width="0px",
        block_border_width_dark="0px",
        block_shadow="none",
        block_shadow_dark="none",
        border_color_primary="*neutral_200",
        border_color_primary_dark="*neutral_800",
        color_accent_soft="*primary_50",
        color_accent_soft_dark="*neutral_800",
        input_background_fill="white",
        input_background_fill_dark="*neutral_900",
        button_secondary_background_fill="transparent",
        button_secondary_background_fill_dark="transparent",
        button_secondary_background_fill_hover="*neutral_100",
        button_secondary_background_fill_hover_dark="*neutral_800",
        button_secondary_border_color="*neutral_200",
        button_secondary_border_color_dark="*neutral_800",
        button_border_width="1px",
    )
