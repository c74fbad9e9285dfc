"""python -m gluon_bnn doctor | check"""
import argparse
import json
import sys


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m gluon_bnn",
                                     description="Binary neural networks for Apache MXNet/Gluon.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="doctor|check")
    for name, text in (("doctor", "say what is installed, what is missing and what to do about it"),
                       ("check", "check every operator and layer against the NumPy reference")):
        command = commands.add_parser(name, help=text,
                                      description=text + "; exit code 0 when all is well, else 1")
        command.add_argument("--json", action="store_true", help="print JSON instead of text")
    args = parser.parse_args(argv)
    if args.command == "doctor":
        from . import doctor
        report = doctor.examine()
        print(json.dumps(report, indent=1) if args.json else doctor.describe(report))
        return 0 if report["ok"] else 1
    try:
        from . import check
    except (ImportError, OSError) as error:
        sys.exit(f"{error}\n`python -m gluon_bnn doctor` says more")
    table = check.check()
    if args.json:
        # JSON has no infinity, which stands for "wrong where it has to be exact": null there
        rows = [{key: None if value == float("inf") else value for key, value in row.items()}
                for row in table]
        print(json.dumps({"ok": table.ok, "rows": rows}, indent=1, allow_nan=False))
    else:
        failed = sum(not row["ok"] for row in table)
        print(table)
        print(f"{len(table)} checks, {failed} failed; errors and bounds are in units of eps times "
              "the sum of magnitudes")
    return 0 if table.ok else 1


if __name__ == "__main__":
    sys.exit(main())
