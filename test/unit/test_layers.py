"""Imports point downwards: a room knows the rooms below it and none above.

Imports inside functions count. The commands' table names its modules by strings, which are no imports.
"""

import ast
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "image_as_imu_ros"
FOUNDATIONS = ("errors", "resources", "settings")
ROOMS = (  # from top to bottom
    "nodes",
    "commands",
    "demo",
    "evaluation",
    "recordings",
    "datasets",
    "estimation",
    "engine",
    "messages",
    "geometry",
)
ROS = {
    "builtin_interfaces",
    "cv_bridge",
    "diagnostic_msgs",
    "geometry_msgs",
    "launch",
    "launch_ros",
    "lifecycle_msgs",
    "nav_msgs",
    "rcl_interfaces",
    "rclpy",
    "rosbag2_py",
    "sensor_msgs",
    "std_msgs",
    "tf2_ros",
}
OFFLINE = {"torch", "torchvision", "lightning", "image_as_imu_training"}

MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


@cache
def imports_of(module: str) -> frozenset[str]:
    """List the full names of what a module imports, wherever in it."""
    return frozenset(_imports(module))


def _imports(module: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module, f"{module} has a relative import"
            assert not node.level, f"{module} has a relative import"
            # `from package import name`: the name may be a module.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_of(name: str) -> str | None:
    """Name the room of a module of the runtime; None for the package itself and for what is outside of it."""
    package, _, rest = name.partition(".")
    return rest.split(".")[0] if package == PACKAGE.name and rest else None


def level(room: str) -> int:
    """Count from the top. Foundations lie below all rooms, side by side."""
    return len(ROOMS) if room in FOUNDATIONS else ROOMS.index(room)


def violations(is_wrong: Callable[[str, str], bool]) -> set[tuple[str, str]]:
    """Find (module, import) for which `is_wrong(module, import)`."""
    return {(m, i) for m in MODULES for i in imports_of(m) if is_wrong(m, i)}


def test_every_module_has_a_room():
    at_the_door = {PACKAGE.name, f"{PACKAGE.name}.__main__"}
    assert {room_of(module) for module in MODULES.keys() - at_the_door} - {*FOUNDATIONS} == {*ROOMS}


@pytest.mark.parametrize("room", [*ROOMS, *FOUNDATIONS])
def test_a_room_imports_only_from_rooms_below(room):
    def points_up(module: str, imported: str) -> bool:
        to = room_of(imported)
        if room_of(module) != room or to == room:
            return False
        if imported.split(".")[0] == PACKAGE.name and (to is None or to not in (*ROOMS, *FOUNDATIONS)):
            return True  # the package itself: it re-exports what lies above
        return to is not None and level(to) < level(room)

    assert not violations(points_up)


def test_ros_is_imported_in_nodes_and_demo_only():
    assert not violations(lambda m, i: room_of(m) not in ("nodes", "demo") and i.split(".")[0] in ROS)


def test_the_runtime_never_imports_torch_or_the_training_package():
    assert not violations(lambda m, i: i.split(".")[0] in OFFLINE)


def test_onnx_is_imported_only_where_model_files_are_made():
    home = f"{PACKAGE.name}.engine.model_files."
    assert not violations(lambda m, i: i.split(".")[0] == "onnx" and not m.startswith(home))


@pytest.mark.parametrize("script", sorted((ROOT / "tools").glob("*.py")), ids=lambda path: path.name)
def test_scripts_of_tools_find_what_they_import(script):
    """They are in no package, and nothing else runs most of them."""
    for node in ast.walk(ast.parse(script.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("image_as_imu"):
            names = [one.name for one in node.names]
            try:
                module = __import__(node.module, fromlist=names)  # with those of them that are modules
            except ModuleNotFoundError as error:
                if str(error.name).startswith("image_as_imu"):
                    raise
                pytest.skip(f"{node.module} needs {error.name}")
            assert [name for name in names if not hasattr(module, name)] == []
