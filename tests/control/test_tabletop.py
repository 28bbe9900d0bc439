import subprocess
import sys

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import control.envs
from control.envs import frame_code
from control.envs.tabletop import ACTION_NAMES, STATE_NAMES, Tabletop
from control.scripted import ScriptedTeleoperator

NEUTRAL = np.zeros(4, np.float32)
SMALL = {"width": 96, "height": 64}


def pictures(observation):
    return {key.removeprefix("observation.images."): v for key, v in observation.items() if "images" in key}


def solved(env, seed, steps=400):
    """Play one episode with a scripted teleoperator; yield every step's results until the cube is placed."""
    operator = ScriptedTeleoperator()
    observation, info = env.reset(seed=seed)
    operator.reset()
    for _ in range(steps):
        observation, reward, terminated, truncated, info = env.step(operator.act(observation, info).action)
        yield observation, reward, terminated, truncated, info
        if terminated or truncated:
            return


def test_gymnasium_makes_it_after_the_import():
    env = gymnasium.make("onbeat/Tabletop-v0", cameras=1, **SMALL)
    assert isinstance(env.unwrapped, Tabletop)


@pytest.mark.parametrize(
    "program",
    [
        "import gymnasium; gymnasium.make('control.envs:onbeat/Tabletop-v0', cameras=0)",
        "import control.envs, gymnasium; control.envs.register(); gymnasium.make('onbeat/Tabletop-v0', cameras=0)",
        # As gymnasium versions with entry points do.
        "import gymnasium.envs.registration as r\n"
        "with r.namespace('onbeat'):\n"
        "    import control.envs; control.envs.register()\n"
        "assert [i for i in r.registry if 'Tabletop' in i] == ['onbeat/Tabletop-v0']\n"
        "r.make('onbeat/Tabletop-v0', cameras=0)",
    ],
    ids=["module-prefix", "registered-twice", "entry-point"],
)
def test_every_way_of_registering_works_without_a_warning(program):
    # -I: from no folder in particular.
    result = subprocess.run([sys.executable, "-I", "-W", "error", "-c", program], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")


def test_drawing_needs_neither_opencv_nor_pillow():
    program = (
        "import sys, control.envs.tabletop as t; t.Tabletop(cameras=2).reset(seed=0)\n"
        "print(sorted({'cv2', 'PIL', 'av', 'torch', 'lerobot'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


@pytest.mark.parametrize(
    "kwargs",
    [
        {},
        {"cameras": 0},
        {"channels_first": True, "image_dtype": "float32"},
        {"intervention": "scripted", "state_noise": 0.002},
    ],
    ids=str,
)
def test_gymnasiums_own_check_passes(kwargs):
    env = gymnasium.make(control.envs.TABLETOP_ID, **SMALL, **kwargs)
    check_env(env.unwrapped)


@pytest.mark.parametrize("seed", range(20))
def test_an_episode_is_solved_in_three_to_four_seconds(seed):
    steps = list(solved(gymnasium.make(control.envs.TABLETOP_ID, cameras=0), seed))
    _, reward, terminated, truncated, info = steps[-1]
    assert (reward, terminated, truncated, info["success"]) == (1.0, True, False, True)
    assert all((r, te, i["success"]) == (0.0, False, False) for _, r, te, _, i in steps[:-1])
    assert 80 <= len(steps) <= 130


@pytest.mark.parametrize("kwargs", [{"fps": 10}, {"fps": 60}, {"state_noise": 0.001}], ids=str)
def test_it_is_solved_at_other_rates_and_with_noise(kwargs):
    env = gymnasium.make(control.envs.TABLETOP_ID, cameras=0, **kwargs)
    for seed in range(5):
        assert list(solved(env, seed, steps=600))[-1][4]["success"]


def test_the_same_seed_gives_the_same_episode():
    kwargs = {**SMALL, "cameras": 3, "intervention": "scripted", "state_noise": 0.001}
    runs = []
    for _ in range(2):
        env = gymnasium.make(control.envs.TABLETOP_ID, **kwargs)
        env.reset(seed=99)
        # A second reset with a seed forgets what came before it.
        observations = [env.reset(seed=5)[0]] + [env.step(NEUTRAL)[0] for _ in range(60)]
        runs.append(observations)
    for first, second in zip(*runs, strict=True):
        assert first.keys() == second.keys()
        for key in first:
            np.testing.assert_array_equal(first[key], second[key])


def test_another_seed_gives_another_episode():
    env = gymnasium.make(control.envs.TABLETOP_ID, cameras=0)
    states = {env.reset(seed=seed)[0]["observation.state"].tobytes() for seed in range(50)}
    states |= {env.reset()[0]["observation.state"].tobytes() for _ in range(50)}
    assert len(states) == 100


@pytest.mark.parametrize("size", [(64, 48), (65, 49), (320, 240), (321, 241), (1280, 720), (100, 400)], ids=str)
def test_every_picture_tells_its_frame_number_and_camera(size):
    width, height = size
    env = gymnasium.make(control.envs.TABLETOP_ID, cameras=6, width=width, height=height)
    observation, _ = env.reset(seed=1)
    rng = np.random.default_rng(0)
    for step in range(12):
        for index, picture in enumerate(pictures(observation).values()):
            assert picture.shape == (height, width, 3)
            assert picture.dtype == np.uint8
            assert frame_code.read(picture) == (step, index)
        observation, *_ = env.step(rng.uniform(-1, 1, 4))
    observation, _ = env.reset()
    assert frame_code.read(pictures(observation)["front"]) == (0, 0)


def without_numbers(picture):
    """The part of a picture that holds neither the code nor the digits."""
    height = picture.shape[0]
    return picture[height // 6 : -height // 6]


def test_pictures_change_in_every_step_even_when_nothing_is_done():
    env = gymnasium.make(control.envs.TABLETOP_ID, cameras=["front", "top"])
    before, _ = env.reset(seed=2)
    for _ in range(40):
        after, *_ = env.step(NEUTRAL)
        for key in pictures(after):
            key = f"observation.images.{key}"
            assert (without_numbers(before[key]) != without_numbers(after[key])).any(), key
        before = after


def test_cameras_see_different_things():
    env = gymnasium.make(control.envs.TABLETOP_ID, cameras=12, width=160, height=120)
    observation, _ = env.reset(seed=2)
    seen = [without_numbers(p).astype(float) for p in pictures(observation).values()]
    differences = [np.abs(a - b).mean() for i, a in enumerate(seen) for b in seen[:i]]
    assert len(differences) == 66
    # In levels of 255, over the whole picture.
    assert min(differences) > 5


@pytest.mark.parametrize("camera", ["front", "top", "left", "right", "camera5", "camera6"])
def test_the_cube_is_seen_to_move_to_the_target(camera):
    """Away from what moves by itself: at the end of an episode the cube's colour has gone and come."""
    env = gymnasium.make(control.envs.TABLETOP_ID, cameras=[camera])
    first, _ = env.reset(seed=0)
    last = list(solved(env, 0))[-1][0]
    lit_blue = [(p[..., 2].astype(int) - p[..., 0] > 100) for p in (pictures(first)[camera], pictures(last)[camera])]
    # Many pixels of the cube's two places, and none in common.
    assert min(seen.sum() for seen in lit_blue) > 150
    assert not (lit_blue[0] & lit_blue[1]).any()


def test_the_wrist_camera_follows_the_gripper():
    """The held cube stays in the same place of the picture while the table passes below."""
    env = gymnasium.make(control.envs.TABLETOP_ID, cameras=["wrist"])
    centres = []
    for observation, *_ in solved(env, 0):
        if observation["observation.state"][6] > 0.1:
            picture = pictures(observation)["wrist"]
            blue = np.argwhere(picture[..., 2].astype(int) - picture[..., 0] > 100)
            centres.append(blue.mean(axis=0))
    assert len(centres) > 10
    assert np.ptp(centres, axis=0).max() < 60


def test_earlier_pictures_stay_as_they_were():
    env = gymnasium.make(control.envs.TABLETOP_ID, **SMALL)
    first, _ = env.reset(seed=0)
    kept = {key: value.copy() for key, value in first.items()}
    for _ in range(5):
        env.step(env.action_space.sample())
    env.reset()
    for key, value in first.items():
        np.testing.assert_array_equal(value, kept[key])


def test_float_channels_first_is_the_same_picture():
    plain = Tabletop(**SMALL).reset(seed=4)[0]
    other = Tabletop(**SMALL, channels_first=True, image_dtype="float32").reset(seed=4)[0]
    for name, picture in pictures(plain).items():
        chw = pictures(other)[name]
        assert (chw.shape, chw.dtype) == ((3, 64, 96), np.float32)
        assert chw.flags.c_contiguous
        np.testing.assert_array_equal(np.rint(chw * 255).astype(np.uint8).transpose(1, 2, 0), picture)


def test_no_cameras_leaves_the_state():
    env = Tabletop(cameras=0)
    assert list(env.reset(seed=0)[0]) == ["observation.state"]
    assert list(env.step(NEUTRAL)[0]) == ["observation.state"]


def test_names_and_counts_of_cameras():
    assert list(pictures(Tabletop(cameras=7, **SMALL).reset()[0])) == [
        *("front", "wrist", "top", "left", "right", "camera5", "camera6")
    ]
    assert list(pictures(Tabletop(cameras=["cam_high", "wrist"], **SMALL).reset()[0])) == ["cam_high", "wrist"]


def test_the_neutral_action_changes_no_state():
    env = Tabletop(cameras=0)
    state = env.reset(seed=0)[0]["observation.state"]
    for _ in range(10):
        after, _, _, _, info = env.step(np.array(env.metadata["neutral_action"]))
        np.testing.assert_array_equal(after["observation.state"], state)
        assert info["discrete_penalty"] == 0.0


def test_actions_do_what_their_names_say():
    for axis, name in enumerate(ACTION_NAMES[:3]):
        env = Tabletop(cameras=0)
        before = env.reset(seed=0)[0]["observation.state"]
        action = NEUTRAL.copy()
        action[axis] = 0.5
        after = env.step(action)[0]["observation.state"]
        changed = dict(zip(STATE_NAMES, (after - before).tolist(), strict=True))
        assert {key for key, value in changed.items() if value} == {name.removeprefix("delta_")[0].join(["ee_", ""])}
        assert changed[STATE_NAMES[axis]] > 0


def test_closing_the_fingers_costs_once():
    env = Tabletop(cameras=0)
    env.reset(seed=0)
    commands = [1, 1, 0, -1, -1, 0.1, -0.1, 0, -1, 1, 1, -1]
    penalties = [env.step(np.array([0, 0, 0, c]))[4]["discrete_penalty"] for c in commands]
    assert penalties == [0, 0, 0, -0.1, 0, 0, 0, 0, 0, -0.1, 0, -0.1]


def test_a_dropped_cube_falls_back_to_the_table():
    env = Tabletop(cameras=0)
    for observation, *_ in solved(env, 0):
        state = dict(zip(STATE_NAMES, observation["observation.state"].tolist(), strict=True))
        if state["cube_z"] > 0.1:
            break
    assert abs(state["cube_z"] - state["ee_z"]) < 0.02
    for _ in range(20):
        observation, *_ = env.step(np.array([0, 0, 0, 1]))
    assert observation["observation.state"][6] == pytest.approx(0.025)


def test_stepping_past_the_end_is_harmless_and_success_stays():
    env = gymnasium.make(control.envs.TABLETOP_ID, cameras=1, **SMALL, max_episode_s=5)
    steps = len(list(solved(env, 0)))
    rng = np.random.default_rng(0)
    for step in range(steps + 1, steps + 100):
        observation, reward, terminated, truncated, info = env.step(rng.uniform(-1, 1, 4))
        assert (reward, terminated, truncated, info["success"]) == (1.0, True, False, True)
        assert observation in env.observation_space
        assert frame_code.read(observation["observation.images.front"]) == (step, 0)


def test_the_time_limit_truncates():
    env = Tabletop(cameras=0, max_episode_s=1.0, fps=20)
    env.reset(seed=0)
    ends = [env.step(NEUTRAL)[2:4] for _ in range(22)]
    assert ends == [(False, False)] * 19 + [(False, True)] * 3


def test_without_intervention_info_has_the_seeds_keys_but_no_action():
    env = Tabletop(cameras=0)
    _, at_reset = env.reset(seed=0)
    *_, info = env.step(NEUTRAL)
    nothing = {"success": False, "is_intervention": False, "rerecord_episode": False, "discrete_penalty": 0.0}
    assert at_reset == info == nothing
    assert {key: type(value) for key, value in info.items()} == {key: type(value) for key, value in nothing.items()}


def test_the_scripted_intervention_overrides_and_reports_the_action():
    env = Tabletop(cameras=0, intervention="scripted")
    twin = Tabletop(cameras=0)
    observation, _ = env.reset(seed=8)
    copied, _ = twin.reset(seed=8)
    rng = np.random.default_rng(0)
    for _ in range(200):
        observation, _, terminated, _, info = env.step(rng.uniform(-1, 1, 4))
        action = info["action_intervention"]
        assert (action.shape, action.dtype, info["is_intervention"]) == ((4,), np.float32, True)
        copied, *_ = twin.step(action)
        np.testing.assert_array_equal(observation["observation.state"], copied["observation.state"])
        if terminated:
            break
    assert info["success"]


def test_the_scripted_intervention_asks_for_a_rerecord():
    env = Tabletop(cameras=0, intervention="scripted", rerecord_episodes=[1])
    asked = []
    for _ in range(3):
        env.reset(seed=0)
        asked.append([env.step(NEUTRAL)[4]["rerecord_episode"] for _ in range(90)])
    assert [sum(attempt) for attempt in asked] == [0, 1, 0]
    assert asked[1].index(True) == 45


def test_noise_is_on_the_state_only():
    quiet = Tabletop(cameras=1, **SMALL).reset(seed=0)[0]
    noisy = Tabletop(cameras=1, **SMALL, state_noise=0.01).reset(seed=0)[0]
    difference = np.abs(quiet["observation.state"] - noisy["observation.state"])
    assert 0 < difference.max() < 0.1
    np.testing.assert_array_equal(quiet["observation.images.front"], noisy["observation.images.front"])


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"width": 63}, "pictures of 63x480 found, expected at least 64x48"),
        ({"height": 47}, "pictures of 640x47 found"),
        ({"fps": 0}, "fps 0 found"),
        ({"cameras": -1}, "-1 cameras found, expected 0 to 256"),
        ({"cameras": 257}, "257 cameras found"),
        ({"cameras": ["a", "a"]}, "expected a number or a list of different names"),
        ({"cameras": "front"}, "expected a number or a list of different names"),
        ({"cameras": ["../up"]}, "camera name '../up' found"),
        ({"intervention": "human"}, "intervention 'human' found, expected one of 'none', 'scripted'"),
        ({"image_dtype": "uint16"}, "image_dtype 'uint16' found"),
        ({"render_mode": "human"}, "render_mode 'human' found"),
        ({"state_noise": -1}, "state_noise -1 found"),
        ({"max_episode_s": 0}, "max_episode_s 0 found"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_what_cannot_be_made_is_refused_in_one_line(kwargs, message):
    with pytest.raises(ValueError, match=message) as caught:
        Tabletop(**kwargs)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("action", [[0, 0, 0], [0, 0, 0, np.nan], [[0, 0, 0, 0]]], ids=str)
def test_a_bad_action_is_refused(action):
    env = Tabletop(cameras=0)
    env.reset(seed=0)
    with pytest.raises(ValueError, match="expected 4 finite numbers"):
        env.step(np.array(action))


def test_a_step_before_the_reset_is_refused():
    with pytest.raises(gymnasium.error.ResetNeeded):
        Tabletop(cameras=0).step(NEUTRAL)


def test_render_shows_the_first_camera():
    env = Tabletop(cameras=["top"], render_mode="rgb_array", image_dtype="float32", channels_first=True, **SMALL)
    env.reset(seed=0)
    env.step(NEUTRAL)
    assert frame_code.read(env.render()) == (1, 0)
    without = Tabletop(cameras=0, render_mode="rgb_array", **SMALL)
    without.reset(seed=0)
    assert without.render().shape == (64, 96, 3)
