"""The wheel, and the editable install that tests/run makes, both offer the plugin and the command."""

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONFIGURATION = 'acme.agree_tos = true\n[[site]]\nnames = ["a.example"]\nupstream = "http://127.0.0.1:8000"\n'


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the sources: setuptools leaves its scratch files beside them."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("setup.cfg", "pyproject.toml", "README.rst", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("appliance", "twisted"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "dropin.cache"))
    _run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, source])
    (built,) = folder.glob("*.whl")
    return built


def _run(command: list[str | Path], folder: Path | None = None) -> str:
    """A command's output; fails with it."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "COVERAGE"))}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_wheel_s_content(wheel: Path) -> None:
    """The package with its type marker, the plugin, the licence; no tests, and nothing of Twisted's."""
    names = zipfile.ZipFile(wheel).namelist()
    assert "appliance/tap.py" in names
    assert "appliance/py.typed" in names
    assert {name for name in names if name.startswith("twisted/")} == {"twisted/plugins/appliance_plugin.py"}
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"appliance", "twisted"}


def test_the_wheel_installed(wheel: Path, tmp_path: Path) -> None:
    """In an environment of its own, away from the sources: twist knows it, and the command checks a file."""
    venv.create(tmp_path / "env", with_pip=False, symlinks=True)
    _run([sys.executable, "-m", "pip", "--python", tmp_path / "env", "install", "--quiet", "--no-deps", wheel])
    # The dependencies are those of the environment that runs the tests, behind the wheel on the path.
    (packages,) = (tmp_path / "env").glob("lib/python*/site-packages")
    ours = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "dependencies.pth").write_text("\n".join(ours) + "\n")
    file = tmp_path / "appliance.toml"
    file.write_text(CONFIGURATION)
    python = tmp_path / "env" / "bin" / "python"

    where = _run([python, "-c", "import appliance; print(appliance.__file__)"], tmp_path)
    assert where.startswith(str(packages))
    assert "--demo" in _run([python, "-m", "twisted", "appliance", "--help"], tmp_path)
    assert "good, 1 site" in _run([tmp_path / "env" / "bin" / "appliance", "check", file], tmp_path)
