"""A process that runs one program and tells what it took; a script, never imported.

It is started as `python -I -S launch.py` because it has to be small: Linux counts the memory of
the process that starts a program as that program's peak (exec keeps the largest resident set seen),
and a Python with numpy is larger than qemu-img.

stdin: JSON, `argv` and `sync` (a path, or null). The program's output goes to stderr. stdout: JSON:
`status` as wait4 tells it, `wall_s`, `cpu_s` (with the sync, which counts as the program's),
`peak_rss` in bytes, `error` where the program cannot be run.
"""

import json
import os
import signal
import sys
import time


def main() -> int:
    order = json.load(sys.stdin)
    actions = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0), (os.POSIX_SPAWN_DUP2, 2, 1)]
    # The whole group is asked to stop: the program cleans up, and this process waits for it.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    argv = order["argv"]
    own, started = time.process_time(), time.monotonic()
    try:
        pid = os.posix_spawnp(
            argv[0], argv, os.environ, file_actions=actions, setsigdef=[signal.SIGTERM]
        )
        _, status, usage = os.wait4(pid, 0)
        if order["sync"] is not None and status == 0:
            target = os.open(order["sync"], os.O_RDONLY)
            os.fsync(target)
            os.close(target)
    except OSError as error:
        json.dump({"error": error.strerror}, sys.stdout)
        return 0
    wall = time.monotonic() - started
    cpu = usage.ru_utime + usage.ru_stime + time.process_time() - own
    found = {"status": status, "wall_s": wall, "cpu_s": cpu, "peak_rss": usage.ru_maxrss * 1024}
    json.dump(found, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
