"""`make image`: a system with the package on it, as a disk that boots.

Three files: `echocart.img` (ext4, the whole system), `vmlinuz` and `initrd.img`. The kernel is
started from outside (qemu -kernel, a hypervisor's direct boot); there is no boot loader on it.
"""

import argparse
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from package import build
from targets import REPOSITORY

SUITE = "bookworm"
TARGET = "debian12"
PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "udev", "python3", "python3-systemd", "iproute2"),
    *("linux-image-cloud-amd64", "initramfs-tools", "kmod", "e2fsprogs", "dmsetup"),
)
_NETWORK = "[Match]\nName=en* eth*\n\n[Network]\nDHCP=yes\n"


def make(
    deb: Path,
    out: Path,
    megabytes: int,
    base: Path | None = None,
    also: Callable[[Path], None] = lambda tree: None,
) -> Path:
    """Make the image and return its path.

    Parameters
    ----------
    deb
        The package to install.
    out
        Directory of the three files.
    megabytes
        Size of the disk.
    base
        A tree of mmdebstrap's with `PACKAGES`, instead of a new one.
    also
        Called with the tree before it becomes a disk.

    Raises
    ------
    subprocess.CalledProcessError
        When mmdebstrap, dpkg or mke2fs fails; it has said why.
    """
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out) as folder:
        tree = Path(folder) / "tree"
        if base:
            subprocess.run(["cp", "-a", base, tree], check=True)
        else:
            command = ["mmdebstrap", "--quiet", "--variant=minbase"]
            subprocess.run([*command, f"--include={','.join(PACKAGES)}", SUITE, tree], check=True)
        install(deb, tree)
        also(tree)
        for kernel, name in (("vmlinuz-*", "vmlinuz"), ("initrd.img-*", "initrd.img")):
            (newest, *_) = sorted((tree / "boot").glob(kernel), reverse=True)
            shutil.copy(newest, out / name)
        image = out / "echocart.img"
        image.unlink(missing_ok=True)
        command = ["mke2fs", "-q", "-t", "ext4", "-L", "echocart", "-d", str(tree)]
        subprocess.run([*command, str(image), f"{megabytes}M"], check=True)
    return image


def install(deb: Path, tree: Path) -> None:
    """Install the package into a tree, as a first boot finds it; network by DHCP."""
    shutil.copy(deb, tree / "echocart.deb")
    # Not chroot: the package's tools want /proc.
    inside = ["systemd-nspawn", "--quiet", f"--directory={tree}", "--register=no", "--keep-unit"]
    inside += [f"--machine=echocart-{os.getpid()}", "--pipe", "--"]
    subprocess.run([*inside, "dpkg", "-i", "/echocart.deb"], check=True)
    (tree / "echocart.deb").unlink()
    (tree / "etc/hostname").write_text("echocart\n")
    (tree / "etc/fstab").write_text("/dev/vda / ext4 errors=remount-ro 0 1\n")
    (tree / "etc/systemd/network").mkdir(exist_ok=True)
    (tree / "etc/systemd/network/80-dhcp.network").write_text(_NETWORK)
    subprocess.run([*inside, "systemctl", "enable", "-q", "systemd-networkd"], check=True)
    # One number for each box, made at its first boot.
    (tree / "etc/machine-id").write_text("")


def main() -> None:
    """Build package and image."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=REPOSITORY / "artefacts" / "image")
    parser.add_argument("--deb", type=Path, help="the package; else it is built")
    parser.add_argument("--mb", type=int, default=8000, help="size of the disk")
    parser.add_argument("--base", type=Path, help="a tree of mmdebstrap's to start from")
    arguments = parser.parse_args()
    artefacts = REPOSITORY / "artefacts"
    from appliance import __version__

    deb = arguments.deb or build(TARGET, artefacts / "deb", __version__, artefacts / "wheels")
    print(make(deb, arguments.out, arguments.mb, arguments.base))


if __name__ == "__main__":
    main()
