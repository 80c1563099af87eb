#!/usr/bin/env bash
# Runs the runtime's tests with the packages that ROS machines have, each set in an environment of its own under .venv-*:
#
#   debian   Debian's or Ubuntu's own python3-numpy, -opencv, -matplotlib, -yaml, -tqdm, -jinja2 (apt)
#   humble   ROS 2 Humble's versions, Python 3.10
#   jazzy    ROS 2 Jazzy's versions, Python 3.12; Matplotlib's first release for that Python
#   floor    the lowest versions that pyproject.toml names, Python 3.10, and Numba, which the other sets do without
#   newest   what "pip install ." brings today to the machine's own Python
#
# None has the package onnx, and all but the newest have NumPy 1. A set whose Python or packages are not to be had here is
# skipped, and said so; if none is left, nothing was tested, and that is a failure.
# Arguments name the sets to run; without any, all.
set -eu
cd "$(dirname "$0")/.."

# All unit tests, and what reads files of others. Tests that need onnx, torch, ROS or a linter skip themselves; they run in
# `make test`. One short evaluation goes from a recording through network, solver, alignment, tracks and plots to a report.
# calibrate's take a minute in every set, and are left to `make test`, too.
TESTS=(test/unit --ignore=test/unit/test_calibration.py test/integration/test_{convert,convert_captures,field_cases}.py)
EVALUATION=(test/data/desk_rpy_3s --every 6 --exposure 0.0184 --baseline klt)
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} # matrices are small; where cores are busy, threads wait for each other
COMMON=(onnxruntime rosbags pytest pytest-xdist hypothesis)
skipped=()
ran=()

skip() {
    echo "SKIPPED: $1: $2"
    skipped+=("$1 ($2)")
}

# Of a Python with its version, the interpreter: of PATH, else one that pyenv has installed.
interpreter() {
    local candidate
    for candidate in "python$1" "$HOME"/.pyenv/versions/"$1".*/bin/python; do
        if "$candidate" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$1')" 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
}

# Name, interpreter, option of venv, requirements.
run() {
    local name=$1 python=$2 option=$3 folder=.venv-$1
    shift 3
    local started=$SECONDS
    echo "== $name: $*"
    [ -e "$folder/bin/python" ] || "$python" -m venv ${option:+"$option"} "$folder"
    echo "cython<3" >"$folder/build.txt" # PyYAML 5.4 has no wheel for Python 3.10, and builds with an old Cython
    export PIP_CONSTRAINT=$folder/build.txt PIP_BUILD_CONSTRAINT=$folder/build.txt # older pips know the first alone
    if ! "$folder/bin/python" -m pip install --quiet --disable-pip-version-check "$@" "${COMMON[@]}"; then
        skip "$name" "pip could not install $*"
        return
    fi
    PYTHONPATH=. "$folder/bin/python" -c '
import sys
from importlib.util import find_spec
import cv2, jinja2, matplotlib, numpy, onnxruntime, PIL, rosbags, tqdm, yaml
from importlib.metadata import version
from image_as_imu_ros.estimation import compiled
assert sys.argv[1] == "newest" or int(numpy.__version__.split(".")[0]) < 2, "something brought NumPy 2"
assert find_spec("onnx") is None, "something brought onnx"
print("versions:", sys.version.split()[0], "numpy", numpy.__version__, "opencv", cv2.__version__, "matplotlib",
      matplotlib.__version__, "onnxruntime", onnxruntime.__version__, "rosbags", version("rosbags"), "pyyaml",
      yaml.__version__, "pillow", PIL.__version__, "tqdm", tqdm.__version__, "jinja2", jinja2.__version__)
print(compiled.load())' "$name"
    PYTHONPATH=. "$folder/bin/python" -m pytest -q -p no:cacheprovider -n auto "${TESTS[@]}"
    PYTHONPATH=. "$folder/bin/python" -m image_as_imu_ros evaluate "${EVALUATION[@]}" --output "$folder/evaluation" >/dev/null
    "$folder/bin/python" - "$folder/evaluation" <<'END'
import json, sys
from pathlib import Path
frames = json.loads(Path(sys.argv[1], "metrics.json").read_text())["all"]["frames"]
report = Path(sys.argv[1], "report.html").stat().st_size
assert frames >= 10 and report, f"evaluate made {frames} estimates of 16 frames, and a report of {report} bytes"
print(f"evaluate: {frames} estimates of 16 frames, report.html")
END
    ran+=("$name, $(((SECONDS - started) / 60)) min")
    echo "$name took $((SECONDS - started)) s"
}

run_debian() {
    local have='import cv2, jinja2, matplotlib, numpy, tqdm, yaml, venv, ensurepip'
    local packages=(python3-numpy python3-opencv python3-matplotlib python3-yaml python3-tqdm python3-jinja2 python3-venv)
    if [ ! -x /usr/bin/python3 ] || [ ! -x /usr/bin/apt-get ]; then
        skip debian "no Debian or Ubuntu"
        return
    fi
    # Only a machine of continuous integration is nobody's: there the packages are installed.
    if ! /usr/bin/python3 -c "$have" 2>/dev/null && [ -n "${CI:-}" ] && [ "$(id -u)" = 0 ]; then
        (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
            "${packages[@]}") >/dev/null 2>&1 || true
    fi
    if ! /usr/bin/python3 -c "$have" 2>/dev/null; then
        skip debian "apt install ${packages[*]}"
        return
    fi
    local numpy
    numpy=$(/usr/bin/python3 -c 'import numpy; print(numpy.__version__)')
    run debian /usr/bin/python3 --system-site-packages "numpy==$numpy" "scipy<1.14"
}

run_pinned() {
    local name=$1 version=$2 python
    shift 2
    python=$(interpreter "$version")
    if [ -z "$python" ]; then
        skip "$name" "no Python $version"
        return
    fi
    run "$name" "$python" "" pyyaml tqdm jinja2 pillow "$@"
}

run_newest() {
    local python
    python=$(command -v python3) || {
        skip newest "no Python 3"
        return
    }
    run newest "$python" "" . scipy
}

sets=("$@")
[ ${#sets[@]} -gt 0 ] || sets=(debian humble jazzy floor newest)
for set in "${sets[@]}"; do
    case $set in
    debian) run_debian ;;
    humble) run_pinned humble 3.10 numpy==1.21.5 opencv-python-headless==4.5.4.60 matplotlib==3.5.1 scipy==1.8.0 ;;
    jazzy) run_pinned jazzy 3.12 numpy==1.26.4 opencv-python-headless==4.6.0.66 matplotlib==3.8.0 scipy==1.11.4 ;;
    floor)
        run_pinned floor 3.10 numpy==1.21.2 opencv-python-headless==4.5.4.60 matplotlib==3.5.0 scipy==1.8.0 \
            onnxruntime==1.12.0 rosbags==0.10.9 pyyaml==5.4.1 pillow==9.0.0 tqdm==4.57.0 jinja2==3.0.0 numba==0.55.0
        ;;
    newest) run_newest ;;
    *)
        echo "no set of packages $set: debian, humble, jazzy, floor, newest" >&2
        exit 2
        ;;
    esac
done
printf -v tested '%s; ' "${ran[@]:-none}"
echo "distributions tested: ${tested%; }"
[ ${#skipped[@]} -eq 0 ] || printf 'SKIPPED: %s\n' "${skipped[@]}"
if [ ${#ran[@]} -eq 0 ]; then
    echo "nothing was tested: every set was skipped, for the reasons above" >&2
    exit 1
fi
