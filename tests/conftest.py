"""Which files begin, and which run on one of the two TensorFlow stacks alone in CI.

Files go to processes whole (--dist=loadfile): the long ones must not begin last.
"""

import pathlib

import pytest

# Longest first, roughly.
LONG = (
    "test_training",
    "test_workers",
    "test_kill",
    "test_conformance_models",
    "test_lite",
    "test_steps",
    "test_recipes",
    "test_upscaler",
    "test_divergence",
    "test_prepare",
    "test_export",
    "test_pipeline",
    "test_resume",
    "test_devices",
    "test_servable",
    "test_end_to_end",
    "test_soak",
    "test_load",
)
# A process was seen to end with a segmentation fault minutes after one of these had killed nodes of
# the cluster that it was connected to, probably in a thread of Ray's: no others come after them.
LAST = ("test_ray_data", "test_ray_train")
# Mostly about files, processes, protocols and texts: the second stack finds hardly anything in them
# that the first did not.
ONE_STACK = frozenset(
    (
        "test_backends",
        "test_benchmark",
        "test_channels",
        "test_client",
        "test_contact_sheet",
        "test_data_prep",
        "test_doctor",
        "test_faults",
        "test_files",
        "test_fuzz",
        "test_html_report",
        "test_interpolation",
        "test_keep_results",
        "test_kill",
        "test_layering",
        "test_lite",
        "test_load",
        "test_lr_pictures",
        "test_machine",
        "test_memory",
        "test_metadata",
        "test_photos",
        "test_png",
        "test_prepare",
        "test_profiling",
        "test_ray_data",
        "test_ray_train",
        "test_receptive",
        "test_waiting",
        "test_web",
    )
)


@pytest.hookimpl(tryfirst=True)  # Before -m looks at the marks.
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks and sorts; tests of a file stay together and in their order."""
    for name in (*LONG, *LAST, *ONE_STACK):
        assert (pathlib.Path(__file__).parent / f"{name}.py").exists(), name
    places = {name: number - len(LONG) for number, name in enumerate(LONG)}
    places.update({name: number for number, name in enumerate(LAST, 1)})
    names = {item: pathlib.Path(item.path).stem for item in items}
    for item, name in names.items():
        if name in ONE_STACK:
            item.add_marker(pytest.mark.one_stack)
    items.sort(key=lambda item: places.get(names[item], 0))
