# A child that a document has taken over: speaks the protocol, and tells as the text of its page what became of each deed.
import ctypes, errno, fcntl, json, os, signal, socket, struct, sys, time

PORT, UNIX, OUTSIDE, LINK, DEEDS = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4], sys.argv[5].split(",")
PARENT = os.getppid()
libc = ctypes.CDLL(None, use_errno=True)


def call(*arguments):
    if libc.syscall(*(ctypes.c_long(argument) for argument in arguments)) < 0:
        raise OSError(ctypes.get_errno(), "")


def library(name, *arguments):
    if getattr(libc, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), "")


def fork_bomb():
    forked = 0
    try:
        while forked < 5_000:
            if os.fork() == 0:
                time.sleep(60)
                os._exit(0)
            forked += 1
    finally:
        note("forked %d" % forked)


def file_in_memory_of_10_gb():
    os.ftruncate(os.memfd_create("more"), 10 * 2**30)


def unix_socket():
    socket.socket(socket.AF_UNIX).connect(UNIX)


def signal_by_pipe():
    # What is written into the pipe becomes a SIGKILL for the owner.
    end, start = os.pipe()
    fcntl.fcntl(end, fcntl.F_SETOWN, PARENT)
    fcntl.fcntl(end, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(end, fcntl.F_SETFL, os.O_ASYNC)
    os.write(start, b"x")


def own_pipe(command, argument):
    fcntl.fcntl(os.pipe()[0], command, argument)


deeds = {
    "nothing": lambda: None,
    "connect-tcp": lambda: socket.create_connection(("127.0.0.1", PORT), 5),
    "connect-unix": unix_socket,
    "read-passwd": lambda: open("/etc/passwd").read(),
    "read-environment": lambda: open("/proc/%d/environ" % PARENT).read(),
    "read-memory": lambda: open("/proc/%d/mem" % PARENT, "rb"),
    "read-what-was-left-open": lambda: os.read(9, 1),
    "list-root": lambda: os.listdir("/"),
    "follow-link": lambda: open(LINK).read(),
    "make-link": lambda: os.symlink("/etc/passwd", OUTSIDE + "/link"),
    "write-outside": lambda: open(OUTSIDE + "/file", "w").write("x"),
    "make-directory": lambda: os.mkdir(OUTSIDE + "/directory"),
    "write-null": lambda: open("/dev/null", "w").write("x"),
    "start-shell": lambda: os.execv("/bin/sh", ["sh", "-c", "exit 0"]),
    "trace-parent": lambda: library("ptrace", 16, PARENT, None, None),
    "kill-parent": lambda: os.kill(PARENT, signal.SIGKILL),
    "kill-parents-thread": lambda: library("tgkill", PARENT, PARENT, signal.SIGKILL),
    "kill-parent-by-pipe": signal_by_pipe,
    "choose-signal": lambda: own_pipe(fcntl.F_SETSIG, signal.SIGKILL),
    "ask-for-signals": lambda: own_pipe(fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK),
    "own-by-structure": lambda: own_pipe(15, struct.pack("ii", 1, PARENT)),
    "notify-of-directory": lambda: fcntl.fcntl(os.open("/usr/lib", os.O_RDONLY), fcntl.F_NOTIFY, fcntl.DN_CREATE),
    "lease": lambda: own_pipe(fcntl.F_SETLEASE, fcntl.F_RDLCK),
    "copy-and-unblock": lambda: own_pipe(fcntl.F_DUPFD, 20) or own_pipe(fcntl.F_SETFL, os.O_NONBLOCK),
    "limit-parent": lambda: library("prlimit", PARENT, 7, None, ctypes.create_string_buffer(16)),
    "outlive-parent": lambda: library("prctl", 1, 0, 0, 0, 0),
    "leave-group": os.setsid,
    "become-root": lambda: os.setuid(0),
    "new-namespace": lambda: library("unshare", 0x10000000),
    "mount": lambda: library("mount", b"none", b"/mnt", b"tmpfs", 0, None),
    "io-uring": lambda: call(425, 8, 0),
    "bpf": lambda: call({"x86_64": 321}.get(os.uname().machine, 280), 0, 0, 0),
    "kernel-keys": lambda: call({"x86_64": 250}.get(os.uname().machine, 219), 0, -3, 0),
    "memory-10-gb": lambda: bytearray(10 * 2**30),
    "file-10-gb": file_in_memory_of_10_gb,
    "fork-bomb": fork_bomb,
}


def note(text):
    os.write(notes[1], text.encode() + b"\n")


def outcome(name):
    """In a process of its own, as some deeds end who does them."""
    pid = os.fork()
    if pid == 0:
        try:
            deeds[name]()
            said = "done"
        except MemoryError:
            said = "ENOMEM"
        except OSError as error:
            said = errno.errorcode.get(error.errno, str(error))
        note("%s %s" % (name, said))
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    if os.WIFSIGNALED(status):
        note("%s %s" % (name, signal.Signals(os.WTERMSIG(status)).name))


def receive():
    lengths = sys.stdin.buffer.read(8)
    if len(lengths) < 8:
        os._exit(0)
    head, body = struct.unpack(">II", lengths)
    head = json.loads(sys.stdin.buffer.read(head))
    sys.stdin.buffer.read(body)
    return head


def send(head, body=b""):
    head = json.dumps(head).encode()
    sys.stdout.buffer.write(struct.pack(">II", len(head), len(body)) + head + body)
    sys.stdout.buffer.flush()


notes = os.pipe()
send({"reply": "ready", "tesseract": "5", "poppler": "22", "jail": {"held": [], "missing": []}})
while True:
    if receive()["ask"] == "open":
        send({"reply": "opened", "pages": 1})
        continue
    if DEEDS == ["endless-output"]:
        while True:
            os.write(1, b"y" * 65536)
    if DEEDS == ["itself-a-socket"]:
        socket.socket()
    for deed in DEEDS:
        outcome(deed)
    text = os.read(notes[0], 65536)
    send({"reply": "page", "source": "ocr", "confidence": None, "words": 1, "text_bytes": len(text)}, text)
