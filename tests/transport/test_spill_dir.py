"""Which folder takes the spill."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from transport import spill_dir
from transport.errors import UsageError

MOUNTS = """\
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
25 24 0:23 / /dev/shm rw - tmpfs tmpfs rw
30 27 0:40 / /home rw shared:5 master:2 - nfs4 server:/home rw
31 27 0:41 / /mnt/with\\040space rw - xfs /dev/sdb rw
32 27 0:42 / /mnt/twice rw - ext4 /dev/sdc rw
33 27 0:43 / /mnt/twice rw - tmpfs tmpfs rw
"""


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("/", "ext4"),
        ("/var/tmp/onbeat", "ext4"),
        ("/dev/shm/a", "tmpfs"),
        ("/dev/shmoo", "ext4"),
        ("/home/me/.local", "nfs4"),
        ("/mnt/with space/a", "xfs"),
        ("/mnt/twice/a", "tmpfs"),
    ],
)
def test_the_file_system_is_that_of_the_longest_mount(folder: str, expected: str) -> None:
    assert spill_dir.file_system(Path(folder), MOUNTS) == expected


def mounts(**kinds: Path) -> str:
    lines = ["1 0 254:0 / / rw - ext4 /dev/vda rw"]
    lines += [f"{i} 1 0:{i} / {path} rw - {kind} x rw" for i, (kind, path) in enumerate(kinds.items(), 2)]
    return "\n".join(lines)


def test_the_default_is_the_state_folder(tmp_path: Path) -> None:
    place = spill_dir.choose(None, {"HOME": "/nowhere", "XDG_STATE_HOME": str(tmp_path)}, mounts())
    assert place.folder == tmp_path / "onbeat/spill"
    assert place.warning == ""
    assert place.folder.is_dir()


def test_a_state_folder_in_memory_gives_way_to_var_tmp(tmp_path: Path) -> None:
    place = spill_dir.choose(None, {"XDG_STATE_HOME": str(tmp_path)}, mounts(tmpfs=tmp_path))
    assert place.folder == Path(f"/var/tmp/onbeat-{os.getuid()}/spill")
    assert place.warning == ""


@pytest.mark.parametrize(("kind", "word"), [("tmpfs", "is memory"), ("nfs4", "is on the network")])
def test_a_folder_that_was_asked_for_is_taken_with_a_warning(tmp_path: Path, kind: str, word: str) -> None:
    place = spill_dir.choose(str(tmp_path / "a"), {}, mounts(**{kind: tmp_path}))
    assert place.folder == tmp_path / "a"
    assert word in place.warning
    assert "--publisher.spill_dir" in place.warning


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match=r"the spill folder .*/file/spill cannot be written: Not a directory"):
        spill_dir.choose(str(tmp_path / "file/spill"), {}, mounts())


def test_too_little_room_is_said_before_it_is_needed(tmp_path: Path) -> None:
    place = spill_dir.choose(str(tmp_path), {}, mounts())
    assert place.too_small_for(0) == ""
    assert "GB, 1152921504.6 GB are allowed; free some, set --publisher.spill_dir" in place.too_small_for(1 << 60)
