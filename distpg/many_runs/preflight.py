"""Settings of many runs, tried once before any of them starts."""

from contextlib import chdir
from pathlib import Path

from distpg.config.config import Config
from distpg.envs.make import find_source
from distpg.run.directory import RunDir
from distpg.run.execute import check_plan
from distpg.run.given_watchers import watchers_of
from distpg.run.loading import load_init_from
from distpg.run.plan import Plan


def try_settings(config: Config) -> None:
    """Try environment, encoder, watchers and initial policy of settings, as each run does.

    Raises:
        InputError: one of them does not work.
    """
    # an environment may change the working directory
    with chdir(Path.cwd()):
        source = find_source(config, None)
        start_from, _ = load_init_from(config)
        watchers = watchers_of(config, ())
        run = RunDir.default(config)
        check_plan(Plan(config, source, run, start_from=start_from, watchers=watchers))
