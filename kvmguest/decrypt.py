"""The RHEV-M password: VCS keeps it encrypted, and only VCS's own command can decrypt it.

The cipher is not ours to know. The command is, in this order: the site option
``[vcs] decrypt_command``; what VCS's Perl include names as ``$ag_i18n_inc::HADECRYPT``; what its
shell include names as ``HADECRYPT``; an executable hadecrypt or vcsdecrypt in VCS's bin directory.
It gets the cipher text as its last argument and prints the plain text. What it prints goes nowhere
but to the caller: no message here quotes any output.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from kvmguest.deadline import Deadline
from kvmguest.errors import OperationFailed, Silent
from kvmguest.vcs import vcs_bin

COMMAND_LIMIT_S = 10.0
DISCOVERY_LIMIT_S = 3.0
MAX_OUTPUT_BYTES = 4096
_PERL = "/opt/VRTSperl/bin/perl"
_ASK_PERL = "print $ag_i18n_inc::HADECRYPT"
_ASK_SHELL = '. "$1" >/dev/null 2>&1; printf %s "$HADECRYPT"'


def plain_text(cipher: str, option: str, env: Mapping[str, str], deadline: Deadline) -> str:
    """Decrypt RHEVMInfo's Password.

    Raises:
        OperationFailed: there is no command, or it failed.
        Silent: it hangs.
    """
    command = _command(option, env, deadline)
    name = command[0]
    hint = f"run '{' '.join(command)} <Password of RHEVMInfo>' by hand"
    output = _run([*command, cipher.strip()], deadline.slice(COMMAND_LIMIT_S))
    if output is None:
        raise Silent(f"the password cannot be decrypted: {name} did not end in time; {hint}")
    code, text = output
    if code is None:
        raise OperationFailed(
            f"the password cannot be decrypted: {name} cannot be started; correct "
            f"[vcs] decrypt_command in kvmguest.conf, or VCS's own HADECRYPT"
        )
    plain = text.removesuffix("\n")
    if code != 0 or not plain:
        ended = f"ended with {code}" if code else "printed nothing"
        raise OperationFailed(
            f"the password cannot be decrypted: {name} {ended}; {hint}, and encrypt the password "
            f"anew with vcsencrypt -agent"
        )
    return plain


def _command(option: str, env: Mapping[str, str], deadline: Deadline) -> list[str]:
    import shlex  # noqa: PLC0415 - only a login decrypts

    directory = vcs_bin(env)
    home = os.path.dirname(directory)
    perls = [_PERL, os.path.join(directory, "perl5"), "/usr/bin/perl"]
    perl = next((path for path in perls if os.access(path, os.X_OK)), "")
    questions: list[list[str]] = []
    if perl and os.path.exists(os.path.join(home, "lib", "ag_i18n_inc.pm")):
        questions.append([perl, f"-I{home}/lib", "-Mag_i18n_inc", "-e", _ASK_PERL])
    include = os.path.join(directory, "ag_i18n_inc.sh")
    if os.path.exists(include):
        questions.append(["/bin/sh", "-c", _ASK_SHELL, "sh", include])
    try:
        if option:
            return shlex.split(option)
        for question in questions:
            output = _run(question, deadline.slice(DISCOVERY_LIMIT_S))
            if output and output[0] == 0 and output[1].strip():
                return shlex.split(output[1])
    except ValueError as error:
        raise OperationFailed(
            f"the password cannot be decrypted: the command's quotes do not match ({error}); "
            f"correct [vcs] decrypt_command in kvmguest.conf"
        ) from None
    for name in ("hadecrypt", "vcsdecrypt"):
        path = os.path.join(directory, name)
        if os.access(path, os.X_OK):
            return [path]
    raise OperationFailed(
        f"the password cannot be decrypted: VCS's decryption command is not known under {home}; "
        f"set [vcs] decrypt_command in kvmguest.conf"
    )


def _run(command: Sequence[str], seconds: float) -> tuple[int | None, str] | None:
    """Exit code and output; code None when it cannot be started; None when it hangs."""
    import signal  # noqa: PLC0415 - these cost 8 ms, and a monitor with a session needs none
    import subprocess  # noqa: PLC0415

    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except (OSError, ValueError):
        return None, ""
    try:
        output, _nothing = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # the command and what it started
        process.wait()
        return None
    return process.returncode, output[:MAX_OUTPUT_BYTES].decode(errors="surrogateescape")
