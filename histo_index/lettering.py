"""The font of pictures, the same on every machine, and how text is written in it."""

from functools import cache
from pathlib import Path

from PIL import ImageFont

from histo_index.wording import printable


@cache
def load_font(size_px: int) -> ImageFont.FreeTypeFont:
    """Load DejaVu Sans, which has the letters of names that Pillow's own font lacks, such as ä."""
    return ImageFont.truetype(_font_file(), size_px)


def drawable(text: object) -> str:
    r"""Write a text for a picture: letters that the font lacks as their numbers, such as `\u75c5`.

    The font has no Chinese, Japanese and Korean: each letter would be the same empty box, and so
    would two names.
    """
    return "".join(
        c if _has_letter(c) else c.encode("unicode_escape").decode() for c in printable(text)
    )


@cache
def _has_letter(letter: str) -> bool:
    from matplotlib.ft2font import FT2Font

    return FT2Font(_font_file()).get_char_index(ord(letter)) > 0


@cache
def _font_file() -> Path:
    # Imported here: pictures alone need it.
    from matplotlib import get_data_path

    return Path(get_data_path()) / "fonts/ttf/DejaVuSans.ttf"
