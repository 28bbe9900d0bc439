"""The loop's own numbers into a frame's row, in one call: assigning a dozen fields by name costs six times as much."""

from __future__ import annotations

import struct

from transport.ring_layout import Slot
from transport.schema import LOOP_TELEMETRY, Schema

_CODES = {"int64": "q", "uint32": "I", "bool": "?"}
_LAYOUT = struct.Struct("=" + "".join(_CODES[stream.dtype] for stream in LOOP_TELEMETRY))
_MAX_UINT32 = 0xFFFF_FFFF


class FrameTelemetry:
    """Packs the values of `LOOP_TELEMETRY`, in their order, into slots of one schema."""

    def __init__(self, schema: Schema) -> None:
        fields = schema.row_dtype.fields
        assert fields is not None
        self._offset = fields[LOOP_TELEMETRY[0].key][1]

    def pack(self, slot: Slot, *values: int) -> None:
        """One whole number per stream; what does not fit an unsigned one (over an hour in one section) is cut."""
        try:
            _LAYOUT.pack_into(slot.payload, self._offset, *values)
        except struct.error:
            cut = [
                min(max(value, 0), _MAX_UINT32) if stream.dtype == "uint32" else value
                for stream, value in zip(LOOP_TELEMETRY, values, strict=True)
            ]
            _LAYOUT.pack_into(slot.payload, self._offset, *cut)
