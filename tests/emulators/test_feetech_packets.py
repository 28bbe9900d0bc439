from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.emulators.feetech.packets import Instruction, RequestStream, packet

# Examples from the servo's protocol manual: ping servo 1, its answer, a read of two bytes at 56.
PING_1 = bytes.fromhex("ffff010201fb")
READ_POSITION_1 = bytes.fromhex("ffff0104023802be")

requests = st.tuples(st.integers(0, 253), st.sampled_from(list(Instruction)), st.binary(max_size=60))


@pytest.mark.parametrize(
    ("servo_id", "instruction", "parameters", "expected"),
    [(1, Instruction.PING, b"", PING_1), (1, Instruction.READ, bytes((56, 2)), READ_POSITION_1)],
)
def test_a_packet_has_the_bytes_of_the_manual(
    servo_id: int, instruction: Instruction, parameters: bytes, expected: bytes
) -> None:
    assert packet(servo_id, instruction, parameters) == expected


@given(st.lists(requests, max_size=6), st.data())
def test_requests_come_out_whole_however_they_are_cut(
    sent: list[tuple[int, Instruction, bytes]], data: st.DataObject
) -> None:
    wire = b"".join(packet(*request) for request in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=8)))
    stream = RequestStream()
    received = []
    for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
        received += stream.feed(wire[start:end], now_ns=0)
    assert [(each.servo_id, each.instruction, each.parameters) for each in received] == sent
    assert stream.skipped_bytes == 0


@given(st.binary(max_size=300))
def test_noise_never_stops_the_servos_from_listening(noise: bytes) -> None:
    stream = RequestStream()
    stream.feed(noise, now_ns=0)
    # After a pause, what was begun is given up.
    (request,) = stream.feed(PING_1, now_ns=1_000_000_000)
    assert (request.servo_id, request.instruction) == (1, Instruction.PING)


def test_a_wrong_checksum_is_not_a_request() -> None:
    stream = RequestStream()
    assert stream.feed(PING_1[:-1] + b"\x00", now_ns=0) == []
    assert stream.skipped_bytes > 0
