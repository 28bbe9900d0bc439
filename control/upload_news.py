"""What the writer says of the upload to the Hub, and whether the operator still waits for it."""

from __future__ import annotations

from control.display import Display
from control.summary import Summary
from transport.messages import UploadState


class UploadNews:
    """Takes what is said of one session's upload.

    Attributes:
        under_way: it has begun and not ended, as far as is known.
        abandoned: nobody waits for it any more.
    """

    def __init__(self, display: Display, summary: Summary) -> None:
        self._display, self._summary = display, summary
        self.under_way = self.abandoned = False

    def take(self, state: str, detail: str) -> None:
        """Take one change in."""
        self.under_way = state == UploadState.UPLOADING
        match state:
            case UploadState.WAITING if detail:
                self._display.warn(detail)
            case UploadState.UPLOADING:
                self._display.note(f"uploading {detail} to the Hub; the recording is complete, Ctrl-C stops waiting")
            case UploadState.UPLOADED:
                self._summary.hub = detail
            case UploadState.FAILED:
                self._summary.not_uploaded(detail)
            case UploadState.SKIPPED:
                self._display.note(f"not uploaded: {detail}")

    def abandon(self) -> bool:
        """Stop waiting; False when there is nothing to wait for. Safe to call from a signal handler."""
        self.abandoned = self.abandoned or self.under_way
        return self.under_way
