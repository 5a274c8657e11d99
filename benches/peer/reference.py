"""The networks and the pipeline of infer-rvc-python, imported past what of its needs is not used here."""

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
    return importlib.import_module(f"infer_rvc_python.{name}")


def models():
    """The synthesizers."""
    return _load("lib.infer_pack.models")


def synthesizer(version: str, has_f0: bool):
    """The class of synthesizer for voices of `version`, `v1` or `v2`."""
    units = {"v1": 256, "v2": 768}[version]
    return getattr(models(), f"SynthesizerTrnMs{units}NSFsid" + ("" if has_f0 else "_nono"))


def rmvpe():
    """RMVPE's network and its mel front end."""
    return _load("lib.rmvpe")


@functools.cache
def application():
    """What loads checkpoints, and the pipeline `VC`. Needs faiss besides the requirements beside this file."""
    # Decoding and trackers that nothing here asks for.
    for name in ("ffmpeg", "parselmouth", "pyworld", "torchcrepe"):
        if importlib.util.find_spec(name) is None:
            sys.modules[name] = types.ModuleType(name)
    return _load("main")
