"""Format numbers and names for messages."""


def counted(number: int, noun: str) -> str:
    """Format a number of things: `1 pair`, `2,000 pairs`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def printable(name: object) -> str:
    """Escape what would break a line or UTF-8 in a name."""
    text = str(name)
    if text.isprintable():
        return text
    # Control characters, Unicode line ends, and surrogates (bytes that were not UTF-8).
    return "".join(
        c.encode("unicode_escape").decode()
        if ord(c) < 32 or 127 <= ord(c) < 160 or c in "\u2028\u2029" or "\ud800" <= c <= "\udfff"
        else c
        for c in text
    )
