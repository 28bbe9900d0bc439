"""What the Hub and the way to it answer, sorted: worth another try, or the operator's to change; and in one line.

Nothing here imports huggingface_hub: errors are told by the HTTP response that they carry.
"""

from __future__ import annotations

from collections.abc import Iterator

# Time-outs and conflicts, rate limits; beside them every 5xx.
_PASSING_STATUS = frozenset([408, 409, 412, 423, 425, 429])
_LOGIN = "`hf auth login`"
_MAX_TEXT = 300


def passes(error: BaseException) -> bool:
    """Whether the same request may succeed later. What is not known is tried again: tries are few."""
    status = status_of(error)
    if status is not None:
        return status >= 500 or status in _PASSING_STATUS
    names = {kind.__name__ for each in _chain(error) for kind in type(each).__mro__}
    if names & {"OfflineModeIsEnabled", "LocalTokenNotFoundError", "XetAuthenticationError", "HFValidationError"}:
        return False
    if names & {"TransportError", "ConnectionError", "TimeoutError"}:
        return True
    # Of this machine's disk, or of what was asked for.
    return not isinstance(error, OSError | ValueError | LookupError | TypeError)


def in_words(error: BaseException, repo_id: str) -> str:
    """One line: what was found and what to do."""
    status = status_of(error)
    names = {type(each).__name__ for each in _chain(error)}
    if "OfflineModeIsEnabled" in names:
        return "HF_HUB_OFFLINE is set; unset it where the writer runs"
    if "LocalTokenNotFoundError" in names:
        return f"no login to the Hub found; run {_LOGIN} where the writer runs, or set HF_TOKEN there"
    if status == 401 or "XetAuthenticationError" in names:
        return f"the Hub does not know the login of the writer's machine (401); run {_LOGIN} there"
    if status == 403:
        return (
            f"the login of the writer's machine may not write {repo_id} (403: {_said(error)}); run {_LOGIN} there with "
            "a token that may write, or choose another repository"
        )
    if status == 404:
        return f"{repo_id} is not there, or not for the login of the writer's machine (404); run {_LOGIN} there"
    what = f"the Hub answered {status}: {_said(error)}" if status is not None else _said(error)
    return what if status is not None else f"{type(_root(error)).__name__}: {what}"


def status_of(error: BaseException) -> int | None:
    """The HTTP status behind an error, if an answer is behind it."""
    for each in _chain(error):
        status = getattr(getattr(each, "response", None), "status_code", None)
        if isinstance(status, int):
            return status
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    each: BaseException | None = error
    while each is not None:
        yield each
        each = each.__cause__


def _root(error: BaseException) -> BaseException:
    *_, last = _chain(error)
    return last


def _said(error: BaseException) -> str:
    for each in _chain(error):
        message = getattr(each, "server_message", None)
        if isinstance(message, str) and message:
            return _one_line(message)
    return _one_line(str(_root(error)) or str(error))


def _one_line(text: str) -> str:
    return " ".join(text.split())[:_MAX_TEXT]
