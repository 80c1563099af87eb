"""`python -m image_as_imu_ros NAME …` runs a command without a ROS installation."""

import sys

from image_as_imu_ros.commands import COMMANDS, run

if __name__ == "__main__":  # benchmark starts processes, which import this
    if len(sys.argv) > 1 and sys.argv[1] in COMMANDS:
        sys.exit(run(sys.argv[1], sys.argv[2:]))
    print("usage: python -m image_as_imu_ros COMMAND [--help]\n\ncommands:")
    for name, (_, summary) in COMMANDS.items():
        print(f"  {name:20} {summary}")
    sys.exit(0 if sys.argv[1:] in ([], ["-h"], ["--help"]) else 2)
