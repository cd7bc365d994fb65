"""Starts programs so that an interruption leaves none behind: one that came into subprocess.Popen would leave a child that nobody knows of.

    signal.signal(signal.SIGINT, children.interrupted)
    try:
        children.run(["ffmpeg", …])
    finally:
        children.end_all()
"""
import contextlib
import signal
import subprocess

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_started, _holding, _held = [], False, None


def _leave(number):
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)  # tidying up is not interrupted
    raise SystemExit(128 + number)


def interrupted(number, _):
    """The handler: ends the program with SystemExit, at once or when what must not be interrupted is done."""
    global _held
    if _holding:
        _held = number
    else:
        _leave(number)


@contextlib.contextmanager
def held():
    """What is done here is done before an interruption. Not to be nested."""
    global _holding
    _holding = True
    try:
        yield
    finally:
        _holding = False
        if _held is not None:
            _leave(_held)


def start(words, **options):
    """As subprocess.Popen."""
    with held():
        child = subprocess.Popen([str(word) for word in words], **options)
        _started[:] = [other for other in _started if other.returncode is None] + [child]
    return child


def run(words, check=False, **options):
    """As subprocess.run."""
    with start(words, stdin=subprocess.DEVNULL, **options) as child:
        try:
            out, err = child.communicate()
        except BaseException:
            child.kill()
            raise
    done = subprocess.CompletedProcess(child.args, child.returncode, out, err)
    if check:
        done.check_returncode()
    return done


def end_all():
    for child in _started:
        if child.poll() is None:
            child.kill()
            child.wait()
