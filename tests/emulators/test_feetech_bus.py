from __future__ import annotations

import pytest

from scripts.emulators.feetech.bus import Bus
from scripts.emulators.feetech.faults import FaultInjector, FaultPlan
from scripts.emulators.feetech.packets import BROADCAST_ID, Instruction, Request, packet
from scripts.emulators.feetech.registers import REGISTERS
from scripts.emulators.feetech.servo import Servo

MBAUD = 1_000_000
US = 1_000
POSITION = REGISTERS["Present_Position"]
SYNC_READ = Request(BROADCAST_ID, Instruction.SYNC_READ, bytes((POSITION.address, POSITION.size, *range(1, 7))))


def make_bus(seed: int = 0, **eeprom: int) -> Bus:
    settings = {"Phase": 0, "Return_Delay_Time": 0, **eeprom}
    servos = [Servo({"ID": number, **settings}, 1000 + number, time_constant_s=0.06) for number in range(1, 7)]
    return Bus(servos, FaultInjector(seed))


def test_a_sync_read_takes_its_time_on_the_wire() -> None:
    answers = make_bus().handle(SYNC_READ, 0, MBAUD)
    assert [answer.data for answer in answers] == [
        packet(number, 0, (1000 + number).to_bytes(2, "little")) for number in range(1, 7)
    ]
    # 14 bytes out; then each servo's 2 us of delay and 8 bytes in turn; 10 us a byte.
    assert [answer.due_ns for answer in answers] == [(140 + 82 * number) * US for number in range(1, 7)]


@pytest.mark.parametrize(("delay", "due_us"), [(0, 80 + 2 + 80), (50, 80 + 100 + 80), (250, 80 + 500 + 80)])
def test_the_return_delay_counts_in_units_of_two_microseconds(delay: int, due_us: int) -> None:
    request = Request(3, Instruction.READ, bytes((POSITION.address, POSITION.size)))
    (answer,) = make_bus(Return_Delay_Time=delay).handle(request, 0, MBAUD)
    assert answer.due_ns == due_us * US


def test_a_request_waits_until_the_wire_is_free() -> None:
    bus = make_bus()
    last = bus.handle(SYNC_READ, 0, MBAUD)[-1].due_ns
    (answer,) = bus.handle(Request(1, Instruction.PING, b""), 10 * US, MBAUD)
    assert answer.due_ns == last + (60 + 2 + 60) * US


def test_a_sync_write_reaches_every_servo_and_is_not_answered() -> None:
    bus = make_bus()
    goal = REGISTERS["Goal_Position"]
    parameters = bytes((goal.address, goal.size))
    for number in range(1, 7):
        parameters += bytes((number,)) + goal.encode(-number if number == 6 else 2000 + number)
    assert bus.handle(Request(BROADCAST_ID, Instruction.SYNC_WRITE, parameters), 0, MBAUD) == []
    written = {1: 2001, 2: 2002, 3: 2003, 4: 2004, 5: 2005, 6: -6}
    assert {number: servo.value("Goal_Position", 0) for number, servo in bus.by_id(0).items()} == written
    (access,) = bus.history.select("write", "Goal_Position", 0)
    assert (access["values"], access["time_ns"]) == (written, 260 * US)


@pytest.mark.parametrize(
    ("servo_id", "level", "answered"), [(2, 1, True), (2, 0, False), (BROADCAST_ID, 1, False), (77, 1, False)]
)
def test_who_answers_a_write(servo_id: int, level: int, answered: bool) -> None:
    request = Request(servo_id, Instruction.WRITE, bytes((REGISTERS["Torque_Enable"].address, 1)))
    answers = make_bus(Response_Status_Level=level).handle(request, 0, MBAUD)
    assert [answer.data for answer in answers] == ([packet(servo_id, 0)] if answered else [])


def test_nobody_hears_a_host_at_another_speed() -> None:
    assert make_bus().handle(SYNC_READ, 0, 500_000) == []
    assert len(make_bus(Baud_Rate=1).handle(SYNC_READ, 0, 500_000)) == 6


def test_a_servo_answers_to_its_new_id() -> None:
    bus = make_bus()
    bus.handle(Request(6, Instruction.WRITE, bytes((REGISTERS["ID"].address, 9))), 0, MBAUD)
    assert bus.handle(Request(6, Instruction.PING, b""), 0, MBAUD) == []
    assert bus.handle(Request(9, Instruction.PING, b""), 0, MBAUD)[0].data == packet(9, 0)


@pytest.mark.parametrize(
    "request_",
    [
        Request(1, Instruction.READ, bytes((56, 255))),
        Request(1, Instruction.READ, b""),
        Request(1, Instruction.WRITE, b""),
        Request(BROADCAST_ID, Instruction.SYNC_READ, bytes((56, 2))),
        Request(BROADCAST_ID, Instruction.SYNC_WRITE, bytes((42,))),
        Request(1, 0x77, b"abc"),
    ],
)
def test_what_no_servo_understands_is_counted_and_left_unanswered(request_: Request) -> None:
    bus = make_bus()
    assert bus.handle(request_, 0, MBAUD) == []
    assert bus.history.counts["not understood"] == 1


def test_faults_that_are_counted_come_first_and_then_stop() -> None:
    bus = make_bus()
    bus.injector.follow(FaultPlan(next={"silence": 1, "checksum": 1, "late": 1}, late_s=0.1))
    on_time = [(140 + 82 * number) * US for number in range(1, 7)]
    assert bus.handle(SYNC_READ, 0, MBAUD) == []
    corrupt = bus.handle(SYNC_READ, 10**9, MBAUD)
    good = make_bus().handle(SYNC_READ, 0, MBAUD)
    assert sum(a.data != b.data for a, b in zip(corrupt, good, strict=True)) == 1
    late = bus.handle(SYNC_READ, 2 * 10**9, MBAUD)
    assert [answer.due_ns - 2 * 10**9 for answer in late] == [due + 10**8 for due in on_time]
    assert [answer.due_ns - 3 * 10**9 for answer in bus.handle(SYNC_READ, 3 * 10**9, MBAUD)] == on_time
    assert [bus.history.counts[name] for name in ("silence", "checksum", "late")] == [1, 1, 1]


def test_a_fraction_of_silence_hits_that_fraction_of_the_named_requests_and_servos() -> None:
    plan = FaultPlan(silence=0.01, ids=(3,), instructions=("sync_read",))

    def session() -> list[int]:
        bus = make_bus(seed=5)
        bus.injector.follow(plan)
        ping = Request(3, Instruction.PING, b"")
        assert all(bus.handle(ping, 0, MBAUD) for _ in range(500))
        return [len(bus.handle(SYNC_READ, 0, MBAUD)) for _ in range(5000)]

    answers = session()
    assert answers == session()
    assert set(answers) == {5, 6}
    assert 30 <= answers.count(5) <= 70


@pytest.mark.parametrize(
    "plan",
    [{"silence": 0.7, "late": 0.7}, {"next": {"fire": 1}}, {"instructions": ["sync_raed"]}, {"silense": 0.1}],
)
def test_a_plan_that_cannot_be_followed_is_refused(plan: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"fractions|fire|sync_raed|silense"):
        FaultPlan.from_json(plan)
