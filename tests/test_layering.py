"""Reads the imports and literals of the sources: layers, circles, and what may stand where.

Nothing is imported here but the standard library, so a fault shows as a sentence, not as a crash.
"""

import ast
import functools
import pathlib
import resource
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent

# Lowest first; a module imports its own level or lower ones. The longest matching name decides.
LEVELS = {
    "srgan_tf": 0,  # The package itself holds only its version; so do the empty __init__ files.
    "srgan_tf.config": 0,
    "srgan_tf.config_fields": 0,
    "srgan_tf.degradation_config": 0,
    "srgan_tf.stage_config": 0,
    "srgan_tf.recipes": 0,
    "srgan_tf.registry": 0,
    "srgan_tf.errors": 0,
    "srgan_tf.addons": 0,
    "srgan_tf.images": 0,
    "srgan_tf.machine": 0,
    "srgan_tf.source": 0,
    "srgan_tf.files": 0,
    "srgan_tf.clusters": 0,
    "srgan_tf.checkpoint_files": 0,
    "srgan_tf.photos": 0,
    "srgan_tf.deep_pixels": 0,
    "srgan_tf.metadata": 0,
    "srgan_tf.png": 0,
    "srgan_tf.cli": 0,
    "srgan_tf.terminal": 0,
    "srgan_tf.flag_utils": 0,
    "srgan_tf.ray_cluster": 0,
    "srgan_tf.data": 1,
    "srgan_tf.models": 1,
    "srgan_tf.losses": 1,
    "srgan_tf.metrics": 1,
    "srgan_tf.bicubic": 1,
    "srgan_tf.diagnostics": 1,
    "srgan_tf.image_pairs": 1,
    "srgan_tf.references": 0,
    "srgan_tf.run_folder": 2,
    "srgan_tf.training": 2,
    "srgan_tf.evaluation": 2,
    "srgan_tf.report": 2,
    "srgan_tf.html_report": 2,
    "srgan_tf.html_template": 2,
    "srgan_tf.evaluation_model": 2,
    "srgan_tf.details": 2,
    "srgan_tf.explain": 2,
    "srgan_tf.serving": 2,
    "srgan_tf.listing": 2,
    "srgan_tf.benchmark": 2,
    "data_prep": 3,
    "scripts": 3,
}
WITHOUT_TENSORFLOW = [
    "config",
    "config_fields",
    "degradation_config",
    "stage_config",
    "recipes",
    "flag_utils",
    "ray_cluster",
    "cli",
    "errors",
    "registry",
    "terminal",
    "machine",
    "clusters",
    "photos",
    "deep_pixels",
    "metadata",
    "png",
    "bicubic",
]
# Where whole photos are handled by Pillow or NumPy, before or after TensorFlow.
OWN_RANGES = {
    "srgan_tf.images",
    "srgan_tf.photos",
    "srgan_tf.deep_pixels",
    "srgan_tf.bicubic",
    "srgan_tf.benchmark.peer_worker",  # Runs where srgan_tf is not.
}
COMMANDS = {
    "srgan-prepare": "data_prep/prepare.py",
    "srgan-train": "scripts/train.py",
    "srgan-evaluate": "scripts/evaluate.py",
    "srgan-export": "scripts/export.py",
    "srgan-upscale": "scripts/upscale.py",
    "srgan-degrade": "scripts/degrade.py",
    "srgan-web": "scripts/web.py",
    "srgan-benchmark": "scripts/benchmark.py",
}


@functools.cache
def sources() -> dict[str, ast.Module]:
    """Returns every module of the repo by dotted name, parsed."""
    found = {}
    for folder in ("srgan_tf", "data_prep", "scripts"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found[name] = ast.parse(path.read_text(encoding="utf-8"), str(path))
    return found


def imported(nodes) -> set[str]:
    """Returns what import statements among `nodes` name, as `package.module` where it is ours."""
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative imports hide the layer"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                names.add(full if full in sources() else node.module)
    return names


def at_import(tree: ast.Module) -> set[str]:
    """Returns what is imported when the module is: not what stands in functions."""
    nodes, queue = [], list(tree.body)
    while queue:
        node = queue.pop()
        nodes.append(node)
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            queue.extend(ast.iter_child_nodes(node))
    return imported(nodes)


@functools.cache
def reachable(name: str, *, lazily: bool) -> frozenset[str]:
    """Returns everything that importing `name` imports; `lazily` adds imports in functions."""
    seen, queue = set(), [name]
    while queue:
        module = queue.pop()
        if module in seen:
            continue
        seen.add(module)
        if module in sources():
            queue.append(module.rpartition(".")[0] or module)  # Its package is imported too.
            tree = sources()[module]
            queue.extend(imported(ast.walk(tree)) if lazily else at_import(tree))
    return frozenset(seen - {name})


def level(name: str) -> int:
    while name not in LEVELS:
        name = name.rpartition(".")[0]
        assert name, "a new top-level package needs a level"
    return LEVELS[name]


def test_every_module_has_a_level_of_its_own():
    flat = [name for name in sources() if name.count(".") == 1 and name.startswith("srgan_tf.")]
    assert not set(flat) - set(LEVELS), "add the new module to LEVELS (and to DESIGN's layers)"


@pytest.mark.parametrize("name", sorted(sources()))
def test_imports_point_downward(name):
    ours = {other for other in imported(ast.walk(sources()[name])) if other in sources()}
    upward = sorted(other for other in ours if level(other) > level(name))
    assert not upward, f"{name} (level {level(name)}) imports higher layers: {upward}"


def test_no_circles():
    def visit(name, path):
        assert name not in path, f"circle: {' -> '.join([*path[path.index(name) :], name])}"
        if name not in done:
            for other in sorted(imported(ast.walk(sources()[name]))):
                if other in sources() and other != name:
                    visit(other, [*path, name])
            done.add(name)

    done: set[str] = set()
    for name in sources():
        visit(name, [])


@pytest.mark.parametrize("name", sorted(sources()))
def test_nobody_imports_scripts(name):
    names = imported(ast.walk(sources()[name]))
    assert not [other for other in names if other.split(".")[0] in ("scripts", "srgan_tf_scripts")]


@pytest.mark.parametrize(
    "name",
    [n for n in sorted(sources()) if n == "srgan_tf.serving.upscaler" or n.startswith("data_prep")],
)
def test_serving_and_data_preparation_do_without_training_code(name):
    needed = sorted(n for n in reachable(name, lazily=True) if n.startswith("srgan_tf.training"))
    assert not needed, f"{name} reaches {needed}"


@pytest.mark.parametrize("name", sorted(sources()))
def test_only_addons_imports_tensorflow_addons(name):
    names = {other.split(".")[0] for other in imported(ast.walk(sources()[name]))}
    assert name == "srgan_tf.addons" or "tensorflow_addons" not in names


@pytest.mark.parametrize("name", WITHOUT_TENSORFLOW)
def test_light_modules_do_not_import_tensorflow(name):
    everything = reachable(f"srgan_tf.{name}", lazily=False)
    heavy = sorted(n for n in everything if n.split(".")[0] in ("tensorflow", "keras"))
    assert f"srgan_tf.{name}" in sources()
    assert not heavy, f"srgan_tf.{name} imports {heavy}; import it in the function that needs it"


@pytest.mark.parametrize("name", sorted(set(sources()) - OWN_RANGES))
def test_value_ranges_stand_in_images_only(name):
    lines = [
        node.lineno
        for node in ast.walk(sources()[name])
        if isinstance(node, ast.Constant)
        and isinstance(node.value, (int, float))
        and node.value in (255, 127.5)
    ]
    assert not lines, f"{name}, lines {lines}: convert through srgan_tf.images"


@pytest.mark.parametrize("name", sorted(sources()))
def test_nothing_prints(name):
    lines = [
        node.lineno
        for node in ast.walk(sources()[name])
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    ]
    assert not lines, f"{name}, lines {lines}: use absl.logging, or cli.emit for results"


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_help_is_quick_and_without_tensorflow(command, tmp_path):
    # From another folder: the files must run without the package being installed.
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = subprocess.run(
        [sys.executable, "-X", "importtime", str(ROOT / COMMANDS[command]), "--help"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert result.returncode == 0, result.stderr
    assert "--" in result.stdout and "tensorflow" not in result.stderr
    # CPU time instead of the clock's, which other processes on the machine would lengthen.
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert seconds < 2.0
