"""How to make an environment in any process, as a value."""

from dataclasses import dataclass
from typing import Literal

from gymnasium.envs.registration import EnvSpec

from distpg.config.settings import EnvBackend, EnvKwargs
from distpg.envs.guard import CLOSE_S
from distpg.envs.lookup import MakeEnv
from distpg.envs.masks import MaskSource
from distpg.envs.wrappers import WrapperSpec

RenderMode = Literal["rgb_array", "human"]


@dataclass(frozen=True)
class EnvSource:
    """How to make an environment in any process: from a spec, a callable, or its EnvPool name."""

    name: str
    kwargs: EnvKwargs
    spec: EnvSpec | None = None
    make_env: MakeEnv | None = None
    backend: EnvBackend = "gymnasium"
    drop_bad: bool = False
    """Treat NaN and inf as exceptions, which drop the episode; else the learner refuses them."""
    masks: MaskSource = "none"
    """Where the action mask comes from, if not from the observation."""
    wrappers: tuple[WrapperSpec, ...] = ()
    """Around each copy, the innermost first."""
    frame_stack: int = 1
    """Observations to stack, around the wrappers."""
    image_keys: tuple[str, ...] | None = None
    """Leaves that are read as pictures; None: those whose spaces are a picture's."""
    render_mode: RenderMode | None = None
    """Of the first of the copies that are made together; the others do not render."""
    close_s: float = CLOSE_S
    """Seconds that a copy has for closing."""
    tried: bool = False
    """One copy was made, stepped and closed."""
