"""Settings have one definition: options of commands are made from it, and lists of recordings take the same names."""

import shlex
import signal
from argparse import ArgumentParser
from dataclasses import fields

import pytest

from image_as_imu_ros import commands
from image_as_imu_ros.commands import estimate_image, evaluate
from image_as_imu_ros.commands.arguments import add_settings, option_name, settings_from
from image_as_imu_ros.engine.config import EngineConfig
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.estimation.config import EstimatorConfig
from image_as_imu_ros.evaluation.config import command_line, config_from_settings, setting_names

OF_THE_NODE = [one for kind in (EstimatorConfig, EngineConfig) for one in fields(kind) if "description" in one.metadata]
OF_ONE_FRAME = {"measurement", "sign_resolution"}  # settings that say nothing about a single image
UNUSED = {"rate_hint_std"}  # no other sensor's rate is read


def options_of(parser: ArgumentParser) -> set[str]:
    return {option for action in parser._actions for option in action.option_strings}


@pytest.mark.parametrize("setting", OF_THE_NODE, ids=lambda one: one.name)
def test_commands_take_every_setting_of_the_estimator_and_the_engine(setting):
    if setting.name in UNUSED:
        return
    assert option_name(setting.name) in options_of(evaluate._parser())
    assert setting.name in setting_names()
    if setting.name not in OF_ONE_FRAME:
        assert option_name(setting.name) in options_of(estimate_image._parser())


def test_options_left_out_keep_the_settings_defaults():
    parser = ArgumentParser()
    add_settings(parser, EstimatorConfig)
    add_settings(parser, EngineConfig)
    args = parser.parse_args([])
    assert settings_from(args, EstimatorConfig) == EstimatorConfig()
    assert settings_from(args, EngineConfig) == EngineConfig()


def test_options_reach_the_configs():
    command = evaluate.parse(
        shlex.split("bag --exposure 0.02 --lever-arm -0.3 --linear-velocity-std 3 --threads 2 --direction oracle")
    )
    estimator, engine = command.config.estimator, command.config.engine
    assert (estimator.lever_arm, estimator.linear_velocity_std, engine.threads) == (-0.3, 3.0, 2)
    assert command.config.oracle
    assert estimator.sign_resolution == "causal"


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"exposure": "fit", "every": 3, "baselines": ["klt", "trajectory:a b.txt"]},
        {"exposure": 0.0138, "sign_resolution": "oracle", "depth_topic": "auto", "ground_truth_std": 0.03},
        {"exposure": "estimate", "motion_model": "rotation", "lever_arm": -1, "engine": "onnxruntime"},
        {"exposure": "topic", "exposure_topic": "/a", "exposure_unit": "us", "stamp_reference": "start"},
    ],
)
def test_the_command_that_a_report_shows_does_the_same_again(settings):
    config = config_from_settings(settings)
    words = shlex.split(command_line("a bag", config))
    again = evaluate.parse(words[1:])
    assert words[0] == "evaluate"
    assert (str(again.recording), again.config) == ("a bag", config)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"lever_arm": "far"}, "lever_arm is 'far', expected a number"),
        ({"threads": 1.5}, "threads is 1.5, expected a whole number"),
        ({"every": 0}, "every is 0, expected 1 to"),
        ({"exposure": "soon"}, "exposure is 'soon', expected a time in s or one of: topic, "),
        ({"exposure": 2}, "exposure time is 2.0 s"),
        ({"exposure": "estimate", "sign_resolution": "axial"}, "an estimated exposure needs the previous frame"),
        ({"exposure": 0.01, "exposure_topic": "/a"}, "exposure_topic is of no use"),
        ({"stamp_reference": "early"}, "stamp_reference is 'early', expected one of: start, middle, end"),
    ],
)
def test_what_cannot_be_meant_is_refused(settings, reason):
    with pytest.raises(InputError, match=reason):
        config_from_settings(settings)


@pytest.mark.parametrize(("name", "code"), [("blur_imu_node", 0), ("evaluate", 130)])
def test_ctrl_c_while_a_program_is_loaded(name, code, monkeypatch):
    """A node that is stopped has not failed; a second signal, which ros2 launch sends, does not kill it as it ends."""

    def interrupted(_):
        raise KeyboardInterrupt

    # Where the tests themselves are started in the background, the signal is ignored.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(commands, "import_module", interrupted)
    try:
        assert commands.run(name, []) == code
        assert (signal.getsignal(signal.SIGINT) == signal.SIG_IGN) == (name == "blur_imu_node")
    finally:
        signal.signal(signal.SIGINT, handler)
