"""Videos as files, .mp4 by ffmpeg and .gif by Pillow: complete as far as they go, or absent."""

import io
import math
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from distpg.config.values import check_new_file
from distpg.errors import RunError
from distpg.extras import import_extra
from distpg.signals import defer_signals

FASTOCTREE = Image.Quantize.FASTOCTREE
GIF_FPS = 50
"""Frames per second of a GIF; viewers do not show more."""
MAX_FRAME_MS = 655_350
"""A GIF shows a frame no longer."""
EVEN_SIDES = "pad=ceil(iw/2)*2:ceil(ih/2)*2"
"""A filter of ffmpeg: the pixel format that all players know has no odd sides."""


def check_video(path: Path) -> None:
    """Check that a video can be written.

    Raises:
        InputError: the file is of another kind, its folder does not exist or cannot be written, or
            a package is missing.
    """
    check_new_file(path, (".mp4", ".gif"))
    if path.suffix == ".mp4":
        import_ffmpeg()


def import_ffmpeg() -> Any:
    """Import the package that brings ffmpeg.

    Raises:
        InputError: it is not installed.
    """
    return import_extra("imageio_ffmpeg", "video", needed_by="a .mp4", instead="name a .gif")


@contextmanager
def writing_video(path: Path, fps: float) -> Generator[Callable[[np.ndarray], None]]:
    """Context manager: a function that adds a frame, [H, W, 3] uint8, to a file.

    However the block ends, the file has the frames so far, and replaces one of that name; if they
    cannot be written, or there are none, nothing is replaced.

    Raises:
        RunError: the file cannot be written, or frames differ in size.
    """
    part = path.with_name(f".{path.name}.part")
    video = Mp4(part, fps) if path.suffix == ".mp4" else Gif(part, fps)
    sizes: set[tuple[int, ...]] = set()

    def add(frame: np.ndarray) -> None:
        sizes.add(frame.shape)
        if len(sizes) > 1:
            raise RunError(f"{path}: frames differ in size: {sorted(sizes)}")
        # half a frame would damage the file
        with defer_signals():
            video.add(frame)

    try:
        try:
            yield add
        finally:
            with defer_signals():
                video.finish()
                if part.exists():
                    part.replace(path)
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error}") from error
    finally:
        part.unlink(missing_ok=True)


class Mp4:
    """H.264, encoded frame by frame in a process of ffmpeg, which Ctrl-C does not reach."""

    def __init__(self, path: Path, fps: float) -> None:
        """Write nothing before the first frame."""
        self.ffmpeg = import_ffmpeg()
        self.path = path
        self.fps = fps
        self.encoder: Any = None
        self.count = 0

    def add(self, frame: np.ndarray) -> None:
        """Add a frame, [H, W, 3] uint8.

        Raises:
            OSError: ffmpeg ended.
        """
        if self.encoder is None:
            height, width, _ = frame.shape
            self.encoder = self.ffmpeg.write_frames(
                str(self.path),
                (width, height),
                fps=self.fps,
                macro_block_size=1,
                ffmpeg_log_level="error",
                output_params=["-vf", EVEN_SIDES, "-f", "mp4"],
            )
            self.encoder.send(None)
        self.encoder.send(np.ascontiguousarray(frame))
        self.count += 1

    def finish(self) -> None:
        """Complete the file.

        Raises:
            OSError: it does not hold all frames.
        """
        if self.encoder is None:
            return
        self.encoder.close()
        try:
            held, _ = self.ffmpeg.count_frames_and_secs(str(self.path))
        except RuntimeError:
            held = 0
        if held != self.count:
            raise OSError(f"ffmpeg wrote {held} of {self.count} frames")


class Gif:
    """Frames of up to 256 colours each, written at the end."""

    def __init__(self, path: Path, fps: float) -> None:
        """Write nothing before the end."""
        self.path = path
        self.every = math.ceil(fps / GIF_FPS)
        self.frame_ms = min(MAX_FRAME_MS, 1000 * self.every / fps)
        self.images: list[Image.Image] = []
        self.count = 0

    def add(self, frame: np.ndarray) -> None:
        """Add a frame, [H, W, 3] uint8; if there are more than `GIF_FPS` in a second, some."""
        if self.count % self.every == 0:
            # the default, median cut, takes several times as long
            self.images.append(Image.fromarray(frame).quantize(method=FASTOCTREE))
        self.count += 1

    def content(self) -> bytes:
        """Return the file; Pillow shows a frame that equals the one before for longer."""
        buffer = io.BytesIO()
        first, *others = self.images
        settings = {"save_all": True, "append_images": others, "duration": self.frame_ms, "loop": 0}
        first.save(buffer, "GIF", **settings)
        return buffer.getvalue()

    def finish(self) -> None:
        """Write the file, if there are frames."""
        if self.images:
            self.path.write_bytes(self.content())


def gif_bytes(frames: Iterable[np.ndarray], fps: float) -> bytes:
    """Encode frames, each [H, W, 3] uint8, of which there is at least one, as a GIF."""
    gif = Gif(Path(), fps)
    for frame in frames:
        gif.add(frame)
    return gif.content()
