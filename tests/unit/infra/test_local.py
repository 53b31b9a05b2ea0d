"""The scripts for services of one machine, with stand-ins for the programs they start."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

LOCAL = Path(__file__).resolve().parents[3] / "infra" / "local"
TOOLS = (
    "bash",
    "cat",
    "dirname",
    "mkdir",
    "nohup",
    "od",
    "rm",
    "sed",
    "seq",
    "sleep",
    "tail",
    "tr",
)
SERVICES = {"object-store": "weed", "mlflow": "mlflow", "ray-head": "ray"}

LISTENER = """#!{python}
import os, socket
with socket.create_server(("127.0.0.1", int(os.environ["DAMO_YOLO_MLFLOW_PORT"]))) as server:
    while True:
        server.accept()[0].close()
"""


class Machine:
    """A checkout with the scripts and nothing installed, and a PATH of the plainest tools."""

    def __init__(self, folder: Path) -> None:
        self.scripts = folder / "infra" / "local"
        self.services = folder / "services"
        self.bin = folder / "bin"
        shutil.copytree(LOCAL, self.scripts)
        self.bin.mkdir()
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool) or tool)
        ports = {name: str(_free_port()) for name in ("S3", "MLFLOW", "RAY", "DASHBOARD")}
        self.env = {
            "PATH": str(self.bin),
            "DAMO_YOLO_SERVICES": str(self.services),
            **{f"DAMO_YOLO_{name}_PORT": port for name, port in ports.items()},
        }

    def install(self, program: str, text: str) -> None:
        path = self.bin / program
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)

    def run(self, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.bin / "bash"), str(self.scripts / script), *arguments],
            env=self.env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@pytest.mark.parametrize("path", sorted(LOCAL.glob("*.sh")), ids=lambda path: path.name)
def test_scripts_are_bash_and_can_be_started(path: Path) -> None:
    subprocess.run(["bash", "-n", str(path)], check=True)

    is_sourced = path.name == "settings.sh"
    assert os.access(path, os.X_OK) is not is_sourced


@pytest.mark.parametrize(("service", "program"), SERVICES.items())
def test_a_missing_program_is_named_with_its_fix(
    machine: Machine, service: str, program: str
) -> None:
    done = machine.run(f"{service}.sh")

    assert done.returncode == 2
    problem, fix = done.stderr.splitlines()
    assert problem == f"error: the program '{program}' is not installed"
    assert fix.startswith("  fix: ")


def test_up_passes_a_missing_program_on(machine: Machine) -> None:
    done = machine.run("up.sh", "mlflow")

    assert done.returncode == 2
    assert "error: the program 'mlflow' is not installed" in done.stderr
    assert not (machine.services / "mlflow.pid").exists()


def test_a_port_in_use_is_named_with_the_variable_that_moves_it(machine: Machine) -> None:
    machine.install("mlflow", "#!/bin/sh\n")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        machine.env["DAMO_YOLO_MLFLOW_PORT"] = port

        done = machine.run("mlflow.sh")

    assert done.returncode == 2
    assert f"error: port {port} of this machine is in use" in done.stderr
    assert "export DAMO_YOLO_MLFLOW_PORT=" in done.stderr


def test_an_unknown_service_is_refused_before_anything_starts(machine: Machine) -> None:
    done = machine.run("up.sh", "mlflow", "redis")

    assert done.returncode == 2
    assert "no service is called 'redis'" in done.stderr
    assert not (machine.services / "mlflow.log").exists()


def test_the_store_listens_here_only_and_makes_its_keys_once(machine: Machine) -> None:
    machine.install("weed", '#!/bin/sh\necho "$@"\n')

    first = machine.run("object-store.sh")
    keys = (machine.services / "keys").read_text(encoding="utf-8")
    machine.run("object-store.sh")

    assert "-ip.bind=127.0.0.1" in first.stdout
    assert f"-s3.port={machine.env['DAMO_YOLO_S3_PORT']}" in first.stdout
    assert (machine.services / "keys").read_text(encoding="utf-8") == keys
    config = json.loads((machine.services / "s3.json").read_text(encoding="utf-8"))
    (credentials,) = config["identities"][0]["credentials"]
    assert f"AWS_SECRET_ACCESS_KEY={credentials['secretKey']}\n" in keys
    assert len(credentials["secretKey"]) == 40  # 20 bytes as hex


@pytest.mark.parametrize("name", ["keys", "s3.json"])
def test_nobody_else_reads_the_keys(machine: Machine, name: str) -> None:
    machine.install("weed", "#!/bin/sh\n")

    machine.run("object-store.sh")

    assert (machine.services / name).stat().st_mode & 0o777 == 0o600


def test_the_ray_head_asks_for_a_token(machine: Machine) -> None:
    machine.install("ray", '#!/bin/sh\necho "$RAY_AUTH_MODE $RAY_AUTH_TOKEN_PATH"\n')

    done = machine.run("ray-head.sh")

    token = machine.services / "ray_token"
    assert done.stdout.split() == ["token", str(token)]
    assert len(token.read_text(encoding="utf-8")) == 64
    assert token.stat().st_mode & 0o777 == 0o600


def test_what_ray_runs_finds_the_object_store(machine: Machine) -> None:
    machine.install("weed", "#!/bin/sh\n")
    machine.install("ray", '#!/bin/sh\necho "$AWS_SECRET_ACCESS_KEY $AWS_ENDPOINT_URL"\n')
    machine.run("object-store.sh")

    secret, endpoint = machine.run("ray-head.sh").stdout.split()

    assert f"AWS_SECRET_ACCESS_KEY={secret}\n" in (machine.services / "keys").read_text("utf-8")
    assert endpoint == f"http://127.0.0.1:{machine.env['DAMO_YOLO_S3_PORT']}"


def test_up_starts_a_service_and_down_stops_it(machine: Machine) -> None:
    machine.install("mlflow", LISTENER.format(python=sys.executable))
    port = machine.env["DAMO_YOLO_MLFLOW_PORT"]

    up = machine.run("up.sh", "mlflow")
    again = machine.run("up.sh", "mlflow")
    env = (machine.services / "env").read_text(encoding="utf-8")
    pid = int((machine.services / "mlflow.pid").read_text(encoding="utf-8"))
    down = machine.run("down.sh")

    assert f"mlflow is up at 127.0.0.1:{port}" in up.stdout, up.stderr
    assert "mlflow is up already" in again.stdout
    assert f"export MLFLOW_TRACKING_URI=http://127.0.0.1:{port}\n" in env
    assert "AWS_ENDPOINT_URL" not in env  # no store was started
    assert down.stdout == "mlflow is stopped\n"
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert not (machine.services / "mlflow.pid").exists()


def test_down_has_nothing_to_do_twice(machine: Machine) -> None:
    done = machine.run("down.sh")

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
