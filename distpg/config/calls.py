"""The form of `--env-wrapper` and `--watcher`: module:Name, or module:Name{"key": 1}."""

import json
import re
from typing import Any

from distpg.config.names import ObjectName
from distpg.errors import InputError

FORM = re.compile(r"(?P<name>[^{:]+:[^{:]+?)\s*(?P<kwargs>\{.*\})?\s*", re.DOTALL)


def read_call(written: str, flag: str) -> tuple[str, dict[str, Any]]:
    """Return module:Name and its keyword arguments; the name of an object has none.

    Raises:
        InputError: it has another form.
    """
    if isinstance(written, ObjectName) or written.startswith("<"):
        return written, {}
    found = FORM.fullmatch(written)
    try:
        if found is None:
            raise ValueError
        return found["name"].strip(), json.loads(found["kwargs"] or "{}")
    except (RecursionError, ValueError) as error:
        raise InputError(
            f"{flag}: {written!r:.200} is not of the form module:Name or "
            'module:Name{"key": 1}, with arguments as a JSON object'
        ) from error
