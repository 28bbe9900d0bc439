from __future__ import annotations

import pytest

from transport.dataset_spec import DatasetSpec, EncoderSpec
from writer.journal_format import JournalHeader


@pytest.fixture
def journal_header():
    """A header for a schema."""

    def make(schema):
        spec = DatasetSpec("bench/parts", 60, rgb_encoder=EncoderSpec(vcodec="h264"))
        return JournalHeader(
            session_id="b" * 32,
            episode_id=0,
            task="bench",
            segment=0,
            first_frame_index=0,
            schema=schema.to_wire(),
            spec=spec.to_wire(),
            codec_options={},
            began_seq=1,
        )

    return make
