"""srgan-benchmark: turns between processes, figures, contenders that cannot run."""

import json
import os
import pathlib
import subprocess
import sys

import pytest
from PIL import Image

from srgan_tf.benchmark import contenders, results, suites
from srgan_tf.benchmark.contenders import Contender, Group, Result

ROOT = pathlib.Path(__file__).resolve().parent.parent
LONG = bool(os.environ.get("SRGAN_LONG_TESTS"))

# A worker that speaks the protocol, and writes into a file when it runs.
FAKE = """
import json, sys
spec = json.loads(sys.argv[1])
def say(**values): print(json.dumps(values), flush=True)
if spec["kind"] == "missing": say(unavailable="no such library"); sys.exit()
say(ready=True, per_run=spec["per_run"], unit="crop")
for line in sys.stdin:
    open(spec["log"], "a").write(spec["name"] + " " + line)
    if line == "peak\\n": say(peak_rss_mb=7.0)
    elif spec["kind"] == "dies": sys.exit("out of luck")
    else: say(seconds=spec["seconds"])
"""


class Fake(Contender):
    """A contender whose worker is the script above."""

    def command(self):
        """Returns its command."""
        return [sys.executable, "-c", FAKE, json.dumps(self.spec)]


@pytest.fixture
def fakes(tmp_path):
    def fake(name, kind="works", seconds=1.0, per_run=6.0):
        log = str(tmp_path / "log")
        return Fake(
            name, {"kind": kind, "name": name, "seconds": seconds, "per_run": per_run, "log": log}
        )

    return fake


def test_contenders_take_turns_and_the_dead_are_left_out(fakes, tmp_path):
    made = [fakes("a"), fakes("b", "dies"), fakes("c", "missing"), fakes("d", seconds=3.0)]
    told = []
    found = contenders.measure(made, 2, told.append)
    # b runs once and dies; c never runs.
    turns = (tmp_path / "log").read_text().splitlines()
    assert turns == ["a run", "b run", "d run", "a run", "d run", "a peak", "d peak"]
    assert [result.seconds for result in found] == [[1.0, 1.0], [], [], [3.0, 3.0]]
    assert [result.unavailable for result in found] == [
        None,
        "out of luck",
        "no such library",
        None,
    ]
    # 6 crops in 3 seconds.
    assert found[3].rate == 2.0 and found[3].peak_rss_mb == 7.0
    assert told[0] == "a: preparing" and "round 2 of 2: d" in told


def test_table_has_the_ratio_to_the_baseline():
    group = Group("Title", (), baseline="ours")
    ours = Result("ours", [2.0, 1.0, 4.0], per_run=10, unit="image", peak_rss_mb=100.4)
    theirs = Result("theirs", [4.0], per_run=10, unit="image", peak_rss_mb=50.0)
    gone = Result("gone", unavailable="No module named 'torch'")
    lines = results.table(group, [ours, theirs, gone]).splitlines()
    # The median of 1, 2, 4 is 2; the spread (4 - 1) / 2; theirs takes twice as long.
    assert lines[3].split() == "ours 2 s 150% 5 images 1.00x 100 MB".split()
    assert lines[4].split() == "theirs 4 s 0% 2.5 images 0.50x 50 MB".split()
    assert lines[5].endswith("not measured: No module named 'torch'")


def test_json_and_chart_hold_what_was_measured(tmp_path):
    group = Group("Title", (), baseline="srgan_tf")
    found = [Result("srgan_tf", [1.0]), Result("gone", unavailable="why")]
    record = json.loads(results.to_json("srgan-benchmark", {}, [(group, found)]))
    assert record["machine"]["processor"] and record["machine"]["date"]
    first, second = record["groups"][0]["contenders"]
    assert (first["speed"], first["seconds"], second["unavailable"]) == (1.0, [1.0], "why")
    results.write_chart(str(tmp_path / "chart.png"), [(group, found)])
    assert Image.open(tmp_path / "chart.png").width > 500


@pytest.mark.parametrize("name", sorted(suites.SUITES))
def test_suites_name_their_baseline_and_their_workers_kinds(name, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "srgan_tf" / "benchmark")  # As when it is run by path.
    from srgan_tf.benchmark import peer_worker, worker

    settings = suites.Settings(data_dir="data", photos="photos", peers="python")
    for chosen in (settings, suites.quick(settings)):
        for group in suites.SUITES[name](chosen):
            labels = [contender.label for contender in group.contenders]
            assert group.baseline in labels and len(set(labels)) == len(labels)
            for contender in group.contenders:
                kinds = peer_worker.KINDS if contender.python else worker.KINDS
                spec = {k: v for k, v in contender.spec.items() if k not in ("kind", "cores")}
                code = kinds[contender.spec["kind"]].__code__
                assert set(spec) == set(code.co_varnames[: code.co_kwonlyargcount])


def test_command_measures_ours_and_says_what_is_missing(tmp_path):
    # Each contender is a process, which takes TensorFlow's start: all of them take minutes.
    suites, groups = ("training,inference,startup", 7) if LONG else ("training", 3)
    flags = ["--quick", "--rounds=1", f"--suites={suites}", "--precisions=float32"]
    command = [sys.executable, ROOT / "scripts/benchmark.py", f"--output={tmp_path}", *flags]
    peers = f"--peers={sys.executable}"
    done = subprocess.run([*command, peers], capture_output=True, text=True, check=True, cwd=ROOT)
    assert "GAN step (block2_conv2), batch 2, crop 96" in done.stdout
    record = json.loads((tmp_path / "benchmark.json").read_text())
    pretraining, *others = (group["contenders"] for group in record["groups"])
    # Three stages; two generators, export and start of a process.
    assert len(others) == groups - 1
    assert all(group[0]["rate"] > 0 for group in (pretraining, *others))
    assert "torch" in pretraining[1]["unavailable"]
    assert Image.open(tmp_path / "benchmark.png").width > 500


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ((), "--output is needed"),
        (("--output={tmp}", "--suites=traning"), "did you mean 'training'"),
        (("--output={tmp}", "--suites=data"), "needs --data"),
        (("--output={tmp}", "--data={tmp}/nope"), "does not exist"),
        (("--output={tmp}", "--precisions=flaot32"), "did you mean 'float32'"),
        (("--output={tmp}", "--peers={tmp}/python"), "not a Python interpreter"),
    ],
)
def test_mistakes_are_one_line(tmp_path, flags, words):
    command = [sys.executable, ROOT / "scripts/benchmark.py"]
    command += [flag.format(tmp=tmp_path) for flag in flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 2 and words in done.stderr
    assert len(done.stderr.splitlines()) == 1
