# make demo   see it work, without a robot or a ROS installation
# make test   run the tests
# Both install what they need into .venv first.
# make test-distribution   the runtime's tests with the packages of Debian, ROS 2 Humble and Jazzy, the lowest and the newest
# make test-launch   the launch files under the real ros2 launch, on a machine without ROS

PYTHON ?= python3
export AMENT_PREFIX_PATH := $(CURDIR)/.venv$(if $(AMENT_PREFIX_PATH),:$(AMENT_PREFIX_PATH))

.PHONY: demo test test-distribution test-launch clean

demo: .venv/demo-installed
	.venv/bin/python -m image_as_imu_ros demo --output output/demo

# Integration tests take all cores themselves: nodes, and tests that are their cameras.
test: .venv/test-installed
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n auto test/unit
	.venv/bin/python -m pytest test/integration

test-distribution:
	tools/test_distribution.sh

test-launch: .venv/test-installed
	tools/test_launch.sh

.venv/demo-installed: pyproject.toml setup.py setup.cfg package.xml constraints.txt
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[ros,fast]'
	touch $@

.venv/test-installed: .venv/demo-installed
	.venv/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[ros,fast,test,train]'
	touch $@

clean:
	rm -rf .venv .venv-* output build install log *.egg-info
