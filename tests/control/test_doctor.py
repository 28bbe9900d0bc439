"""The verb as a person runs it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from control.doctor import main
from control.doctor_figures import Load, WriterSide
from control.doctor_writer import measure_writer_side
from transport.dataset_spec import EncoderSpec

ONBEAT = str(Path(sys.executable).with_name("onbeat"))
SMALL = ("--cameras=1", "--width=96", "--height=64", "--fps=10", "--seconds=0.1")
H264 = "--dataset.rgb_encoder.vcodec=h264"


def test_a_small_load_is_sustainable_and_nothing_is_left_behind(tmp_path: Path, capsys) -> None:
    root = tmp_path / "data" / "set"
    code = main([*SMALL, H264, f"--root={root}", f"--json={tmp_path}/found.json"])
    out = capsys.readouterr().out
    assert code == 0, out
    assert "1 camera of 96x64 at 10 fps can be recorded here" in out
    assert [path.name for path in tmp_path.iterdir()] == ["found.json"]
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["load"] == {"cameras": 1, "width": 96, "height": 64, "fps": 10}
    assert found["verdict"]["sustainable"] is True
    assert found["verdict"]["ring_5s_bytes"] == Load(1, 96, 64, 10).ring_bytes(5)
    assert found["writer"]["disk"]["folder"] == str(tmp_path)
    chosen = [codec for codec in found["writer"]["codecs"] if codec["wanted"]]
    assert [codec["name"] for codec in chosen] == ["h264"]
    assert {run["loaded"] for run in found["floor"]["runs"]} == {False, True}
    assert all(run["lateness_us"]["p999"] is None for run in found["floor"]["runs"])


def test_a_load_beyond_the_codec_exits_with_1_and_says_what_to_change(tmp_path: Path, capsys) -> None:
    load = ("--cameras=1", "--width=640", "--height=480", "--fps=240", "--seconds=0.1")
    slowest = ("--dataset.rgb_encoder.vcodec=hevc", "--dataset.rgb_encoder.preset=veryslow")
    code = main([*load, *slowest, f"--root={tmp_path}"])
    out = capsys.readouterr().out
    assert code == 1, out
    assert "can NOT be recorded here" in out
    assert "240 are needed" in out
    # Whichever is measured to help here: another codec, or a lower rate.
    assert "    --dataset." in out


def test_a_writer_that_is_not_there_is_an_obstacle_and_its_side_is_not_measured(capsys) -> None:
    code = main([*SMALL, "--writer.address=tcp://127.0.0.1:1"])
    out = capsys.readouterr().out
    assert code == 1
    assert "tcp://127.0.0.1:1: no connection" in out
    assert "run `onbeat doctor` on its machine as well" in out


def measured(vcodec: str, codec_s: float, limit_s: float) -> WriterSide:
    wanted = {
        "load": [1, 96, 64, 10],
        "rgb_encoder": asdict(EncoderSpec(vcodec=vcodec)),
        "encoder_threads": None,
        "folder": "/dev/shm",
        "codec_s": codec_s,
        "disk_s": 0.01,
    }
    return measure_writer_side(wanted, lambda what: None, limit_s)


def test_what_never_shows_a_result_is_given_up() -> None:
    found = measured("libsvtav1", codec_s=1000, limit_s=5)
    assert found.disk is not None
    assert found.codecs == ()
    assert found.failures[0].startswith("codec libsvtav1: no result within 5 s")


def test_a_codec_that_does_not_exist_is_a_failure() -> None:
    assert "'nope' found, expected one of" in measured("nope", codec_s=0.1, limit_s=60).failures[0]


@pytest.mark.parametrize(
    "flags",
    [
        ("--fps=0",),
        ("--cameras=-1",),
        ("--seconds=0",),
        ("--publisher.ring_s=0",),
        ("--timing.realtime=perhaps",),
        ("--writer.address=nowhere",),
        ("--writer.address=tcp://127.0.0.1:1", "--writer.keys=/not/there.key"),
        ("--nonsense=1",),
    ],
)
def test_what_cannot_be_is_one_line_and_2(flags: tuple[str, ...], capsys) -> None:
    assert main(list(flags)) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("onbeat: ")
    assert said.err.count("\n") == 1


def test_without_privileges_everything_is_measured_and_what_is_missing_is_named(tmp_path: Path) -> None:
    command = [ONBEAT, "doctor", *SMALL, H264, f"--root={tmp_path}", f"--json={tmp_path}/found.json"]
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None or shutil.which("prlimit") is None:
            pytest.skip("needs util-linux to give privileges up")
        # The user stays (the interpreter may lie in root's folder), the capabilities go.
        drop = ["prlimit", "--rtprio=0:0", "--memlock=65536:65536"]
        command = [*drop, "setpriv", "--inh-caps=-all", "--bounding-set=-all", *command]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    missing = {finding["name"]: finding for finding in found["machine"] if finding["state"] == "missing"}
    if os.geteuid() == 0:
        assert {"SCHED_FIFO", "locked memory"} <= set(missing)
        assert "rtprio 60" in missing["SCHED_FIFO"]["advice"]
        assert [run["fifo"] for run in found["floor"]["runs"]] == [False, False]
    for finding in missing.values():
        assert finding["advice"] in found["verdict"]["changes"]
