"""TODO."""


def counted(number: int, noun: str) -> str:
    """Write a number of things: `1 pair`, `2,000 pairs`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def printable(name: object) -> str:
    """Write a name so that it stays on one line and in UTF-8; most names stay as they are."""
    # Control characters and the Unicode line ends, and bytes that were not UTF-8 (surrogates).
    return "".join(
        c.encode("unicode_escape").decode()
        if ord(c) < 32 or 127 <= ord(c) < 160 or c in "\u2028\u2029" or "\ud800" <= c <= "\udfff"
        else c
        for c in str(name)
    )
