"""A terminal of a given width, and what a program shows in it."""

import fcntl
import os
import pty
import struct
import subprocess
import termios

import pytest


def shown(command, columns, **options):
    """What a command writes to a terminal: the states of each line, in order; it must end with status 0."""
    try:
        ours, theirs = pty.openpty()
    except OSError as error:
        pytest.skip(f"this system has no terminals to give, as where /dev/pts is not mounted: {error}")
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, **options)
    os.close(theirs)
    content = b""
    try:
        while piece := os.read(ours, 1 << 16):
            content += piece
    except OSError:  # EIO: the program has closed it
        pass
    os.close(ours)
    text = content.decode()
    assert process.wait() == 0, text
    return [state for line in text.split("\n") for state in line.split("\r") if state.strip()]
