"""What a session sends to the writer, beside what the link to it was measured to carry."""

from __future__ import annotations

from transport.schema import Schema

# Less than this beyond the load, and a link that others use as well will fall behind now and then.
_MARGIN = 1.5


class LinkLoad:
    """Bytes per second: needed and there.

    Args:
        fps: frames per second.
        bytes_per_s: what the link carried before the first episode.
    """

    def __init__(self, schema: Schema, fps: float, bytes_per_s: float) -> None:
        frame_bytes = schema.row_dtype.itemsize + sum(stream.wire_nbytes for stream in schema.pictures)
        self.needed_bytes_per_s = frame_bytes * fps
        self._there_bytes_per_s = bytes_per_s

    @property
    def text(self) -> str:
        """One line to be read once."""
        return (
            f"the recording needs {_rate(self.needed_bytes_per_s)}, the link to the writer gives "
            f"{_rate(self._there_bytes_per_s)}"
        )

    @property
    def too_much(self) -> bool:
        return self._there_bytes_per_s < self.needed_bytes_per_s

    @property
    def refusal(self) -> str:
        return (
            f"{self.text}; lower --dataset.fps, use smaller or fewer pictures, or set --writer.allow_slow=true to "
            "record into the spill file and send later"
        )

    @property
    def warning(self) -> str:
        """One line where it will be tight, else empty."""
        if self.too_much:
            return f"{self.text}: what does not fit waits in the spill file"
        if self._there_bytes_per_s < _MARGIN * self.needed_bytes_per_s:
            return f"{self.text}, which leaves little to spare"
        return ""


def _rate(bytes_per_s: float) -> str:
    return f"{bytes_per_s / 1e6:.{0 if bytes_per_s >= 10e6 else 2}f} MB/s"
