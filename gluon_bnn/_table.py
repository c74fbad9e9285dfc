"""Tables as text, for a terminal, and as HTML, for Jupyter."""

import html
from collections.abc import Sequence

Cells = Sequence[Sequence[str]]  # rows of cells, the first of which are the heads


def text(cells: Cells, right: Sequence[int] = (), width: int = 0, cut: Sequence[int] = ()) -> str:
    """The rows as lines, two spaces between columns.

    right : the columns that are aligned on the right
    width : the most characters of a line, 0 for any number: from what is too wide, the columns `cut` lose their
        beginnings, the widest of them first, and keep at least eight characters
    """
    widths = [max(map(len, column)) for column in zip(*cells)]
    while width and cut and sum(widths) + 2 * (len(widths) - 1) > width:
        widest = max(cut, key=lambda column: widths[column])
        if widths[widest] <= 8:
            break
        widths[widest] -= 1
    lines = []
    for row in cells:
        fitted = (cell if len(cell) <= most else f"..{cell[len(cell) - most + 2 :]}" for cell, most in zip(row, widths))
        placed = (
            cell.rjust(most) if column in right else cell.ljust(most)
            for column, (cell, most) in enumerate(zip(fitted, widths))
        )
        lines.append("  ".join(placed).rstrip())
    return "\n".join(lines)


def to_html(cells: Cells, right: Sequence[int] = (), notes: Sequence[str] = ()) -> str:
    """The rows as a table, and below it the notes as paragraphs; every text is escaped."""

    def line(row, tag):
        aligned = (
            f'<{tag} style="text-align: {"right" if column in right else "left"}">{html.escape(cell)}</{tag}>'
            for column, cell in enumerate(row)
        )
        return f"<tr>{''.join(aligned)}</tr>"

    head, *body = cells
    rows = "\n".join(line(row, "td") for row in body)
    paragraphs = "".join(f"\n<p>{html.escape(note)}</p>" for note in notes)
    return f"<table>\n<thead>{line(head, 'th')}</thead>\n<tbody>\n{rows}\n</tbody>\n</table>{paragraphs}"
