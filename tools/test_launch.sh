#!/usr/bin/env bash
# Runs test/integration/test_launch_process.py, the launch files under the real `ros2 launch`, without a ROS installation:
# launch, launch_ros and ros2cli, which are not on PyPI, are cloned and installed into .venv-launch, beside .venv. They
# are Jazzy's, as ros-rclpy is.
set -eu
cd "$(dirname "$0")/.."
python=.venv/bin/python folder=$PWD/.venv-launch

if [ ! -e "$folder/complete" ]; then
    rm -rf "$folder"
    mkdir -p "$folder/sources"
    for repository in launch launch_ros ros2cli; do
        git clone --quiet --depth 1 --branch jazzy "https://github.com/ros2/$repository" "$folder/sources/$repository"
    done
    (
        cd "$folder/sources"
        "$OLDPWD/$python" -m pip install --quiet --no-deps --target "$folder" \
            launch/launch launch/launch_xml launch/launch_yaml launch_ros/launch_ros launch_ros/ros2launch \
            ros2cli/ros2cli ros2cli/ros2pkg osrf-pycommon argcomplete
    )
    # launch_ros imports this package, which is generated, for composable nodes alone; there are none here.
    mkdir "$folder/composition_interfaces"
    touch "$folder/composition_interfaces/__init__.py"
    printf 'class LoadNode:\n    Request = Response = None\n' >"$folder/composition_interfaces/srv.py"
    touch "$folder/complete"
fi

export PYTHONPATH=$PWD:$folder AMENT_PREFIX_PATH=$folder:$PWD/.venv
"$python" -m pytest test/integration/test_launch_process.py "$@"
