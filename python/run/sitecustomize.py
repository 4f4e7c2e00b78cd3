# SPDX-License-Identifier: Apache-2.0
"""On the path of an application under `forkspan run --python`: repairs the OpenTelemetry SDK's exporters where they are
imported, then does what a sitecustomize of the environment would have done."""
import os
import sys

_here = os.path.dirname(os.path.abspath(__file__))


def _chain():
    from importlib.machinery import PathFinder
    from importlib.util import module_from_spec

    elsewhere = [p for p in sys.path if os.path.abspath(p or ".") != _here]
    spec = PathFinder.find_spec("sitecustomize", elsewhere)
    if spec and spec.loader:
        module = module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


try:
    import forkspan_repair

    forkspan_repair.install()
except Exception as error:  # the application must start, whatever is wrong here
    sys.stderr.write(f"forkspan: the OpenTelemetry SDK is not looked after: {error!r}\n")
_chain()
