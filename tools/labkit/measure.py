"""Runs a command and reports its wall time and its own peak memory: python3 -I -S measure.py FD CORES COMMAND...

A process of its own because a child starts with its parent's peak memory on Linux, and the lab's is hundreds of megabytes.
Writes "wall_s peak_rss_mb" to the file descriptor FD. CORES: "one" pins the command to one core, "all" does not.
"""
import os
import sys
import time


def main():
    report, cores, command = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
    if cores == "one":
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        os.close(report)
        os.execv(command[0], command)
    _, status, usage = os.wait4(child, 0)
    os.write(report, f"{time.monotonic() - started:.6f} {usage.ru_maxrss / 1024:.1f}".encode())
    code = os.waitstatus_to_exitcode(status)
    sys.exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main()
