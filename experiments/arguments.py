"""What the scripts' command lines share."""
import argparse
import shlex


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults where there are any."""

    def _get_help_string(self, action):
        return action.help if action.default in (None, False) else super()._get_help_string(action)


def positive(kind):
    """An argparse type: a finite number of this kind above zero."""
    def parse(text):
        value = kind(text)
        if not 0 < value < float("inf"):
            raise argparse.ArgumentTypeError(f"must be above 0, got {text}")
        return value
    parse.__name__ = f"positive {kind.__name__}"
    return parse


def none_or(kind):
    """An argparse type: "none" or what `kind` takes."""
    def parse(text):
        return None if text == "none" else kind(text)
    parse.__name__ = f"{kind.__name__} or none"
    return parse


def not_negative(text):
    """An argparse type: a finite number of at least 0."""
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be at least 0, got {text}")
    return value


def fraction(text):
    """An argparse type: a number of at least 0 and below 1."""
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 0 and below 1, got {text}")
    return value


def read_arguments(line):
    """The arguments on a line of a file of them, as a shell would split it; # begins a comment."""
    return shlex.split(line, comments=True)
