"""The wheel: it holds what the tree holds, no tests, and works where the tree is not."""

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel with what is installed here."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"]
    run(*command, "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(out), str(ROOT))
    [made] = out.iterdir()
    return made


def run(*command: str, cwd: Path = ROOT, **env: str) -> str:
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def tree() -> set[str]:
    """Everything of the package that a clone has."""
    return {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "gateway").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        [licence] = [name for name in archive.namelist() if name.endswith("LICENSE")]
        assert archive.read(licence) == (ROOT / "LICENSE").read_bytes()
        assert {name: archive.read(name) for name in names} == {name: (ROOT / name).read_bytes() for name in names}
    assert names == tree()
    assert {"gateway/py.typed", "gateway/catalog/routes.yaml", "gateway/catalog/failures.yaml"} <= names
    assert any(name.startswith("gateway/stores/migrations/versions/") for name in names)


def test_the_wheel_works_without_the_tree(wheel: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    run(sys.executable, "-m", "venv", "--without-pip", str(home))
    python = home / "bin" / "python"
    site = Path(run(str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    run(sys.executable, "-m", "pip", "--python", str(python), "install", "-qq", "--no-deps", "--no-index", str(wheel))
    # The dependencies are those of this environment; its own editable install of the package comes later on the path.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", "utf-8")
    environment = {"PYTHONPATH": "", "OPENAI_API_KEY": "sk-planted"}

    where = run(str(python), "-c", "import gateway; print(gateway.__file__)", cwd=tmp_path, **environment)
    assert Path(where.strip()).is_relative_to(site)
    assert "gpt-image-2" in run(str(python), "-m", "gateway", "check", cwd=tmp_path, **environment)
    script = str(home / "bin" / "waybill")
    assert "openai" in run(script, "explain", "--model", "gpt-image-2", cwd=tmp_path, **environment)
