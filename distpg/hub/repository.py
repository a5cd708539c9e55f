"""Send files to a repository of the Hub, and fetch one."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from distpg.errors import InputError, RunError, format_error
from distpg.extras import import_extra

PREFIX = "hf://"
POLICY = "policy.safetensors"


def import_hub() -> Any:
    """Import huggingface_hub.

    Raises:
        InputError: it is not installed.
    """
    return import_extra("huggingface_hub", "hub", needed_by="the Hub")


def split_address(address: str) -> tuple[str, str]:
    """Split hf://OWNER/NAME[/FILE] into repository and file, by default policy.safetensors.

    Raises:
        InputError: it has another form, or the file does not end in .safetensors.
    """
    owner, _, rest = address.removeprefix(PREFIX).partition("/")
    name, _, file = rest.partition("/")
    if not owner or not name:
        raise InputError(f"{address!r} is not of the form {PREFIX}OWNER/NAME or .../FILE")
    if file and not file.endswith(".safetensors"):
        raise InputError(
            f"{address!r}: {file} does not end in .safetensors, and no other file is read"
        )
    return f"{owner}/{name}", file or POLICY


def fetch(address: str) -> Path:
    """Download a policy file, or take it from the cache of huggingface_hub.

    Args:
        address: hf://OWNER/NAME[/FILE].

    Returns:
        Where the file is.

    Raises:
        InputError: the address has another form, or the Hub does not give the file.
    """
    repository, file = split_address(address)
    hub = import_hub()
    try:
        with explained(address):
            return Path(hub.hf_hub_download(repository, file))
    except RunError as error:
        raise InputError(str(error)) from error


def send(repository: str, files: Mapping[str, bytes], message: str, *, private: bool) -> str:
    """Commit files to a repository, which is made if it does not exist.

    Returns:
        Its address in a browser.

    Raises:
        InputError: the repository's name is not of the form OWNER/NAME.
        RunError: the Hub refuses it, or is not reached.
    """
    check_repository(repository)
    hub = import_hub()
    api: Any = hub.HfApi()
    additions = [hub.CommitOperationAdd(name, content) for name, content in files.items()]
    with explained(repository):
        made = api.create_repo(repository, private=private, exist_ok=True)
        api.create_commit(repository, additions, commit_message=message)
    return str(made)


def check_repository(repository: str) -> None:
    """Check the form of a repository's name, which its owner begins.

    Raises:
        InputError: it is another one.
    """
    owner, slash, name = repository.partition("/")
    if not owner or not slash or not name or "/" in name:
        raise InputError(f"{repository!r} is not a repository of the form OWNER/NAME")


@contextmanager
def explained(what: str) -> Generator[None]:
    """Context manager: whatever the Hub's library raises becomes one line.

    Raises:
        RunError: with the address of the Hub, which HF_ENDPOINT may have set.
    """
    endpoint = import_hub().HfApi().endpoint
    try:
        yield
    # it raises errors of HTTP libraries, of the operating system, and of its own
    except Exception as error:
        raise RunError(f"{what}, at {endpoint}: {format_error(error)}") from error
