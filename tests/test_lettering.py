"""Text in pictures has letters, or their numbers, but no boxes."""

from histo_index.lettering import drawable


def test_letters_that_the_font_has_stay() -> None:
    assert drawable("Gewebe äöü, ткань 3–5 µm ≥ 0.5") == "Gewebe äöü, ткань 3–5 µm ≥ 0.5"


def test_other_letters_become_their_numbers() -> None:
    assert drawable("病理-1.svs") == r"\u75c5\u7406-1.svs"
    assert drawable("종양") == r"\uc885\uc591"
    assert drawable("a\U0002070eb") == r"a\U0002070eb"
    assert drawable("line\nend") == r"line\nend"
