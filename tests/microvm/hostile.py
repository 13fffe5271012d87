"""Code that hostile functions in a machine are made of, beside that of tests/system. Nothing of it starts a process."""

MACHINE = """
import resource, select, time

def tries(actions):
    return {name: attempt(lambda: eval(action, globals())) for name, action in actions.items()}

def reach(family, targets, seconds):
    "What comes of connecting to each of them, all at once: open, closed, said ..., the name of an error, or nothing."
    dialled = []
    for target in targets:
        dialled.append(socket.socket(family, socket.SOCK_STREAM))
        dialled[-1].setblocking(False)
        dialled[-1].connect_ex(tuple(target))
    time.sleep(seconds)
    return [[*target, fate(each)] for target, each in zip(targets, dialled)]

def fate(connection):
    waiting = select.poll()
    waiting.register(connection, select.POLLOUT)
    with connection:
        if not waiting.poll(0):
            return "nothing"
        if error := connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            return errno.errorcode[error]
        try:
            said = connection.recv(64)
            return f"said {said!r}" if said else "closed"
        except BlockingIOError:
            return "open"
        except OSError as error:
            return errno.errorcode[error.errno]

def forge(source, target):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.IPPROTO_IP, 15, 1)  # IP_FREEBIND
        sender.bind((source, 0))
        return sender.sendto(b"x", (target, 53))

def accepted(seconds):
    "How many came to a door that was open so long."
    count, until = 0, time.monotonic() + seconds
    with socket.create_server(("0.0.0.0", 8000)) as door:
        while (left := until - time.monotonic()) > 0:
            door.settimeout(left)
            try:
                door.accept()[0].close()
                count += 1
            except TimeoutError:
                pass
    return count

def answer(url, headers):
    try:
        return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=250).status
    except urllib.error.HTTPError as error:
        return error.code

def ask(family, address, request):
    with socket.socket(family, socket.SOCK_STREAM) as connection:
        connection.settimeout(30)
        connection.connect(address if isinstance(address, int) else tuple(address))
        connection.sendall(request.encode())
        return connection.recv(12).decode()

def hold(family, address, count):
    "Many connections, kept for the next invocations."
    for _ in range(count):
        kept.append(socket.socket(family, socket.SOCK_STREAM))
        kept[-1].setblocking(False)
        kept[-1].connect_ex(tuple(address))
    return len(kept)

kept = []

def release():
    while kept:
        kept.pop().close()

def threads():
    "As many as there may be: how many, and the error that ended it. They last until the machine ends."
    attributes, thread, count = ctypes.create_string_buffer(64), ctypes.c_ulong(), 0
    libc.pthread_attr_init(attributes)
    libc.pthread_attr_setstacksize(attributes, ctypes.c_size_t(16384))
    while not (error := libc.pthread_create(ctypes.byref(thread), attributes, ctypes.cast(libc.pause, ctypes.c_void_p), None)):
        count += 1
    return count, error

def raw(head, size):
    "On the runtime channel: these bytes, and so many more."
    with socket.socket(fileno=os.dup(4)) as channel:
        channel.sendall(bytes.fromhex(head))
        for _ in range(size >> 16):
            channel.sendall(bytes(1 << 16))
"""
