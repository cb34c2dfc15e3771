from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from kvmguest.statedir import StateDir


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    memory = StateDir(str(tmp_path / "deep/er"))
    assert memory.read("res") is None
    assert memory.write("res", "first")
    assert memory.write("res", "größer")
    assert memory.read("res") == "größer"
    assert memory.read("res2") is None


def test_only_root_may_read_it(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        StateDir(str(tmp_path / "d")).write("res", "text")
    finally:
        os.umask(before)
    assert mode(tmp_path / "d") == 0o700
    assert mode(tmp_path / "d/res") == 0o600


def test_forget(tmp_path: Path) -> None:
    memory = StateDir(str(tmp_path / "d"))
    memory.forget("res")
    memory.write("res", "text")
    memory.forget("res")
    assert memory.read("res") is None
    assert list((tmp_path / "d").iterdir()) == []


def test_a_directory_open_to_others_is_not_trusted(tmp_path: Path) -> None:
    memory = StateDir(str(tmp_path / "d"))
    memory.write("res", "text")
    (tmp_path / "d").chmod(0o777)
    assert memory.read("res") is None
    assert not memory.write("res", "other")
    memory.forget("res")
    assert (tmp_path / "d/res").read_text() == "text"


def test_a_directory_of_another_user_is_not_trusted(tmp_path: Path) -> None:
    memory = StateDir(str(tmp_path / "d"))
    memory.write("res", "text")
    os.chown(tmp_path / "d", 65534, 65534)
    assert memory.read("res") is None
    assert not memory.write("res", "other")


def test_a_symlink_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert not StateDir(str(tmp_path / "link")).write("res", "text")
    assert list((tmp_path / "real").iterdir()) == []


def test_a_planted_link_is_replaced_and_not_written_through(tmp_path: Path) -> None:
    memory = StateDir(str(tmp_path / "d"))
    memory.write("other", "x")
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "d/res").symlink_to(tmp_path / "victim")
    assert memory.write("res", "text")
    assert (tmp_path / "victim").read_text() == "precious"
    assert memory.read("res") == "text"


def test_no_place_to_write_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file/d", Path("/proc/nowhere")):
        memory = StateDir(str(path))
        assert not memory.write("res", "text")
        assert memory.read("res") is None
        memory.forget("res")


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../../etc/passwd", "a/b", "a b", "a\0b", "é", "\udcff", "x" * 5000]
)
def test_no_name_leaves_the_directory(tmp_path: Path, name: str) -> None:
    memory = StateDir(str(tmp_path / "d"))
    memory.write(name, "text")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.parent for path in files} <= {tmp_path / "d"}
    assert memory.read(name) in {"text", None}


def test_names_that_differ_have_files_that_differ(tmp_path: Path) -> None:
    memory = StateDir(str(tmp_path / "d"))
    names = ["a b", "a/b", "a.b", "a_b", "a-b", "é", "x.612062"]
    for name in names:
        assert memory.write(name, name)
    assert [memory.read(name) for name in names] == names


def test_what_is_no_text_is_not_read(tmp_path: Path) -> None:
    memory = StateDir(str(tmp_path / "d"))
    memory.write("res", "text")
    (tmp_path / "d/res").write_bytes(b"\xff\xfe")
    assert memory.read("res") is None


def test_nothing_half_written_stays(tmp_path: Path) -> None:
    memory = StateDir(str(tmp_path / "d"))
    memory.write("res", "old")
    assert not memory.write("res", "\udcff")  # cannot be encoded
    assert memory.read("res") == "old"
    assert [path.name for path in (tmp_path / "d").iterdir()] == ["res"]
