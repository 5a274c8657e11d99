"""The networks of infer-rvc-python, imported past its package `__init__`, which needs much that is not used here."""

import functools
import importlib
import importlib.util
import os
import sys
import types


@functools.cache
def _package_folder() -> str:
    spec = importlib.util.find_spec("infer_rvc_python")
    if spec is None:
        sys.exit("infer-rvc-python is missing: pip install --no-deps infer-rvc-python==1.3.1")
    return spec.submodule_search_locations[0]


def _load(name: str):
    root = _package_folder()
    for package in ("infer_rvc_python", "infer_rvc_python.lib", "infer_rvc_python.lib.infer_pack"):
        if package not in sys.modules:
            module = types.ModuleType(package)
            module.__path__ = [os.path.join(root, *package.split(".")[1:])]
            sys.modules[package] = module
    return importlib.import_module(f"infer_rvc_python.lib.{name}")


def models():
    """The synthesizers."""
    return _load("infer_pack.models")


def rmvpe():
    """RMVPE's network and its mel front end."""
    return _load("rmvpe")
