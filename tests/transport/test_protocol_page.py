"""docs/protocol.md says what the code does: opcodes, fields, kinds, reasons, limits."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from transport import messages as msg
from transport import ring_layout, schema, sockets
from transport.fetcher import Fetcher
from transport.records import MAX_EVENT_BYTES, MAX_TEXT_BYTES, EndReason, Judgement, RecordKind
from transport.ring_memory import RESERVED_SLOTS
from writer import handshake, ingest, open_session

PAGE = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")
HEADING = re.compile(r"^### (\w+) = (\d+), (\w+) → (\w+)$", re.MULTILINE)
SECTIONS = {match[1]: match for match in HEADING.finditer(PAGE)}
KINDS = {kind.opcode: kind for kind in msg._FIELDS}  # type: ignore[attr-defined]


def section(name: str) -> str:
    start = SECTIONS[name].end()
    following = re.compile(r"^##", re.MULTILINE).search(PAGE, start)
    return PAGE[start : following.start() if following else len(PAGE)]


def rows(text: str) -> list[list[str]]:
    found = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")
    ]
    return found[2:]


def test_every_message_has_a_section_and_the_other_way_round() -> None:
    assert {name: int(match[2]) for name, match in SECTIONS.items()} == {o.name: o.value for o in msg.Opcode}


@pytest.mark.parametrize("opcode", msg.Opcode, ids=lambda opcode: opcode.name)
def test_fields_types_and_direction(opcode: msg.Opcode) -> None:
    kind = KINDS[opcode]
    table = [(name, type_) for name, type_, _ in rows(section(opcode.name))]
    assert table == list(zip(kind.__slots__, (type_.__name__ for type_ in msg._FIELDS[kind]), strict=True))
    speaker, listener = SECTIONS[opcode.name].group(3, 4)
    assert (speaker, listener) == (("publisher", "writer") if opcode < 16 else ("writer", "publisher"))
    assert f"{speaker} → {listener}" in (kind.__doc__ or "")


def test_records() -> None:
    table = PAGE.split("| kind | number |")[1].split("\n\n")[0]
    assert {row[0]: int(row[1]) for row in rows("|||\n" + table)} == {kind.name: kind.value for kind in RecordKind}
    for enum, label in ((EndReason, "`reason`: one of "), (Judgement, "`judgement`: one of ")):
        listed = PAGE.split(label)[1].split(".")[0]
        assert re.findall(r"`(\w+)`", listed) == [str(member) for member in enum]


def test_reasons_for_dropping_are_those_that_are_counted() -> None:
    table = rows(PAGE.split("## FETCH: order")[1].split("\n\n")[2])
    source = Path(Fetcher.accept.__code__.co_filename).read_text(encoding="utf-8")
    counted = set(re.findall(r'(?:return|reason =|refused\[)\s*"([a-z ]+)"', source))
    assert {row[1] for row in table} == counted
    again = re.search(r"if reason in \(([^)]*)\)", source)
    assert again is not None
    assert {row[1] for row in table if "new generation" in row[2]} == set(re.findall(r'"([a-z ]+)"', again[1]))


@pytest.mark.parametrize(
    ("sentence", "values"),
    [
        (r"protocol version \*\*(\d+)\*\*", [msg.PROTOCOL]),
        (r"the size of part 0 \(at most (\d+) bytes\)", [msg.MAX_HEADER_BYTES]),
        (r"no array in it of more than (\d+) elements", [msg._MAX_ARRAY]),
        (r"texts of at most (\d+) characters", [MAX_TEXT_BYTES]),
        (r"`task`: what is done, at most (\d+) bytes", [MAX_TEXT_BYTES]),
        (r"shortened to (\d+) bytes of UTF-8", [MAX_TEXT_BYTES]),
        (r"A packed event has at most (\d+) bytes", [MAX_EVENT_BYTES]),
        (r"numbers from -1 to 2\^(\d+) - 1", [msg._MAX_NUMBER.bit_length() - 1]),
        (
            r"at most (\d+) streams, (\d+) bytes of names in all and (\d+) in each, (\d+) dimensions a stream, "
            r"(\d+) bytes a picture",
            [
                schema._MAX_STREAMS,
                schema._MAX_ALL_NAMES_BYTES,
                schema._MAX_NAME_BYTES,
                schema._MAX_DIMENSIONS,
                schema.MAX_PART_BYTES,
            ],
        ),
        (
            r"a writer takes at most (\d+) cameras and (\d+) bytes a row",
            [handshake.MAX_CAMERAS, handshake.MAX_ROW_BYTES],
        ),
        (r"The writer holds at most (\d+) MiB", [open_session.WINDOW_BYTES >> 20]),
        (r"has been silent for (\d+) s\.", [int(ingest._FAREWELL_S)]),
    ],
)
def test_limits(sentence: str, values: list[int]) -> None:
    pattern = sentence.replace(" ", r"\s+")
    found = [int(number) for match in re.finditer(pattern, PAGE) for number in match.groups()]
    assert found
    assert found == values * (len(found) // len(values))


def test_numbers_in_words() -> None:
    assert "Eight slots are never given to frames" in PAGE
    assert RESERVED_SLOTS == 8
    assert schema.MAX_PART_BYTES <= sockets.MAX_PART_BYTES


def test_the_rings_words() -> None:
    table = PAGE.split("    page 0 ")[1].split("\n\n")[0]
    header, slot = table.split("slot i")
    words = dict(re.findall(r"word (\d+)(?:-\d+)? +(\w+)", header))
    assert {int(word): name for word, name in words.items()} == {
        ring_layout.H_MAGIC: "magic",
        ring_layout.H_SLOTS: "number",
        ring_layout.H_SLOT_BYTES: "bytes",
        ring_layout.H_HEAD: "head",
        ring_layout.H_TAIL: "tail",
        ring_layout.H_EPOCH: "epoch",
        ring_layout.H_SESSION: "session",
        ring_layout.H_DURABLE: "durable",
        ring_layout.H_SCHEMA: "zlib",
        ring_layout.H_RECENT: "recent",
    }
    assert {int(word): name for word, name in re.findall(r"word (\d+) +([\w ]+?)(?: \(|\n|$)", slot)} == {
        ring_layout.S_SEQ: "seq",
        ring_layout.S_KIND: "kind",
        ring_layout.S_LENGTH: "bytes of an event",
        ring_layout.S_CRC_KNOWN: "1 when the CRCs are known",
        ring_layout.S_EPISODE: "episode id",
        ring_layout.S_FRAME: "frame index",
    }
    assert f"byte {ring_layout._SLOT_HEADER_BYTES} " in slot
    assert f"multiple of {ring_layout._ALIGN} bytes" in slot
    assert f"multiple of {ring_layout.PAGE}" in header
