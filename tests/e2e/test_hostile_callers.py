"""What callers do to the public ports who know no manners: the others are served, and no process dies of it."""
import pathlib
import resource
import socket
import struct
import time

import pytest

from support.grpc_client import GrpcClient

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADERS, RST_STREAM, SETTINGS, PING = 1, 3, 4, 6


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def literal(name, value):
    """A header field that is in no table (HPACK, RFC 7541, 6.2.2)."""
    return b"\x00" + bytes((len(name),)) + name + bytes((len(value),)) + value


REQUEST = b"".join(literal(*pair) for pair in (
    (b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/aima.device.v1.DeviceService/Info"), (b":authority", b"x"),
    (b"te", b"trailers"), (b"content-type", b"application/grpc")))


def connect(port):
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def send_until_refused(connection, data, times):
    try:
        for _ in range(times):
            connection.sendall(data)
    except OSError:
        return True
    return False


@pytest.fixture
def gateway(cluster):
    """Checks that the gateway which met the hostile caller is the one that answers afterwards, on both ports."""
    pid = cluster.processes()["gateway"]
    yield pid
    with GrpcClient(cluster.grpc_port) as client:
        assert client.call("aima.device.v1.DeviceService.Info").memory.total > 0
    assert cluster.execute("device.info")["memory"]["total"] > 0
    assert cluster.processes()["gateway"] == pid


def memory_of(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) * 1024


def test_when_descriptors_run_out_the_ports_come_back(cluster, gateway):
    before = resource.prlimit(gateway, resource.RLIMIT_NOFILE)
    resource.prlimit(gateway, resource.RLIMIT_NOFILE, (80, before[1]))
    try:
        hoard = [connect(port) for port in (cluster.grpc_port, cluster.http_port) for _ in range(80)]
        for connection in hoard:
            connection.close()
    finally:
        resource.prlimit(gateway, resource.RLIMIT_NOFILE, before)


def test_calls_that_are_begun_and_reset_without_end_cost_one_connection(cluster, gateway):
    before = memory_of(gateway)
    with connect(cluster.grpc_port) as connection:
        connection.sendall(PREFACE + frame(SETTINGS, 0, 0))
        pairs = b"".join(frame(HEADERS, 5, 2 * i + 1, REQUEST) + frame(RST_STREAM, 0, 2 * i + 1, struct.pack(">I", 8))
                         for i in range(50_000))
        send_until_refused(connection, pairs, 1)
    assert memory_of(gateway) - before < 64 << 20


def test_pings_whose_answers_nobody_reads_are_not_kept(cluster, gateway):
    before = memory_of(gateway)
    with connect(cluster.grpc_port) as connection:
        connection.settimeout(3)
        connection.sendall(PREFACE + frame(SETTINGS, 0, 0))
        send_until_refused(connection, frame(PING, 0, 0, b"12345678") * 10_000, 200)
    assert memory_of(gateway) - before < 64 << 20


def test_headers_without_end_are_refused(cluster, gateway):
    before = memory_of(gateway)
    with connect(cluster.grpc_port) as connection:
        connection.settimeout(3)
        connection.sendall(PREFACE + frame(SETTINGS, 0, 0) + frame(HEADERS, 0, 1, REQUEST))
        field = literal(b"x-filler", b"y" * 120) * 100
        assert send_until_refused(connection, frame(9, 0, 1, field) * 10, 1000)
    assert memory_of(gateway) - before < 64 << 20


def test_headers_that_unpack_to_very_much_are_refused(cluster, gateway):
    before = memory_of(gateway)
    # One long field goes into the table; each byte after it stands for the whole field (RFC 7541, 6.2.1 and 6.1).
    size = 3900
    long = b"\x40\x01x" + b"\x7f" + bytes(((size - 127) & 127 | 128, (size - 127) >> 7)) + b"y" * size
    with connect(cluster.grpc_port) as connection:
        connection.settimeout(5)
        connection.sendall(PREFACE + frame(SETTINGS, 0, 0))
        for stream in range(1, 41, 2):
            connection.sendall(frame(HEADERS, 0, stream, REQUEST + (long if stream == 1 else b"") + b"\xbe" * 8000)
                               + frame(9, 4, stream, b"\xbe" * 8000))
        with GrpcClient(cluster.grpc_port) as client:
            assert client.call("aima.device.v1.DeviceService.Info").memory.total > 0
        assert memory_of(gateway) - before < 64 << 20


def test_a_deadline_in_ten_thousand_years_costs_nothing(cluster, gateway):
    def cpu():
        fields = pathlib.Path(f"/proc/{gateway}/stat").read_text().rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])
    watch = b"".join(literal(*pair) for pair in (
        (b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/grpc.health.v1.Health/Watch"), (b":authority", b"x"),
        (b"te", b"trailers"), (b"content-type", b"application/grpc"), (b"grpc-timeout", b"99999999H")))
    with connect(cluster.grpc_port) as connection:
        connection.sendall(PREFACE + frame(SETTINGS, 0, 0) + frame(HEADERS, 4, 1, watch) + frame(0, 1, 1, bytes(5)))
        connection.settimeout(5)
        assert connection.recv(65536)
        time.sleep(11)  # until the connection's own first deadline has passed
        before = cpu()
        time.sleep(2)
        assert cpu() - before < 100, "ticks of 10 ms in two seconds"


def test_connections_that_say_nothing_hinder_nobody(cluster, gateway):
    idle = [connect(cluster.grpc_port) for _ in range(200)]
    half = connect(cluster.grpc_port)
    half.sendall(PREFACE[:10])
    with GrpcClient(cluster.grpc_port) as client:
        assert client.call("aima.device.v1.DeviceService.Info").memory.total > 0
    for connection in [*idle, half]:
        connection.close()


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01", b"\x00" * 4096,
                                  PREFACE + b"\xff" * 4096, PREFACE + frame(SETTINGS, 0, 0) + frame(HEADERS, 5, 2, REQUEST)],
                         ids=["http1", "tls", "zeros", "no-frames", "even-stream"])
def test_what_is_no_grpc_is_cut_off(cluster, gateway, data):
    with connect(cluster.grpc_port) as connection:
        connection.sendall(data)
        while connection.recv(65536):
            pass
