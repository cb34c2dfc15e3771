"""The default migrate_uri: between two real hosts over ssh, with keys, and without."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.doubles.pair import GUEST, Pair
from tests.lab.host import Host

pytestmark = pytest.mark.hypervisor

SSHD = """\
HostKey {etc}/host_key
AuthorizedKeysFile {etc}/authorized_keys
PidFile /run/sshd.pid
UsePAM no
StrictModes no
PermitRootLogin yes
PasswordAuthentication yes
"""
# In a host's own /etc, as the machine's /root/.ssh is not the laboratory's.
SSH = """\
IdentityFile {etc}/root_key
IdentitiesOnly yes
GlobalKnownHostsFile {etc}/known_hosts
UserKnownHostsFile /dev/null
"""


def _key(path: Path) -> str:
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)]
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)
    return path.with_suffix(".pub").read_text(encoding="ascii")


def _ssh(host: Host) -> Path:
    return host.directory / "etc/ssh/lab"


@pytest.fixture(scope="module")
def hosts() -> Iterator[Pair]:
    """What an administrator does once: a key for root, known host keys, sshd."""
    with Pair() as made:
        known, keys = "", ""
        for host in made.hosts:
            _ssh(host).mkdir(parents=True)
            known += f"{host.name} {_key(_ssh(host) / 'host_key')}"
            keys += _key(_ssh(host) / "root_key")
        for host in made.hosts:
            etc = "/etc/ssh/lab"
            (_ssh(host) / "known_hosts").write_text(known, encoding="ascii")
            (_ssh(host) / "authorized_keys").write_text(keys, encoding="ascii")
            (_ssh(host) / "sshd").write_text(SSHD.format(etc=etc), encoding="ascii")
            (host.directory / "etc/ssh/ssh_config").write_text(SSH.format(etc=etc))
            host.run(["mkdir", "-p", "/run/sshd"])
            done = host.run(["sh", "-c", f"/usr/sbin/sshd -f {etc}/sshd >/var/log/sshd.log 2>&1"])
            assert done.returncode == 0, (host.directory / "var/log/sshd.log").read_text()
        yield made


@pytest.fixture
def pair(hosts: Pair) -> Iterator[Pair]:
    yield hosts
    hosts.clear()


@pytest.fixture
def conf(pair: Pair) -> None:
    pair.conf.write_text("[hosts]\nsys2 = kvm2\n[vcs]\nstate_dir = /run/kvmguest\n")


@pytest.mark.usefixtures("conf")
def test_by_default_over_ssh(pair: Pair) -> None:
    pair.start_bare(pair.kvm1)
    done = pair.migrate(pair.kvm1, "sys2")
    assert done.code == 0, done.log
    assert "qemu+ssh://kvm2/system?no_tty=1" in done.log
    assert pair.codes() == (200, 110)


@pytest.mark.usefixtures("conf")
@pytest.mark.parametrize(
    ("missing", "said"),
    [("authorized_keys", "Permission denied"), ("known_hosts", "Host key verification failed")],
)
def test_what_ssh_would_ask_for_is_refused_at_once(pair: Pair, missing: str, said: str) -> None:
    """A password, or whether to trust a host: nobody is there to answer."""
    pair.start_bare(pair.kvm1)
    host = pair.kvm2 if missing == "authorized_keys" else pair.kvm1
    path = _ssh(host) / missing
    hidden = path.rename(path.with_suffix(".hidden"))
    done = pair.migrate(pair.kvm1, "sys2")
    hidden.rename(path)
    assert done.code == 255
    assert said in done.log
    assert done.seconds < 10
    assert pair.state(pair.kvm1) == "running (booted)"
    assert GUEST not in pair.kvm2.virsh("list", "--name", "--all").split()
