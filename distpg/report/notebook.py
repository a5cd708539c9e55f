"""What a run shows in a notebook: one output of the cell, updated in place."""

import importlib
import io
from collections import deque
from typing import Any

from rich.console import Console

from distpg.report.outputs import DrawPanel, Silence

WIDTH = 100
"""Columns of the panel."""
MAX_MESSAGES = 200
"""Messages that are kept, since each update has all of them; log.txt has more."""
HTML = '<pre style="line-height: normal; font-family: monospace">{code}</pre>'


class Cell(Silence):
    """The panel and, below it, the messages; a line of text each would be an output each."""

    live = True

    def __init__(self) -> None:
        """Show nothing yet."""
        self.handle: Any = None
        """Of the output, once it is shown."""
        self.draw: DrawPanel | None = None
        self.messages = deque[str](maxlen=MAX_MESSAGES)

    def message(self, line: str) -> None:
        """Show a message."""
        self.messages.append(line)
        self._show()

    def line(self, line: str) -> None:
        """Show it like any other."""
        self.message(line)

    def panel(self, draw: DrawPanel) -> None:
        """Show the panel, or update it."""
        self.draw = draw
        self._show()

    def close(self) -> None:
        """Leave the panel as the run ended."""
        self._show()

    def _show(self) -> None:
        content = self._content()
        if self.handle is None:
            # installed wherever there are notebooks
            ipython = importlib.import_module("IPython.display")
            self.handle = ipython.display(content, raw=True, display_id=True)
        else:
            self.handle.update(content, raw=True)

    def _content(self) -> dict[str, str]:
        """Return panel and messages as HTML and as text, by MIME type."""
        console = Console(
            file=io.StringIO(),
            width=WIDTH,
            record=True,
            force_jupyter=False,
            force_terminal=True,
            highlight=False,
        )
        if self.draw:
            console.print(self.draw(WIDTH))
        for line in self.messages:
            console.print(line, markup=False, soft_wrap=True)
        return {
            "text/html": console.export_html(inline_styles=True, code_format=HTML, clear=False),
            "text/plain": console.export_text(),
        }
