"""Models by hub id: what is one, and an answer within seconds where there is no hub."""

import difflib
import os
import re
import threading
from pathlib import Path

ANSWER_SECONDS = 12.0
"""How long a hub may take to answer for the first, small file of a model."""


def is_hub_id(source: str | os.PathLike[str]) -> bool:
    """Whether a source can only mean a model of the hub, "owner/model".

    A path that is there, one that is no string, and one whose first part is a folder here
    ("runs/shapse" beside a folder `runs`) mean files.
    """
    if not isinstance(source, str) or not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", source):
        return False
    return not Path(source).exists() and not Path(source.split("/", 1)[0]).is_dir()


def nearby_folder(path: str | os.PathLike[str]) -> str:
    """For the message about a folder that is missing: "; did you mean runs/shapes?", or ""."""
    path = Path(path)
    if not path.parent.is_dir():
        return ""
    names = [one.name for one in path.parent.iterdir() if one.is_dir()]
    close = difflib.get_close_matches(path.name, names, n=1)
    return f"; did you mean {path.parent / close[0]}?" if close else ""


def hub_file(hub_id: str, name: str) -> Path:
    """A file of a model of the hub, downloaded or from the cache.

    It is asked for before anything large. Where no hub answers within `ANSWER_SECONDS` the cache
    alone is read; with HF_HUB_OFFLINE set, at once. The client's own retries are not awaited.

    Raises:
        OSError: the hub refuses, there is no such file, or there is no answer and no copy.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.utils import logging

    found: list[Path | Exception] = []

    def ask() -> None:
        try:
            found.append(Path(hf_hub_download(hub_id, name, etag_timeout=ANSWER_SECONDS / 2)))
        except Exception as error:
            found.append(error)

    before = logging.get_verbosity()
    logging.set_verbosity_error()  # a line for each retry
    try:
        # A daemon: whoever still waits for a silent server does not keep the program.
        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        thread.join(ANSWER_SECONDS)
        answer = found[0] if found else _cached(hub_id, name)
    finally:
        logging.set_verbosity(before)
    if isinstance(answer, Exception):
        raise OSError(str(answer)) from answer
    return answer


def _cached(hub_id: str, name: str) -> Path | Exception:
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(hub_id, name, local_files_only=True))
    except Exception:
        return TimeoutError(f"no answer within {ANSWER_SECONDS:g} s, and no copy in the cache")
