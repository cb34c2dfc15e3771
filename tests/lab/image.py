"""What the laboratory's guests boot: Debian's cloud kernel, with busybox and guest_init.sh."""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import re
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from tests.lab.namespaces import LabError

_INIT = Path(__file__).with_name("guest_init.sh")
_BUSYBOX = Path("/bin/busybox")
_APPLETS = ["cat", "dd", "insmod", "mount", "poweroff", "sh", "sleep", "yes"]

#: Kernel modules, without those they depend on; and what for.
_MODULES = (
    "button",  # the ACPI power button
    "evdev",  # /dev/input
    "pvpanic-mmio",  # <panic model='isa'>
    "ata_piix",  # the CD's controller on machine type pc
    "sr_mod",
    "isofs",
    "virtio_pci",
    "virtio_blk",
    "virtio_net",
    "virtio_scsi",
)


class Image(NamedTuple):
    """What to boot: paths of a kernel and its initramfs."""

    kernel: Path
    initramfs: Path


def build_image(cache_dir: Path | None = None) -> Image:
    """Make the image, or find it made; safe when several processes do it at once.

    Args:
        cache_dir: keeps the kernel (whichever version was current when it was fetched) and the
            images; tests/.cache if None. Not under /var: hosts have their own.

    Raises:
        LabError: apt could not fetch the kernel package.
    """
    cache_dir = cache_dir or Path(__file__).resolve().parents[1] / ".cache"
    cache_dir.mkdir(parents=True, exist_ok=True)
    with (cache_dir / "lock").open("w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        kernel = _cached_kernel(cache_dir) or _fetch_kernel(cache_dir)
        recipe = hashlib.sha256(_INIT.read_bytes() + " ".join((*_APPLETS, *_MODULES)).encode())
        initramfs = kernel / f"initramfs-{recipe.hexdigest()[:16]}.gz"
        if not initramfs.exists():
            _build_initramfs(kernel, initramfs)
    return Image(kernel / "vmlinuz", initramfs)


def _cached_kernel(cache_dir: Path) -> Path | None:
    return max(cache_dir.glob("linux-image-*"), default=None)


def _fetch_kernel(cache_dir: Path) -> Path:
    """Download and unpack the kernel package: vmlinuz, and all modules in one directory."""
    with tempfile.TemporaryDirectory(dir=cache_dir, prefix=".fetch-") as scratch:
        try:
            package = _download(scratch)
        except LabError:  # no package lists, or old ones
            _said("apt-get", "update", cwd=scratch)
            package = _download(scratch)
        unpacked = Path(scratch, "kernel")
        (unpacked / "modules").mkdir(parents=True)
        contents = ["dpkg-deb", "--fsys-tarfile", str(package)]
        with (
            subprocess.Popen(contents, stdout=subprocess.PIPE) as unpacker,
            tarfile.open(fileobj=unpacker.stdout, mode="r|") as archive,
        ):
            for member in archive:
                path = PurePosixPath(member.name)
                source = archive.extractfile(member) if member.isfile() else None
                if source and path.name.startswith("vmlinuz-"):
                    (unpacked / "vmlinuz").write_bytes(source.read())
                elif source and path.suffix == ".ko":
                    (unpacked / "modules" / path.name).write_bytes(source.read())
        return unpacked.rename(cache_dir / package.name.partition("_")[0])


def _download(folder: str) -> Path:
    depends = _said("apt-cache", "depends", "linux-image-cloud-amd64", cwd=folder)
    found = re.search(r"Depends: (linux-image-\S+)", depends)
    if not found:
        raise LabError("apt knows no kernel behind linux-image-cloud-amd64")
    _said("apt-get", "download", found[1], cwd=folder)
    return next(Path(folder).glob("*.deb"))


def _said(*argv: str, cwd: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, cwd=cwd, check=False)
    if done.returncode != 0:
        raise LabError(f"{' '.join(argv)}: {done.stderr.strip()}")
    return done.stdout


def _load_order(modules: Path) -> list[str]:
    """File names of the modules, each after those that its .modinfo says it depends on."""
    files: dict[str, Path] = {path.stem.replace("-", "_"): path for path in modules.glob("*.ko")}
    order: list[str] = []
    met: set[str] = set()

    def add(name: str) -> None:
        if name in met:
            return
        met.add(name)
        found = re.search(rb"\0depends=([^\0]*)\0", files[name].read_bytes())
        for needed in found[1].decode().split(",") if found and found[1] else []:
            add(needed.replace("-", "_"))
        order.append(files[name].name)

    for name in _MODULES:
        add(name.replace("-", "_"))
    return order


def _build_initramfs(kernel: Path, result: Path) -> None:
    with tempfile.TemporaryDirectory(dir=kernel, prefix=".build-") as scratch:
        root = Path(scratch, "root")
        for folder in ("bin", "cd", "dev", "mem", "modules", "proc", "sys"):
            (root / folder).mkdir(parents=True)
        shutil.copy(_BUSYBOX, root / "bin/busybox")
        for applet in _APPLETS:
            (root / "bin" / applet).symlink_to("busybox")
        (root / "init").write_bytes(_INIT.read_bytes())
        (root / "init").chmod(0o755)
        order = _load_order(kernel / "modules")
        for name in order:
            shutil.copy(kernel / "modules" / name, root / "modules" / name)
        (root / "modules/order").write_text(
            "".join(f"{name}\n" for name in order), encoding="ascii"
        )
        names = "".join(f"{path.relative_to(root)}\n" for path in sorted(root.rglob("*")))
        archive = subprocess.run(
            ["cpio", "--quiet", "--create", "--format=newc", "--owner=0:0"],
            input=names.encode(),
            cwd=root,
            capture_output=True,
            check=True,
        )
        packed = Path(scratch, "initramfs.gz")
        packed.write_bytes(gzip.compress(archive.stdout, compresslevel=1))
        packed.rename(result)
