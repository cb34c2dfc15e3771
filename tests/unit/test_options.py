from __future__ import annotations

from pathlib import Path

import pytest

from kvmguest import options


def load(tmp_path: Path, text: str) -> options.Options:
    path = tmp_path / "kvmguest.conf"
    path.write_text(text)
    return options.load({"KVMGUEST_CONF": str(path)})


def test_no_file_is_fine(tmp_path: Path) -> None:
    site = options.load({"KVMGUEST_CONF": str(tmp_path / "absent")})
    assert site == options.Options()
    assert site.complaints == ()


def test_everything_is_read(tmp_path: Path) -> None:
    text = "# site\n[libvirt]\nuri = qemu+unix:///system\nprobe = Yes\n[vcs]\nstate_dir = /x %y\n"
    site = load(tmp_path, text)
    assert site.libvirt_uri == "qemu+unix:///system"
    assert site.libvirt_probe is True
    assert site.vcs_state_dir == "/x %y"
    assert site.complaints == ()


@pytest.mark.parametrize("word", ["yes", "TRUE", "On", "1"])
def test_words_for_yes(tmp_path: Path, word: str) -> None:
    assert load(tmp_path, f"[libvirt]\nprobe = {word}\n").libvirt_probe is True


@pytest.mark.parametrize("word", ["no", "False", "off", "0"])
def test_words_for_no(tmp_path: Path, word: str) -> None:
    assert load(tmp_path, f"[libvirt]\nprobe = {word}\n").libvirt_probe is False


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[libvirt]\nprobe = maybe\n", "probe is 'maybe'"),
        ("[libvirt]\nprob = yes\n", "[libvirt] prob is not an option"),
        ("[libvrt]\nuri = x\n", "[libvrt] uri is not an option"),
        ("[libvirt]\ncomplaints = x\n", "not an option"),
        ("uri = x\n", "cannot be read"),
        ("[libvirt]\nuri = a\nuri = b\n", "cannot be read"),
        ("[libvirt\n", "cannot be read"),
    ],
)
def test_what_is_wrong_is_named_with_the_file(tmp_path: Path, text: str, complaint: str) -> None:
    complaints = load(tmp_path, text).complaints
    assert len(complaints) == 1
    assert complaint in complaints[0]
    assert str(tmp_path) in complaints[0]


def test_every_complaint_at_once(tmp_path: Path) -> None:
    assert len(load(tmp_path, "[libvirt]\nprobe = x\na = b\n[z]\nc = d\n").complaints) == 3


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "kvmguest.conf"
    path.write_bytes(b"[libvirt]\nuri = \xff\n")
    assert "cannot be read" in options.load({"KVMGUEST_CONF": str(path)}).complaints[0]


def test_a_directory_in_place_of_the_file(tmp_path: Path) -> None:
    assert "cannot be read" in options.load({"KVMGUEST_CONF": str(tmp_path)}).complaints[0]
