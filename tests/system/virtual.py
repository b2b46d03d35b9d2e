"""A virtual machine that can lose its power: qemu without KVM."""

import os
import re
import signal
import subprocess
from datetime import datetime
from pathlib import Path

from appliance.demo.pageclient import PageClient, PageError
from tests.box import PIN, free_port
from tests.dcmtk import dcmtk

_KERNEL = "console=ttyS0 root=/dev/vda rw quiet systemd.show_status=0"
# What services say is all that is left of them when the machine's memory is gone.
_KERNEL += " systemd.journald.forward_to_console=1"


class VirtualMachine:
    """The image under qemu, without KVM.

    Parameters
    ----------
    disk
        The image, with kernel and initrd beside it. It is written to.
    """

    def __init__(self, disk: Path) -> None:
        self.disk = disk
        self.dicom_port, self.page_port = free_port(), free_port()
        self.console = disk.with_name("console.log")
        self._process: subprocess.Popen[bytes] | None = None
        self._said_before = 0  # bytes of the console that are other boots'

    def start(self, clock: datetime) -> None:
        """Switch on, with the hardware clock at a time."""
        forward = f"hostfwd=tcp:127.0.0.1:{self.dicom_port}-:11112"
        forward += f",hostfwd=tcp:127.0.0.1:{self.page_port}-:8080"
        with self.console.open("ab") as log:
            self._said_before = log.tell()
            self._process = subprocess.Popen(
                [
                    *("qemu-system-x86_64", "-accel", "tcg,thread=multi"),
                    *("-machine", "q35", "-cpu", "Nehalem", "-smp", "2", "-m", "2048"),
                    *("-nographic", "-no-reboot", "-monitor", "none", "-serial", "stdio"),
                    *("-kernel", self.disk.with_name("vmlinuz")),
                    *("-initrd", self.disk.with_name("initrd.img")),
                    *("-append", _KERNEL),
                    *("-rtc", f"base={clock:%Y-%m-%dT%H:%M:%S}"),
                    *("-drive", f"file={self.disk},format=raw,if=virtio,cache=writeback"),
                    *("-nic", f"user,model=virtio-net-pci,{forward}"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def cut(self) -> None:
        """Take its power away."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None

    def is_on(self) -> bool:
        """Tell whether it runs."""
        return self._process is not None and self._process.poll() is None

    def ready(self) -> list[str]:
        """Return the services that have said in this boot that they do their work."""
        with self.console.open("rb") as log:
            log.seek(self._said_before)
            said = log.read().decode(errors="replace")
        return sorted(set(re.findall(r"echocart-(\w+)\[\d+\]: ready:", said)))

    def last_words(self) -> str:
        """Return the end of what the console says."""
        return self.console.read_text(errors="replace")[-3000:]

    def echoes(self) -> bool:
        """Tell whether its receiver answers."""
        command = [dcmtk("echoscu"), "-to", "20", "-ta", "20", "-td", "20", "-aec", "ECHOCART"]
        asked = [*command, "127.0.0.1", str(self.dicom_port)]
        return subprocess.run(asked, capture_output=True).returncode == 0

    def serves(self) -> PageClient | None:
        """Return somebody who is signed in at its page, once that answers."""
        page = PageClient(f"https://127.0.0.1:{self.page_port}")
        try:
            page.sign_in("KL", PIN)
        except PageError:
            return None
        return page
