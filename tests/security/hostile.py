"""Code that hostile functions are made of: what it evaluates is in the event."""

import json
from typing import Any

PRELUDE = """
import ctypes, errno, glob, json, os, socket, stat, struct, urllib.error, urllib.request
libc = ctypes.CDLL(None, use_errno=True)
block = ctypes.create_string_buffer(128)
vector = (ctypes.c_ulong * 2)(ctypes.addressof(block), 8)
counter = ctypes.create_string_buffer(struct.pack("II", 1, 112), 112)  # of the processor's time

def call(number, *arguments):
    result = libc.syscall(number, *arguments)
    return "allowed" if result >= 0 else errno.errorcode[ctypes.get_errno()]

def attempt(action):
    try:
        return ["allowed", repr(action())[:200]]
    except BaseException as error:
        return [type(error).__name__, getattr(error, "errno", None)]

def lambda_handler(event, context):
    return eval(event["run"], {**globals(), **event})

def connect(host, port, timeout=1.5):
    with socket.create_connection((host, port), timeout):
        return "allowed"

def unsigned(url):
    try:
        return urllib.request.urlopen(urllib.request.Request(url, data=b"{}"), timeout=5).status
    except urllib.error.HTTPError as error:
        return error.code
"""

CHANNEL = """
import array, fcntl, threading, time

def names_by_channel():
    found = set()
    for index in range(1, 2000):
        try:
            found.add(fcntl.ioctl(4, 0x8910, struct.pack("16si20x", b"", index))[:16].split(b"\\0")[0].decode())  # SIOCGIFNAME
        except OSError:
            pass
    return sorted(found)

def take_name(name):
    with socket.socket(fileno=os.dup(4)) as channel:
        channel.bind("\\0" + name)

def send_a_socket_that_lingers(seconds):
    listener = socket.create_server(("127.0.0.1", 0))
    sender = socket.create_connection(listener.getsockname())
    receiver, _ = listener.accept()
    sender.setblocking(False)
    try:
        while True:
            sender.send(bytes(65536))
    except BlockingIOError:
        pass
    globals()["kept"] = listener, receiver
    try:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, seconds))
        with socket.socket(fileno=os.dup(4)) as channel:
            channel.sendmsg([b"\\3"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [sender.fileno()]))])
    finally:
        os._exit(1)  # the last hold is then the one on its way to the host

def fill_sockets(mb):
    listener, kept, sent = socket.create_server(("127.0.0.1", 0), backlog=400), [], 0
    while sent < mb << 20 and len(kept) < 400:
        sender = socket.socket()
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 << 20)
        sender.connect(listener.getsockname())
        receiver, _ = listener.accept()
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        sender.setblocking(False)
        kept.append((sender, receiver))
        try:
            while sent < mb << 20:
                sent += sender.send(bytes(1 << 20))
        except BlockingIOError:
            pass
    return sent >> 20

def flood(seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        os.write(1, b"\\n" * 65536)

def daemon():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            while True:
                with open("/tmp/beat.new", "w") as file:
                    file.write(str(time.time()))
                os.rename("/tmp/beat.new", "/tmp/beat")
        os._exit(0)
    os.wait()
    while not os.path.exists("/tmp/beat"):
        time.sleep(0.01)
"""

# What no function may do. Each is an expression, and what is wanted of it is a refusal.
SYSTEM_CALLS = {
    "mount": "call(165, b'none', b'/tmp', b'tmpfs', 0, None)",
    "umount": "call(166, b'/proc', 2)",
    "open_tree": "call(428, -100, b'/', 1)",
    "fsopen": "call(430, b'tmpfs', 0)",
    "ptrace agent": "call(101, 16, 1, None, None)",
    "ptrace traceme": "call(101, 0, 0, None, None)",
    "process_vm_readv": "call(310, 1, vector, 1, vector, 1, ctypes.c_ulong(0))",
    "unshare user": "call(272, 0x10000000)",
    "unshare mount": "call(272, 0x00020000)",
    "setns": "call(308, os.open('/proc/self/ns/mnt', 0), 0)",
    "clone newuser": "call(56, 0x10000000 | 17, None, None, None, None)",
    "chroot": "call(161, b'/tmp')",
    "pivot_root": "call(155, b'/tmp', b'/tmp')",
    "bpf": "call(321, 0, None, 0)",
    "perf_event_open": "call(298, counter, -1, 0, -1, 0)",
    "userfaultfd": "call(323, 0)",
    "io_uring_setup": "call(425, 1, None)",
    "keyctl": "call(250, 0, 0, 0, 0, 0)",
    "open_by_handle_at": "call(304, -100, None, 0)",
    "init_module": "call(175, None, 0, None)",
    "kexec_load": "call(246, 0, 0, None, 0)",
    "reboot": "call(169, 0xfee1dead, 672274793, 0x1234567, None)",
    "setuid": "call(105, 0)",
    "mknod": "call(133, b'/tmp/disk', 0o060660, 0xfe00)",
    "sethostname": "call(170, b'x', 1)",
    "settimeofday": "call(164, None, None)",
    "swapon": "call(167, b'/tmp/x', 0)",
}
RAW_SOCKETS = {
    "raw": "socket.AF_INET, socket.SOCK_RAW, 1",
    "packet": "socket.AF_PACKET, socket.SOCK_RAW, 0",
    "vsock": "40, socket.SOCK_STREAM, 0",
    "netlink-netfilter": "16, socket.SOCK_RAW, 12",
}
NEAR = ("169.254.169.254", "10.255.255.1", "172.16.0.1", "192.168.0.1", "100.64.0.1")  # the metadata address, and private networks
PROTECTED = ("/x", "/var/task/x", "/var/runtime/x", "/opt/x", "/etc/x", "/usr/bin/x", "/.hanabi/x", "/dev/x")


def evaluate(client: Any, function: str, expression: str, **names: Any) -> Any:
    """What an expression gives inside a function whose code is PRELUDE; `names` are known to it."""
    answer = client.invoke(FunctionName=function, Payload=json.dumps({"run": expression, **names}).encode())
    result = json.loads(answer["Payload"].read())
    assert "FunctionError" not in answer, result
    return result
