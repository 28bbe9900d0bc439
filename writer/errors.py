"""What the writer raises, below transport's tree.

OnbeatError (transport.errors)
├── UsageError
│   ├── UnknownCodecError     no such encoder here
│   ├── EncoderTooSlowError   the codec cannot keep up with the load on this machine
│   └── DatasetMismatchError  the dataset on disk is not the one that the session describes
├── JournalError              a journal that cannot be read or written
├── EncoderError              an encoder failed while recording
├── CommitError               an episode could not be put into the dataset; its journal is kept
├── UploadError               a dataset is not on the Hub; it is complete here
└── CompactError              a compacted copy is not equal to the dataset, which is kept
"""

from __future__ import annotations

from transport.errors import OnbeatError, UsageError


class UnknownCodecError(UsageError):
    """The named encoder does not exist in this build of FFmpeg, or refuses the options."""


class EncoderTooSlowError(UsageError):
    """The codec cannot keep up; the message names the measured rate and the flag that would help."""


class DatasetMismatchError(UsageError):
    """The dataset exists without --resume, or differs from what is to be appended; both values are named."""


class JournalError(OnbeatError):
    """A journal file that cannot be written, or is not one of ours."""


class EncoderError(OnbeatError):
    """An encoder failed; the episode is aborted, its rows and packets so far are kept."""


class CommitError(OnbeatError):
    """The episode could not be put into the dataset; its journal is kept and named."""


class CompactError(OnbeatError):
    """The compacted copy of a dataset is not equal to it; the dataset is left as it was."""


class UploadError(OnbeatError):
    """The dataset could not be uploaded; the message says why, and nothing of it is lost."""
