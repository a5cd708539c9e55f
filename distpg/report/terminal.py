"""The panel of a run on a terminal, below the messages."""

import sys
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from typing import IO, cast

from rich.console import (
    Console,
    ConsoleOptions,
    ConsoleRenderable,
    RenderableType,
    RenderHook,
    RenderResult,
)
from rich.control import Control
from rich.file_proxy import FileProxy
from rich.segment import ControlType, Segment

from distpg.report.outputs import DrawPanel, Lines

ERASE = "\r\x1b[2K\x1b7\x1b[B\x1b[J\x1b8"
"""To the beginning of the line; this line is erased, then those below. In one step, from the first
line of the screen on, tmux would take it for a screen to keep in its history."""
UP = "\x1b[{rows}A"


class Codes:
    """A renderable of codes that move the cursor or erase."""

    def __init__(self, codes: str) -> None:
        """Take the codes."""
        self.codes = codes

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield them as they are."""
        yield Segment(self.codes, None, [(ControlType.CARRIAGE_RETURN,)])


class Frame:
    """What is drawn, and the cursor back where it begins."""

    def __init__(self, content: RenderableType) -> None:
        """Take what is drawn."""
        self.content = content

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield as many lines as the terminal has, at most."""
        lines = console.render_lines(self.content, options, pad=False)[: console.height]
        for number, line in enumerate(lines):
            if number:
                yield Segment.line()
            yield from line
        yield from Codes("\r").__rich_console__(console, options)
        if len(lines) > 1:
            yield from Codes(UP.format(rows=len(lines) - 1)).__rich_console__(console, options)


class Terminal(Lines, RenderHook):
    """Prints messages above the panel, and with them what else the process prints.

    Between two drawings the cursor is where the panel begins, and all from there on is erased
    first. So it does not matter how the terminal broke the lines when its size changed, or that it
    shows ^C.
    """

    live = True

    def __init__(self, console: Console) -> None:
        """Take the console; the panel begins when it is first shown."""
        super().__init__(console)
        self.frame: Frame | None = None
        """What is shown last."""
        self.opened = ExitStack()

    def panel(self, draw: DrawPanel) -> None:
        """Draw the panel in as many columns as the terminal has now."""
        first, self.frame = self.frame is None, Frame(draw(self.console.width))
        if first:
            self._open()
        self.console.print(Control())

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """Put the panel below what rich is about to print."""
        below: list[ConsoleRenderable] = [self.frame] if self.frame else []
        return [Codes(ERASE), *renderables, *below]

    def _open(self) -> None:
        for stream, redirect in ((sys.stdout, redirect_stdout), (sys.stderr, redirect_stderr)):
            proxy = cast("IO[str]", FileProxy(self.console, stream))
            self.opened.enter_context(redirect(proxy))
        self.console.show_cursor(False)
        self.console.push_render_hook(self)
        self.opened.callback(self.console.show_cursor, True)
        self.opened.callback(self.console.pop_render_hook)
        self.opened.callback(self.console.print, Control())

    def close(self) -> None:
        """Erase the panel."""
        self.frame = None
        self.opened.close()
