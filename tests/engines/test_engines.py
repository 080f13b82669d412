"""What is wrong with an engine's words is said before anything is trained or submitted."""

import sys

import pytest

from iskit.engines import Options, engine
from iskit.errors import InputError


def test_an_unknown_engine_and_one_that_is_not_installed(monkeypatch):
    with pytest.raises(InputError, match="engine='rey' is unknown: did you mean 'ray'"):
        engine("rey", Options())
    for name, package in (("ray", "ray"), ("slurm", "submitit.core.job_environment")):
        monkeypatch.setitem(sys.modules, package, None)
        monkeypatch.delitem(sys.modules, f"iskit.engines.on_{name}", raising=False)
        with pytest.raises(InputError, match=rf"engine='{name}' needs {package}.*: pip install 'iskit\[{name}\]'"):
            engine(name, Options())


@pytest.mark.parametrize("options", [{"cpus": 0}, {"gpus": -1.0}, {"jobs": 0}, {"minutes": 0}])
def test_amounts_are_above_zero(options):
    [(name, value)] = options.items()
    with pytest.raises(InputError, match=f"{name}={value} must be above 0"):
        Options(**options)
