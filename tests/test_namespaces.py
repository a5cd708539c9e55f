"""The hosts that other tests run on: what they share, what they do not, and how they end."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.hosts import ROOT, Network, network

LISTEN = """
import socket
server = socket.create_server(("", 5000))
print("listening", flush=True)
connection, _ = server.accept()
connection.settimeout(3)
try:
    while text := connection.recv(100):
        connection.send(text)
    print("closed")
except TimeoutError:
    print("silent")
"""
TALK = """
import socket, sys, time
connection = socket.create_connection((sys.argv[1], 5000))
for _ in range(5):
    began = time.monotonic()
    connection.send(b"x" * 50)
    connection.recv(100)
    print(time.monotonic() - began, flush=True)
time.sleep(float(sys.argv[2]))
"""
HOLD = """
import sys, tempfile, time
from pathlib import Path
from tests.hosts import network
with network(2, Path(sys.argv[1])) as made:
    made.hosts[0].run("sleep", "1000")
    made.hosts[1].slow(0.01)
    print(made.switch.pid, *(host.init().pid for host in made.hosts), flush=True)
    time.sleep(1000)
"""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    with network(2, tmp_path_factory.mktemp("hosts")) as made:
        yield made


def talk(pair: Network, *, stay_s: float = 0.0) -> list[float]:
    """Have the first host send five times to the second; return the seconds of each answer."""
    first, second = pair.hosts
    listener = second.run("python", "-c", LISTEN)
    assert listener.stdout
    listener.stdout.readline()
    try:
        lines = first.output("python", "-c", TALK, second.address, str(stay_s)).split()
        assert listener.wait(10) == 0
    finally:
        listener.kill()
    return [float(line) for line in lines]


def test_a_host_has_its_own_name_processes_folders_and_memory(pair: Network) -> None:
    first, second = pair.hosts
    look = "hostname; echo $HOME; pwd; cat /tmp/mark /dev/shm/mark; ps ax -o args | grep -c slee[p]"
    first.output("sh", "-c", "echo disk > /tmp/mark; echo memory > /dev/shm/mark")
    process = first.run("sleep", "100")
    try:
        assert len(first.processes("sleep 100")) == 1
        assert second.processes("sleep 100") == []
        seen = first.output("sh", "-c", look).split()
        assert seen == ["h0", "/tmp/home", str(ROOT), "disk", "memory", "1"]
    finally:
        process.terminate()
    assert process.wait(5) == -signal.SIGTERM
    assert first.path("/tmp/mark").read_text() == "disk\n"
    assert not second.path("/tmp/mark").exists()


def test_what_goes_over_the_link_is_counted_and_a_slow_one_delays_it(pair: Network) -> None:
    first, second = pair.hosts
    before = first.traffic()
    assert max(talk(pair)) < 0.05
    received, sent = (now - then for now, then in zip(first.traffic(), before, strict=True))
    assert 250 < received < 5000
    assert 250 < sent < 5000
    second.slow(0.05, jitter_s=0.01, loss=0.02, seed=1)
    assert 0.1 < sorted(talk(pair))[2] < 0.2
    second.fast()
    assert max(talk(pair)) < 0.05


@pytest.mark.thorough
def test_a_host_without_power_is_silent_and_boots_with_its_disk(pair: Network) -> None:
    first, second = pair.hosts
    second.output("sh", "-c", "echo kept > /tmp/mark; echo lost > /dev/shm/mark")
    listener = first.run("python", "-c", LISTEN)
    assert listener.stdout
    listener.stdout.readline()
    talker = second.run("python", "-c", TALK, first.address, "100")
    assert talker.stdout
    talker.stdout.readline()
    second.power_off()
    assert talker.wait(5) == -signal.SIGKILL
    # neither FIN nor RST: it waits for its own deadline
    assert listener.communicate(timeout=20)[0] == "silent\n"
    second.boot()
    assert second.output("sh", "-c", "cat /tmp/mark; ls /dev/shm") == "kept\n"
    assert len(talk(pair)) == 5


def test_a_pulled_cable_breaks_no_connection(pair: Network) -> None:
    first, second = pair.hosts
    listener = second.run("python", "-c", LISTEN)
    assert listener.stdout
    listener.stdout.readline()
    second.link("down")
    talker = first.run("python", "-c", TALK, second.address, "0")
    time.sleep(1)
    assert talker.poll() is None
    second.link("up")
    assert len(talker.communicate(timeout=30)[0].split()) == 5
    assert listener.communicate(timeout=20)[0] == "closed\n"


@pytest.mark.thorough
def test_nothing_is_left_of_a_process_that_is_killed(pair: Network, tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    held = [psutil.Process(int(word)) for word in process.stdout.readline().split()]
    assert len(held) == 3
    below = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate()
    _, left = psutil.wait_procs([*held, *below], timeout=10)
    assert left == []
