"""This node among the hosts of a real answer: hw_id, hardware UUID, cluster, and what was kept."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvmguest import arglist, options
from kvmguest.deadline import Deadline
from kvmguest.log import Log
from kvmguest.rhev.identity import Identity
from kvmguest.rhev.inventory import Inventory
from kvmguest.rhev.login import Place
from kvmguest.rhev.session import Session
from kvmguest.statedir import StateDir
from kvmguest.states_rhev import ELSEWHERE, HERE, UNSURE
from tests.doubles.manager import Manager
from tests.doubles.vcs_home import VcsHome

VDSM_ID = "4c4c4544-0000-1000-8000-0000000000aa"
UUID = "4c4c4544-0000-1000-8000-0000000000bb"


@contextlib.contextmanager
def manager(profile: str) -> Iterator[Manager]:
    with Manager(profile, hosts=["h2"], vms=["g1"], scale=0) as running:
        running.add_host("h1", vdsm_id=VDSM_ID.upper(), hardware_uuid=UUID.upper())
        running.put("g1", "up", "h1")
        yield running


def inventory(tmp_path: Path, m: Manager, node: Identity, cluster: str = "c1") -> Inventory:
    env = {"VCS_HOME": str(tmp_path / "vcs"), "KVMGUEST_CONF": "/nonexistent"}
    if not (tmp_path / "vcs").exists():
        VcsHome(tmp_path / "vcs", helper=False, halog=False).answer("decrypt", "secret\n")
    info = ["Enabled", "1", "URL", m.root, "User", m.user_name, "Password", "x", "Cluster", cluster]
    config = arglist.parse("g1", ["GuestName", "1", "g1", "RHEVMInfo", "10", *info])
    site = options.Options(
        rhev_ca_file=m.ca_file, vcs_decrypt_command=str(tmp_path / "vcs/bin/decrypt")
    )
    memory = StateDir(str(tmp_path / "state"))
    log = Log("g1", "monitor", env, "/opt/VRTSvcs/bin/KVMGuest/monitor")
    session = Session(Place(config.rhevm_info, site, memory, env), Deadline(30), log)
    return Inventory(config, session, memory, node)


def node(*ids: str) -> Identity:
    return Identity(ids, ("some-node",), "")


@pytest.mark.parametrize("profile", ["3.6", "4.2", "4.3", "4.5"])
def test_by_the_hardware_uuid(tmp_path: Path, profile: str) -> None:
    with manager(profile) as m:
        me, _why = inventory(tmp_path, m, node(UUID)).this_host()
        assert me is not None
        assert me.name == "h1"


@pytest.mark.parametrize(("profile", "name"), [("3.6", None), ("4.2", None), ("4.3", "h1")])
def test_by_vdsms_id_where_the_engine_can_search_it(
    tmp_path: Path, profile: str, name: str | None
) -> None:
    with manager(profile) as m:
        me, why = inventory(tmp_path, m, node(VDSM_ID)).this_host()
        assert (me.name if me else None) == name
        assert name or "is not told apart" in why


def test_a_board_of_the_same_uuid_is_not_this_node(tmp_path: Path) -> None:
    """This node was removed from RHEV-M; h1, without vdsm.id, goes by the UUID that both have."""
    with manager("4.4") as m:
        m.host("h1").vdsm_id = UUID.upper()
        me, why = inventory(tmp_path, m, node(VDSM_ID, UUID)).this_host()
        assert me is None
        assert "is not told apart" in why


def test_a_host_of_another_cluster_is_named(tmp_path: Path) -> None:
    with manager("4.4") as m:
        m.add_host("h3", cluster="c2")
        m.vm("g1").name = "other"
        m.add_vm("g1", "up", "h3", cluster="c2")
        found = inventory(tmp_path, m, node(VDSM_ID), "c2")
        assert found.this_host() == (None, "this node is h1, which is in another cluster")
        assert found.where(found.vm()).place == UNSURE


def test_without_a_cluster_all_hosts_count(tmp_path: Path) -> None:
    with manager("4.4") as m:
        me, _why = inventory(tmp_path, m, node(UUID), "NONE").this_host()
        assert me is not None


def test_what_was_kept_is_not_believed_by_a_clone(tmp_path: Path) -> None:
    """The same state directory on a machine with other marks."""
    with manager("4.4") as m:
        first = inventory(tmp_path, m, node(UUID))
        assert first.where(first.vm()).place == HERE
        other = m.host("h2").hardware_uuid.lower()
        clone = inventory(tmp_path, m, node(other))
        assert clone.where(clone.vm()).place == ELSEWHERE


def test_a_lost_vm_is_not_judged_by_what_was_kept(tmp_path: Path) -> None:
    """This host was registered anew: its old id is another host's word now."""
    with manager("4.4") as m:
        m.put("g1", "up", "h2")
        first = inventory(tmp_path, m, node(UUID))
        assert first.where(first.vm()).place == ELSEWHERE
        m.host("h1").vdsm_id = m.host("h1").hardware_uuid = "0" * 36
        m.host("h2").hardware_uuid = UUID.upper()
        later = inventory(tmp_path, m, node(UUID))
        assert later.where(later.vm(), is_certain=True).place == HERE
