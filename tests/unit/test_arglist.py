from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvmguest import arglist
from kvmguest.arglist import parse

FULL = {
    "GuestName": ["web"],
    "DelayAfterGuestOnline": ["7"],
    "DelayAfterGuestOffline": ["31"],
    "SyncDir": ["/sync"],
    "GuestConfigFilePath": ["/etc/web.xml"],
    "CEInfo": ["Enabled", "1", "CESystem", "in_web", "FaultOnHBLoss", "0"],
    "RHEVMInfo": [
        *("Enabled", "1", "URL", "https://m", "User", "a@b", "Password", "cipher"),
        *("Cluster", "c 1", "UseManualRHEVMFencing", "1"),
    ],
    "ResyncVMCfg": ["1"],
    "DROpts": ["ConfigureNetwork", "1", "DNSServers", "10.0.0.1 10.0.0.2", "Device", "eth0"],
    "AEPTimeout": ["60"],
}


def flat(tuples: dict[str, list[str]]) -> list[str]:
    return [word for name, values in tuples.items() for word in (name, str(len(values)), *values)]


def test_every_attribute_is_read() -> None:
    config = parse("res", flat(FULL))
    assert config.complaints == ()
    assert config.resource == "res"
    assert config.guest == "web"
    assert (config.delay_after_online_s, config.delay_after_offline_s) == (7, 31)
    assert (config.sync_dir, config.config_file) == ("/sync", "/etc/web.xml")
    assert config.ce_info == (True, "in_web", False)
    assert tuple(config.rhevm_info) == (True, "https://m", "a@b", "cipher", "c 1", True)
    assert config.resync_vm_cfg is True
    assert config.dr_opts == {
        "ConfigureNetwork": "1",
        "IPAddress": "",
        "Netmask": "",
        "Gateway": "",
        "DNSServers": "10.0.0.1 10.0.0.2",
        "DNSSearchPath": "",
        "Device": "eth0",
    }
    assert config.aep_timeout_s == 60
    assert config.others == {}


@pytest.mark.parametrize("seed", range(20))
def test_any_order(seed: int) -> None:
    shuffled = list(FULL.items())
    random.Random(seed).shuffle(shuffled)  # noqa: S311 - an order, not a secret
    assert parse("res", flat(dict(shuffled))) == parse("res", flat(FULL))


def test_only_the_name_is_needed() -> None:
    config = parse("res", ["GuestName", "1", "web"])
    assert config.complaints == ()
    assert (config.delay_after_online_s, config.delay_after_offline_s) == (5, 30)
    assert (config.sync_dir, config.config_file, config.resync_vm_cfg) == ("", "", False)
    assert config.ce_info == (False, "", True)
    assert not config.rhevm_info.is_enabled
    assert set(config.dr_opts.values()) == {"0", ""}
    assert config.aep_timeout_s is None


@pytest.mark.parametrize("unset", [["1", ""], ["0"], ["1", "NONE"], ["1", "  "]])
@pytest.mark.parametrize("name", ["SyncDir", "GuestConfigFilePath", "ResyncVMCfg"])
def test_unset_scalars(name: str, unset: list[str]) -> None:
    config = parse("res", ["GuestName", "1", "web", name, *unset])
    assert config == parse("res", ["GuestName", "1", "web"])


@pytest.mark.parametrize("name", ["CEInfo", "RHEVMInfo", "DROpts"])
@pytest.mark.parametrize("unset", ["", "NONE", " NONE "])
def test_unset_keys_take_the_types_defaults(name: str, unset: str) -> None:
    defaults = arglist.DEFAULTS[name]
    pairs = [word for key in defaults for word in (key, unset)]
    config = parse("res", ["GuestName", "1", "web", name, str(len(pairs)), *pairs])
    assert config == parse("res", ["GuestName", "1", "web"])


def test_an_empty_association() -> None:
    words = ["GuestName", "1", "web", "CEInfo", "0", "DROpts", "0", "SyncDir", "0"]
    assert parse("res", words) == parse("res", ["GuestName", "1", "web"])


def test_an_unknown_key_is_no_complaint() -> None:
    """A type of a later version may have more keys."""
    words = ["GuestName", "1", "web", "CEInfo", "4", "Novelty", "1", "Enabled", "1"]
    config = parse("res", words)
    assert config.complaints == ()
    assert config.ce_info.is_enabled


def test_unknown_tuples_are_skipped_and_kept() -> None:
    words = ["Novelty", "2", "GuestName", "SyncDir", "GuestName", "1", "web", "VCSInfo", "0"]
    config = parse("res", words)
    assert config.complaints == ()
    assert config.guest == "web"
    assert config.others == {"Novelty": ("GuestName", "SyncDir"), "VCSInfo": ()}


@pytest.mark.parametrize("name", [*arglist.DEFAULTS, "AEPTimeout", "VCSInfo", "1", "0"])
def test_a_value_may_equal_an_attribute_name(name: str) -> None:
    words = ["SyncDir", "1", "/a", "GuestName", "1", name, "GuestConfigFilePath", "1", "/b"]
    for order in (words, [*words[3:6], *words[:3], *words[6:]]):
        config = parse("res", [*order, "AEPTimeout", "1", "60"])
        assert config.complaints == ()
        assert (config.guest, config.sync_dir, config.config_file) == (name, "/a", "/b")
        assert config.aep_timeout_s == 60


@pytest.mark.parametrize(
    "name", ["my guest", "a,b", "web.1+2", "wéb", "-name", "a'b\"c", "x" * 255]
)
def test_guest_names_that_libvirt_takes(name: str) -> None:
    config = parse("res", ["GuestName", "1", name])
    assert (config.guest, config.complaints) == (name, ())


@pytest.mark.parametrize(
    "name", ["a/b", "/", "a\nb", "a\x1bb", "a\x7fb", "x" * 256, "é" * 128, "a\udcffb", "", "NONE"]
)
def test_guest_names_that_are_refused(name: str) -> None:
    assert "GuestName" in " ".join(parse("res", ["GuestName", "1", name]).complaints)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["GuestName", "one", "web"], "GuestName: no number of values follows"),
        (["GuestName", "-1", "web"], "GuestName: no number of values"),
        (["GuestName", "\u0661", "web"], "no number of"),  # an Arabic digit: int() would take it
        (["GuestName", "1", "web", "SyncDir"], "SyncDir: no number of values"),
        (["GuestName", "1", "web", "SyncDir", "1"], "SyncDir: the list is cut short, 0 of 1"),
        (["GuestName", "1", "web", "CEInfo", "6", "Enabled"], "CEInfo: the list is cut short"),
        (["GuestName", "1", "web", "CEInfo", "3", "Enabled", "0", "CESystem"], "has no value"),
        (["GuestName", "2", "web", "db"], "GuestName: 2 values are given, one is expected"),
        (["GuestName", "1", "web", "GuestName", "1", "db"], "GuestName is given twice"),
        (["GuestName", "1", "web", "DelayAfterGuestOnline", "1", "5s"], "DelayAfterGuestOnline"),
        (["GuestName", "1", "web", "DelayAfterGuestOffline", "1", "-3"], "DelayAfterGuestOffline"),
        (["GuestName", "1", "web", "DelayAfterGuestOffline", "1", "1" * 30], "number of seconds"),
        (["GuestName", "1", "web", "ResyncVMCfg", "1", "yes"], "ResyncVMCfg is 'yes'"),
        (["GuestName", "1", "web", "SyncDir", "1", "sync"], "SyncDir is 'sync': it must be an abs"),
        (["GuestName", "1", "web", "CEInfo", "2", "Enabled", "2"], "CEInfo.Enabled is '2'"),
        (["GuestName", "1", "web", "RHEVMInfo", "2", "Enabled", "x"], "RHEVMInfo.Enabled is 'x'"),
        (["GuestName", "1", "web", "AEPTimeout", "1", "soon"], "AEPTimeout is 'soon'"),
        (["GuestName", "1", "web", "AEPTimeout", "1", "0"], "AEPTimeout is '0'"),
        ([], "GuestName is empty"),
        (["AEPTimeout", "1", "60"], "GuestName is empty"),
        (["VCSInfo", "1", "node2", "AEPTimeout", "1", "60"], "GuestName is empty"),
    ],
)
def test_a_complaint(words: list[str], complaint: str) -> None:
    assert complaint in "; ".join(parse("res", words).complaints)


def test_every_complaint_at_once() -> None:
    words = ["GuestName", "1", "a/b", "DelayAfterGuestOnline", "1", "x", "SyncDir", "1", "rel"]
    words += ["ResyncVMCfg", "1", "maybe", "CEInfo", "2", "FaultOnHBLoss", "2"]
    words += ["AEPTimeout", "1", "-", "GuestConfigFilePath", "9", "z"]
    complaints = parse("", words).complaints
    about = ["resource", "GuestName", "DelayAfterGuestOnline", "SyncDir", "ResyncVMCfg"]
    about += ["CEInfo.FaultOnHBLoss", "AEPTimeout", "GuestConfigFilePath"]
    assert [word for word in about if not any(word in text for text in complaints)] == []


def test_the_password_is_in_no_complaint_and_no_repr() -> None:
    words = flat({**FULL, "SyncDir": ["relative"]})
    config = parse("res", words)
    assert config.complaints
    assert "cipher" not in repr(config) + str(config) + "".join(config.complaints)


POSITIONS = ["web", "7", "31", "/sync", "/etc/web.xml"]
POSITIONS += ["2", "Enabled", "1", "0", "1", "2", "Device", "eth 0"]


def test_the_older_positional_layout() -> None:
    config = parse("res", POSITIONS)
    assert config.complaints == ()
    assert (config.guest, config.delay_after_online_s, config.sync_dir) == ("web", 7, "/sync")
    assert config.ce_info.is_enabled
    assert not config.rhevm_info.is_enabled
    assert config.resync_vm_cfg
    assert config.dr_opts["Device"] == "eth 0"


def test_the_positional_layout_cut_short() -> None:
    assert parse("res", ["web"]).complaints == ()
    assert "CEInfo" in "".join(parse("res", [*POSITIONS[:5], "four"]).complaints)
    assert "CEInfo" in "".join(parse("res", [*POSITIONS[:5], "4", "Enabled"]).complaints)


@given(st.lists(st.one_of(st.text(max_size=5), st.sampled_from([*FULL, "0", "1", "2", "NONE"]))))
def test_no_argument_list_breaks_the_parser(words: list[str]) -> None:
    config = parse("res", words)
    usable = config.guest and "/" not in config.guest and config.guest.isprintable()
    assert usable or config.complaints
    assert config.delay_after_online_s >= 0
    assert config.delay_after_offline_s >= 0


@pytest.mark.parametrize(
    "words",
    [
        "RHEVMInfo 5 Enabled 1 User u@internal HTIvKTsecret",
        "RHEVMInfo HTIvKTsecret",
        "RHEVMInfo 4 Enabled 1 User u@internal Password HTIvKTsecret",
        "RHEVMInfo 99 Enabled 1 Password HTIvKTsecret",
    ],
)
def test_a_list_that_is_broken_at_the_password_does_not_spell_it_out(words: str) -> None:
    config = arglist.parse("res", ["GuestName", "1", "web", *words.split()])
    assert config.complaints
    assert "HTIvKTsecret" not in " ".join(config.complaints)
