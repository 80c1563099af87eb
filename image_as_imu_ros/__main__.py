"""`image-as-imu NAME …` and `python -m image_as_imu_ros NAME …` run a command without a ROS installation."""

import sys

from image_as_imu_ros.commands import COMMANDS, print_any_text, run


def main() -> int:
    """Run the command that the program's first argument names, or list all of them; return its exit code."""
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in COMMANDS:
        return run(name, arguments)
    print_any_text()
    if not name.startswith("-"):
        print(f"image-as-imu: there is no command {name!r}", file=sys.stderr)
    print("usage: image-as-imu COMMAND [--help], or python -m image_as_imu_ros COMMAND\n\ncommands:")
    for command, (_, summary) in COMMANDS.items():
        print(f"  {command:20} {summary}")
    return 0 if name in ("-h", "--help") else 2


if __name__ == "__main__":  # benchmark starts processes, which import this
    sys.exit(main())
