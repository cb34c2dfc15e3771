"""vcs-net-reconfig changes all its files or none: half of two sites' networks is worse than one.

/etc/resolv.conf alone may stay behind.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.contract import guest_roots as guests
from tests.contract.test_guest_agreement import SERVICE_MODULE
from tests.contract.test_guest_service import GOLDEN, applied, cd, refused, service


@contextlib.contextmanager
def immutable(path: Path) -> Iterator[None]:
    """Protect the file the way administrators do."""
    subprocess.run(["chattr", "+i", path], check=True)
    try:
        yield
    finally:
        subprocess.run(["chattr", "-i", path], check=True)


@pytest.mark.parametrize("name", ["interfaces", "interfaces.d/site.cfg"])
def test_an_immutable_file_changes_nothing(name: str, tmp_path: Path) -> None:
    root = guests.build(tmp_path / "root", guests.SCENES["ifupdown"])
    with immutable(root / "etc/network" / name):
        assert "cannot write" in refused(root, cd(tmp_path / "cd", guests.V4))


def test_an_immutable_file_that_is_to_go_changes_nothing(tmp_path: Path) -> None:
    root = guests.build(tmp_path / "root", guests.SCENES["networkd"])
    with immutable(root / "etc/systemd/network/10-site-a.network"):
        assert "cannot write" in refused(root, cd(tmp_path / "cd", guests.V4))


@pytest.mark.parametrize("manager", ["ifupdown", "networkd"])
def test_an_immutable_resolv_conf_does_not_keep_the_old_address(
    manager: str, tmp_path: Path
) -> None:
    root = guests.build(tmp_path / "root", guests.SCENES[manager])
    source = cd(tmp_path / "cd", guests.V4)
    old = (root / "etc/resolv.conf").read_text()
    with immutable(root / "etc/resolv.conf"):
        done = service(root, source)
        assert done.returncode == 0
        (said,) = done.stderr.splitlines()
        assert "put those of the CD into /etc/resolv.conf by hand" in said
        assert "is applied already" in applied(root, source)
    assert (root / "etc/resolv.conf").read_text() == old
    (root / "etc/resolv.conf").write_text("nameserver 10.20.0.2\n")
    for address in ("10.10.0.5", "10.10.0.1"):
        assert address not in guests.as_text(root)


def test_a_directory_in_the_place_of_a_file_changes_nothing(tmp_path: Path) -> None:
    root = guests.build(tmp_path / "root", guests.SCENES["wicked"])
    (root / "etc/sysconfig/network/ifroute-ens2").unlink()
    (root / "etc/sysconfig/network/ifroute-ens2").mkdir()
    assert "cannot keep" in refused(root, cd(tmp_path / "cd", guests.V4))


def failing_at(path: Path, real: Callable[..., None]) -> Callable[..., None]:
    """Return ``os.replace`` or ``os.unlink`` of a file system that does not let go of one file."""

    def act(*names: str, **options: int) -> None:
        if names[-1] == str(path):
            raise PermissionError(1, "Operation not permitted", *names)
        real(*names, **options)

    return act


@pytest.mark.parametrize("manager", guests.SCENES)
def test_whichever_file_fails_all_are_as_before(
    manager: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Also when a file fails late: the earlier ones come back, those that are new go again."""
    source = cd(tmp_path / "cd", guests.V4)
    root = guests.build(tmp_path / "root", guests.SCENES[manager])
    before = guests.snapshot(root)
    inodes = {name: (root / name).lstat().st_ino for name in before}
    trial = guests.build(tmp_path / "trial", guests.SCENES[manager])
    applied(trial, source)
    after = guests.snapshot(trial, "etc")
    changed = {
        name
        for name in {*guests.snapshot(root, "etc"), *after} - {"etc/resolv.conf"}
        if before.get(name) != after.get(name)
    }
    assert len(changed) > 1
    for name in changed:
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", failing_at(root / name, os.replace))
            patch.setattr(os, "unlink", failing_at(root / name, os.unlink))
            code = SERVICE_MODULE.main(["--root", str(root), "--source", str(source)])
        assert code == 1
        assert capsys.readouterr().err.endswith("nothing was changed\n")
        assert guests.snapshot(root) == before
        assert {name: (root / name).lstat().st_ino for name in before} == inodes


def test_a_state_that_cannot_be_kept_is_no_failure_and_no_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = cd(tmp_path / "cd", guests.V4)
    root = guests.build(tmp_path / "root", guests.SCENES["networkd"])
    state = root / "var/lib/vcs-net-reconfig/state.json"
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", failing_at(state, os.replace))
        code = SERVICE_MODULE.main(["--root", str(root), "--source", str(source)])
    said = capsys.readouterr()
    assert code == 0
    assert "the next boot will write it again" in said.err
    assert guests.as_text(root) == (GOLDEN / "networkd-v4.txt").read_text()
    assert not state.exists()
