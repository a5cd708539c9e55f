"""Hosts on one machine: each has its own network, processes, /tmp, home, /dev/shm and hostname.

A host is a set of Linux namespaces, held by the process that is number 1 in it. All hosts are
plugged into a bridge in a network namespace of its own, the switch. No namespace and no interface
has a name outside of them, and what holds them ends when this process does. So nothing is left
however a test ends, and any number of networks exist side by side.
"""

import shutil
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE

import psutil
import pytest

ROOT = Path(__file__).parents[1]
TMP = Path("/tmp")
NEEDED = [path.resolve() for path in (ROOT, Path(sys.prefix), Path(sys.base_prefix))]
SHOWN = [path for path in NEEDED if TMP in path.parents]
"""What every host needs, although its own /tmp would hide it."""
PATH = f"{sys.prefix}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BOOT = ["unshare", "--net", "--mount", "--uts", "--ipc", "--pid", "--fork", "--mount-proc", "sh"]
ENTER = ["nsenter", "--net", "--mount", "--uts", "--ipc", "--pid", "--target"]
INIT = """
set -e
hostname "$1"
disk=$2
shift 2
mount -t tmpfs tmpfs /dev/shm
for path; do
    mkdir -p "$disk$path"
    mount --bind "$path" "$disk$path"
done
mount --rbind "$disk/tmp" /tmp
ip link set lo up
echo booted
# processes that others leave behind do not stay as zombies
trap '' CHLD
exec cat
"""
"""A shell script for number 1. It ends with its standard input, and everything on the host too."""
RAYLET = "raylet/raylet --"
"""In the command line of Ray's process that stands for a node."""
MAY = "ip link add type veth && ip link add type bridge && ip tuntap add mode tap"
"""A shell command that fails where hosts cannot be connected."""


def why_none() -> str:
    """Return why this machine cannot have hosts, or nothing if it can."""
    if sys.platform != "linux":
        return "hosts are made of namespaces, which exist on Linux only"
    for program in ("unshare", "nsenter", "ip"):
        if shutil.which(program) is None:
            return f"hosts need the program {program}"
    tried = subprocess.run([*BOOT, "-c", MAY], capture_output=True, text=True, check=False)
    return f"hosts cannot be made: {tried.stderr.strip()}" if tried.returncode else ""


@contextmanager
def network(count: int, folder: Path) -> Generator["Network"]:
    """Context manager: a network of hosts that have booted, with their disks in a folder.

    Where there can be none, the test is skipped.
    """
    if reason := why_none():
        pytest.skip(reason)
    made = Network(folder)
    try:
        for _ in range(count):
            made.add()
        yield made
    finally:
        made.close()


class Network:
    """A switch, and the hosts that are plugged into it."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.hosts: list[Host] = []
        self.switch = holding(["unshare", "--net", "sh", "-c", "echo; exec cat"])
        self.ip("link add br0 type bridge")
        self.ip("link set br0 up")

    def add(self) -> "Host":
        """Boot one more host."""
        host = Host(self, len(self.hosts))
        self.hosts.append(host)
        host.boot()
        return host

    def ip(self, words: str) -> None:
        """Run an `ip` command on the switch."""
        subprocess.run(self.on_switch(["ip", *words.split()]), check=True)

    def on_switch(self, command: list[str]) -> list[str]:
        """Return a command that runs another one in the switch's network."""
        return ["nsenter", "--net", "--target", str(self.switch.pid), *command]

    def close(self) -> None:
        """End everything."""
        for host in self.hosts:
            host.close()
        release(self.switch)


class HostProcess(subprocess.Popen[str]):
    """A process on a host. Signals reach it, not its parent outside of the namespaces."""

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            for process in psutil.Process(self.pid).children():
                process.send_signal(sig)


class Host:
    """A machine with one interface, eth0. It is off until `boot`."""

    def __init__(self, network: Network, number: int):
        self.network = network
        self.name = f"h{number}"
        self.address = f"10.77.0.{10 + number}"
        self.mac = f"02:00:00:00:00:{10 + number:02x}"
        self.disk = network.folder / self.name
        self.home = TMP / "home"
        self.port, self.bridge = f"port{number}", "br0"
        self.relay: subprocess.Popen[str] | None = None
        self.power: subprocess.Popen[str] | None = None

    def boot(self) -> None:
        """Power it on, plugged in. What it wrote to /tmp and to its home before is there."""
        assert not self.is_on(), f"{self.name} is on"
        self.path(self.home).mkdir(parents=True, exist_ok=True)
        arguments = [self.name, str(self.disk), *map(str, SHOWN)]
        self.power = holding([*BOOT, "-c", INIT, "init", *arguments])
        peer = f"peer name eth0 address {self.mac} netns {self.init().pid}"
        self.network.ip(f"link add {self.port} type veth {peer}")
        self.network.ip(f"link set {self.port} master {self.bridge} up")
        for words in (f"addr add {self.address}/24 dev eth0", "link set eth0 up"):
            subprocess.run([*ENTER, str(self.init().pid), "ip", *words.split()], check=True)
        # Ray looks for its own address on the way to the internet
        self.output("ip", "route", "add", "default", "via", self.address)

    def is_on(self) -> bool:
        return self.power is not None

    def init(self) -> psutil.Process:
        """Return number 1."""
        assert self.power, f"{self.name} is off"
        (process,) = psutil.Process(self.power.pid).children()
        return process

    def power_off(self) -> None:
        """Have everything on it gone at once, with no word to the others."""
        assert self.power
        # processes that are killed close their connections: nobody is to hear of it
        self.network.ip(f"link delete {self.port}")
        self.init().kill()
        release(self.power)
        self.power = None

    def close(self) -> None:
        """End its processes, and the relay."""
        for process in (self.power, self.relay):
            if process:
                release(process)

    def link(self, state: str) -> None:
        """Pull its cable (`"down"`), or plug it in again (`"up"`)."""
        self.network.ip(f"link set {self.port} {state}")

    def run(self, *command: str, **variables: str) -> HostProcess:
        """Start a command in the checkout, with no variables but these."""
        own = {"PATH": PATH, "HOME": self.home, "PYTHONPATH": ROOT, "TERM": "dumb"}
        words = [f"{name}={value}" for name, value in {**own, **variables}.items()]
        return HostProcess(
            [*ENTER, str(self.init().pid), "env", "-i", "-C", str(ROOT), *words, *command],
            stdin=subprocess.DEVNULL,
            stdout=PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def output(self, *command: str, timeout: float = 60.0, **variables: str) -> str:
        """Run a command, which must succeed within some seconds; return what it wrote."""
        process = self.run(*command, **variables)
        try:
            output, _ = process.communicate(timeout=timeout)
        finally:
            process.kill()
        assert process.returncode == 0, output
        return output

    def path(self, inside: Path | str) -> Path:
        """Return where a path below the host's /tmp is found from outside, also when it is off."""
        return self.disk / Path(inside).relative_to("/")

    def processes(self, title: str = "") -> list[psutil.Process]:
        """Return the host's processes whose command line contains a text."""
        own = Path(f"/proc/{self.init().pid}/ns/pid").readlink()
        return [
            process
            for process in psutil.process_iter()
            if namespace_of(process) == own and title in command_line(process)
        ]

    def signal_raylet(self, number: int) -> None:
        """Send a signal to Ray's process that stands for the node."""
        (raylet,) = self.processes(RAYLET)
        raylet.send_signal(number)

    def traffic(self) -> tuple[int, int]:
        """Return how many bytes eth0 has received, and sent, since the host booted."""
        lines = Path(f"/proc/{self.init().pid}/net/dev").read_text().splitlines()
        (line,) = [line for line in lines if line.strip().startswith("eth0:")]
        counts = line.partition(":")[2].split()
        return int(counts[0]), int(counts[8])

    def slow(
        self, delay_s: float, *, jitter_s: float = 0.0, loss: float = 0.0, seed: int = 0
    ) -> None:
        """Put a relay between the host and the switch.

        Args:
            delay_s: of every frame, in each direction.
            jitter_s: most that is added to it, at random.
            loss: probability that a frame is lost.
            seed: of the generator that draws both.
        """
        assert self.relay is None
        self.bridge, near, far = f"slow-{self.port}", f"near-{self.port}", f"far-{self.port}"
        script = [sys.executable, str(Path(__file__).with_name("slow_link.py")), near, far]
        numbers = [str(number) for number in (delay_s, jitter_s, loss, seed)]
        self.relay = holding(self.network.on_switch([*script, *numbers]))
        self.network.ip(f"link add {self.bridge} type bridge")
        self.network.ip(f"link set {self.bridge} up")
        self.network.ip(f"link set {near} master {self.bridge} up")
        self.network.ip(f"link set {far} master br0 up")
        self.network.ip(f"link set {self.port} master {self.bridge}")

    def fast(self) -> None:
        """Remove the relay, if there is one."""
        if self.relay is None:
            return
        if self.is_on():
            self.network.ip(f"link set {self.port} master br0")
        self.network.ip(f"link delete {self.bridge}")
        self.bridge = "br0"
        release(self.relay)
        self.relay = None


def holding(command: list[str]) -> subprocess.Popen[str]:
    """Start a process that says when it is ready, and ends with its standard input."""
    process = subprocess.Popen(
        command, stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True, start_new_session=True
    )
    assert process.stdout
    if not process.stdout.readline():
        raise OSError(f"{' '.join(command)} has ended: {process.communicate()[1]}")
    return process


def release(process: subprocess.Popen[str]) -> None:
    """Close a process's standard input, and wait for its end."""
    process.communicate(timeout=20)


def namespace_of(process: psutil.Process) -> Path | None:
    """Return the process's PID namespace; nothing once it is gone, also for a zombie."""
    try:
        return Path(f"/proc/{process.pid}/ns/pid").readlink()
    except OSError:
        return None


def command_line(process: psutil.Process) -> str:
    """Return the words of a process's command; nothing once it is gone."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
