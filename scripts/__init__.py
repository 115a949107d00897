"""Thin absl binaries (parse, build, call); installed as the package `srgan_tf_scripts`."""
