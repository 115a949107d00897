"""cli.py: what the machine does to a run is one line; a bug keeps its traceback."""

import pytest
import tensorflow as tf

from srgan_tf import cli


def _raised(call):
    with pytest.raises((OSError, tf.errors.OpError)) as caught:
        call()
    return caught.value


def test_file_errors_are_one_line_that_names_the_file(tmp_path):
    taken = tmp_path / "taken"
    taken.write_text("")
    missing = str(tmp_path / "missing")
    for call, words in (
        (lambda: open(missing), [missing, "No such file"]),
        (lambda: tf.io.gfile.GFile(missing).read(), [missing, "No such file"]),
        (lambda: tf.io.read_file(missing), [missing, "No such file"]),
        (lambda: tf.io.gfile.makedirs(str(taken / "x")), [str(taken)]),
        (lambda: tf.io.gfile.listdir("nowhere://x"), ["nowhere"]),
    ):
        reason = cli.machine_reason(_raised(call))
        assert all(word in reason for word in words)
        assert "\n" not in reason
        assert "{{" not in reason


@pytest.mark.parametrize(
    "message",
    [
        "/data/x; No space left on device",
        "{{function_node __wrapped__Mul}} OOM when allocating tensor [Op:Mul]",
        "Graph execution error:\n\nDetected at node conv:\n  File x.py\nOOM when allocating tensor",
    ],
)
def test_what_is_exhausted_is_said(message):
    reason = cli.machine_reason(tf.errors.ResourceExhaustedError(None, None, message))
    assert "No space left" in reason or "OOM when allocating tensor" in reason
    assert "\n" not in reason


@pytest.mark.parametrize(
    "bug",
    [
        ValueError("x"),
        tf.errors.InvalidArgumentError(None, None, "shapes"),
        tf.errors.FailedPreconditionError(None, None, "{{node a}} uninitialized [Op:Read]"),
    ],
)
def test_bugs_are_not_swallowed(bug):
    assert cli.machine_reason(bug) is None


def test_wrong_flags_are_one_line(capsys):
    with pytest.raises(SystemExit) as left:
        cli._parse_flags(["/bin/srgan-thing", "--nonsense=1"])
    assert left.value.code == cli.EXIT_INPUT_ERROR
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("srgan-thing: error: Unknown command line flag 'nonsense'")
    assert line.endswith("see --help.")
