"""Tables for a terminal: aligned columns of text."""

from collections.abc import Collection, Iterable, Iterator, Sequence


def columns(
    head: Sequence[str], rows: Iterable[Sequence[str]], right: Collection[str] = ()
) -> Iterator[str]:
    """Yield the lines of a table.

    Args:
        head: Titles of the columns.
        rows: As many texts each.
        right: Titles of the columns that are aligned on the right, such as numbers.
    """
    cells = [head, *rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        aligned = [
            text.rjust(width) if title in right else text.ljust(width)
            for title, text, width in zip(head, row, widths, strict=True)
        ]
        yield "  ".join(aligned).rstrip()
