"""No Docker engine runs here, so that what compose file and Dockerfile name is checked against what there is."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from tests.services.gcs import VERSION as GCS_VERSION
from tests.services.kafka import IMAGE as KAFKA_IMAGE
from tests.unit.commands import complaint, is_setting, streamlake_commands

ROOT = Path(__file__).parents[2]
COMPOSE: Mapping[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: Mapping[str, Any] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
DOCKERFILES = {"image": DOCKERFILE, "airflow": (ROOT / "airflow/Dockerfile").read_text()}
"""By the name of what they install: the lock, and its group of dependencies."""
CLI = [name for name, service in SERVICES.items() if service["image"] == "streamlake:local"]
OURS = [*CLI, "airflow"]
LONG_RUNNING = [name for name in SERVICES if name != "setup"]
BIN = Path(sys.executable).parent


def instructions(dockerfile: str) -> list[str]:
    """A line each, without comments."""
    return re.sub(r"^#.*\n", "", dockerfile, flags=re.MULTILINE).replace("\\\n", " ").splitlines()


INSTRUCTIONS = instructions(DOCKERFILE)
AIRFLOW_INSTRUCTIONS = instructions(DOCKERFILES["airflow"])


def arguments(service: str) -> list[list[str]]:
    """What a service runs of the CLI."""
    told = SERVICES[service]
    if "entrypoint" in told:
        return list(streamlake_commands("\n".join(told["command"])))
    return [told["command"]]


def option(service: str, name: str) -> str:
    """The value of an option of a service's one command."""
    [command] = arguments(service)
    return str(command[command.index(name) + 1])


def listeners(text: str) -> dict[str, str]:
    """Kafka's `NAME://host:port,...`."""
    return dict(each.split("://") for each in text.split(","))


def copied_from_here() -> list[str]:
    """The sources of every COPY from the build context."""
    lines = [line for dockerfile in DOCKERFILES.values() for line in instructions(dockerfile)]
    copies = [line.split()[1:-1] for line in lines if line.startswith("COPY ") and "--from=" not in line]
    return [source.rstrip("/") for sources in copies for source in sources]


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120, check=False
    )


def test_the_compose_file_is_what_the_specification_wants() -> None:
    done = run(str(BIN / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec", "docker-compose.yml")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("dockerfile", ["Dockerfile", "airflow/Dockerfile"])
def test_the_dockerfile_has_nothing_for_the_linter_to_say(dockerfile: str) -> None:
    done = run(str(BIN / "hadolint"), dockerfile)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("service", CLI)
def test_every_command_of_the_compose_file_is_one_of_the_cli(service: str) -> None:
    commands = arguments(service)
    assert commands
    assert [wrong for command in commands if (wrong := complaint(command))] == []


def test_the_image_runs_the_cli_and_without_a_command_its_help() -> None:
    assert 'ENTRYPOINT ["streamlake"]' in INSTRUCTIONS
    assert 'CMD ["--help"]' in INSTRUCTIONS
    assert complaint(["--help"]) is None


@pytest.mark.parametrize("service", OURS)
def test_every_setting_of_the_compose_file_exists(service: str) -> None:
    told = [name for name in SERVICES[service]["environment"] if name.startswith("STREAMLAKE_")]
    assert told
    assert [name for name in told if not is_setting(name)] == []


def test_every_setting_named_in_comments_exists() -> None:
    named = re.findall(r"STREAMLAKE_\w+", (ROOT / "docker-compose.yml").read_text() + "".join(DOCKERFILES.values()))
    assert [name for name in named if not is_setting(name)] == []


def test_every_image_is_pinned_to_one_version() -> None:
    base = [line.split()[1] for line in INSTRUCTIONS + AIRFLOW_INSTRUCTIONS if line.startswith("FROM ")]
    assert len(set(base)) == 1, "every stage must have the same Python"
    images = [service["image"] for name, service in SERVICES.items() if name not in OURS]
    assert all(re.fullmatch(r"[a-z/-]+:\d+\.\d+\.\d+[a-z-]*", image) for image in base + images)


def test_the_servers_are_those_that_the_tests_run_on() -> None:
    assert SERVICES["kafka"]["image"] == KAFKA_IMAGE
    assert SERVICES["gcs"]["image"] == f"fsouza/fake-gcs-server:{GCS_VERSION.removeprefix('v')}"


def test_what_the_dockerfile_copies_exists_and_is_not_ignored() -> None:
    kept = {
        line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")
    }
    sources = set(copied_from_here())
    assert [source for source in sources if not (ROOT / source).exists()] == []
    assert sources == kept, ".dockerignore must let in what is copied, and nothing else"


@pytest.mark.parametrize("dockerfile", DOCKERFILES.values(), ids=DOCKERFILES)
def test_the_image_does_not_run_as_root(dockerfile: str) -> None:
    final = dockerfile[dockerfile.rindex("\nFROM ") :]
    [user] = re.findall(r"^USER (\d+):(\d+)$", final, flags=re.MULTILINE)
    assert "0" not in user


@pytest.mark.parametrize(("name", "group"), [("image", "build"), ("airflow", "airflow")])
def test_what_the_image_uninstalls_is_needed_for_building_alone(name: str, group: str) -> None:
    [uninstalled] = re.findall(r"uninstall --yes\s+(.+)", "\n".join(instructions(DOCKERFILES[name])))
    building_group = f"streamlake (pyproject.toml:{group})"
    needed_by: dict[str, set[str]] = {}
    package = ""
    for line in (ROOT / f"requirements/{name}.lock").read_text().splitlines():
        if found := re.match(r"([a-z0-9][a-z0-9._-]*)==", line):
            package = found[1]
        elif package and (found := re.match(r"    # +(?:via )?([a-z0-9][a-z0-9._-]*(?: \(.*\))?)$", line)):
            needed_by.setdefault(package, set()).add(found[1])
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]["build"]
    building = {re.split(r"[^A-Za-z0-9-]", requirement)[0] for requirement in told}
    assert building <= set(uninstalled.split())
    assert all(building_group in needed_by[package] for package in building)
    assert [
        package for package in uninstalled.split() if not needed_by[package] <= {building_group, "hatchling", "via"}
    ] == []


@pytest.mark.parametrize("name", DOCKERFILES)
def test_the_image_has_all_that_the_package_and_its_extras_ask_for(name: str) -> None:
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())
    lock = (ROOT / f"requirements/{name}.lock").read_text()
    [extras] = re.findall(rf"uv pip compile (.+) -o requirements/{name}\.lock", lock)
    wanted = [*told["project"]["dependencies"], *told["dependency-groups"]["build"]]
    for extra in re.findall(r"--extra (\w+)", extras):
        wanted += told["project"]["optional-dependencies"][extra]
    locked = set(re.findall(r"^([a-z0-9-]+)==", lock, re.MULTILINE))
    assert {re.split(r"[^A-Za-z0-9-]", requirement)[0].lower() for requirement in wanted} - locked == set()


@pytest.mark.parametrize("service", LONG_RUNNING)
def test_every_long_running_service_has_a_health_check(service: str) -> None:
    check = SERVICES[service]["healthcheck"]
    assert check["test"][0] == "CMD"
    assert {"interval", "timeout", "retries", "start_period"} <= check.keys()


@pytest.mark.parametrize(("service", "port"), [("api", "--port"), ("consumer", "--http-port")])
def test_health_checks_ask_a_path_that_is_served_on_the_port_that_is_listened_on(service: str, port: str) -> None:
    [url] = re.findall(r"http://[^']+", " ".join(SERVICES[service]["healthcheck"]["test"]))
    asked = urlsplit(url)
    assert asked.port == int(option(service, port))
    source = {"api": "http_api/app.py", "consumer": "consumer_process.py"}[service]
    assert f'"{asked.path}"' in (ROOT / "src/streamlake/entrypoints" / source).read_text()


@pytest.mark.parametrize(("service", "host"), [("api", "--host"), ("consumer", "--http-host")])
def test_servers_in_containers_listen_on_every_address(service: str, host: str) -> None:
    assert option(service, host) == "0.0.0.0"  # noqa: S104 - inside a container


def test_airflow_is_asked_on_the_port_that_it_listens_on() -> None:
    [command] = [json.loads(line.removeprefix("CMD ")) for line in AIRFLOW_INSTRUCTIONS if line.startswith("CMD ")]
    port = command[command.index("--port") + 1]
    assert command[command.index("--host") + 1] == "0.0.0.0"  # noqa: S104 - inside a container
    assert f"EXPOSE {port}" in AIRFLOW_INSTRUCTIONS
    assert [each.split(":")[2] for each in SERVICES["airflow"]["ports"]] == [port]
    asked = SERVICES["airflow"]["healthcheck"]["test"]
    assert asked[asked.index("--port") + 1] == port


def test_airflow_has_the_database_of_its_home_where_it_may_write() -> None:
    [entry] = [
        json.loads(line.removeprefix("ENTRYPOINT ")) for line in AIRFLOW_INSTRUCTIONS if line.startswith("ENTRYPOINT ")
    ]
    home = entry[entry.index("--home") + 1]
    assert home in [each.split(":")[0] for each in SERVICES["airflow"]["tmpfs"]]
    assert (ROOT / entry[1]).is_file()


def test_published_and_exposed_ports_are_listened_on() -> None:
    assert [port.split(":")[2] for port in SERVICES["api"]["ports"]] == [option("api", "--port")]
    assert SERVICES["consumer"]["expose"] == [option("consumer", "--http-port")]
    assert "ports" not in SERVICES["consumer"], "a published port would be taken by the first of several consumers"
    [exposed] = [line.split()[1:] for line in INSTRUCTIONS if line.startswith("EXPOSE ")]
    assert exposed == [option("api", "--port"), option("consumer", "--http-port")]


@pytest.mark.parametrize("service", list(SERVICES))
def test_ports_are_published_on_this_machine_only(service: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[service].get("ports", []))


def test_kafka_says_the_addresses_that_it_is_asked_on() -> None:
    kafka = SERVICES["kafka"]["environment"]
    listens, says = listeners(kafka["KAFKA_LISTENERS"]), listeners(kafka["KAFKA_ADVERTISED_LISTENERS"])
    protocols = dict(each.split(":") for each in kafka["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(","))
    inside, controller = kafka["KAFKA_INTER_BROKER_LISTENER_NAME"], kafka["KAFKA_CONTROLLER_LISTENER_NAMES"]
    assert listens.keys() == protocols.keys() == says.keys() | {controller}
    for name, address in says.items():
        assert address.split(":")[1] == listens[name].split(":")[1]
    for service in OURS:
        assert SERVICES[service]["environment"]["STREAMLAKE_EVENT_LOG"] == f"kafka://{says[inside]}"
    assert says[inside].split(":")[0] == "kafka", "the service's own name"
    assert kafka["KAFKA_CONTROLLER_QUORUM_VOTERS"] == f"{kafka['KAFKA_NODE_ID']}@kafka{listens[controller]}"
    assert says[inside] in SERVICES["kafka"]["healthcheck"]["test"]
    [published] = SERVICES["kafka"]["ports"]
    outside = next(address for name, address in says.items() if name != inside)
    assert outside == f"localhost:{published.split(':')[1]}"


def test_the_emulator_is_asked_where_it_listens() -> None:
    gcs = SERVICES["gcs"]
    port = gcs["command"][gcs["command"].index("-port") + 1]
    assert f"http://gcs:{port}" in gcs["command"]
    assert gcs["command"][gcs["command"].index("-backend") + 1] == "memory"
    assert f":{port}/_internal/healthcheck" in gcs["healthcheck"]["test"][-1]
    assert [each.split(":")[2] for each in gcs["ports"]] == [port]
    for service in OURS:
        assert SERVICES[service]["environment"]["STORAGE_EMULATOR_HOST"] == f"http://gcs:{port}"


def test_contracts_are_where_the_setting_says() -> None:
    for service in OURS:
        told = SERVICES[service]
        [mounted] = told["volumes"]
        here, there, mode = mounted.split(":")
        assert (there, mode) == (told["environment"]["STREAMLAKE_CONTRACTS"], "ro")
        assert list((ROOT / here).glob("*.odcs.yaml"))


def test_the_consumer_lands_every_dataset_that_has_a_contract() -> None:
    [command] = arguments("consumer")
    told = {command[at + 1] for at, word in enumerate(command) if word == "--dataset"}
    assert told == {path.name.split(".")[0] for path in (ROOT / "contracts").glob("*.odcs.yaml")}


def test_services_start_when_what_they_stand_on_is_ready() -> None:
    assert SERVICES["setup"]["depends_on"] == {
        "kafka": {"condition": "service_healthy"},
        "gcs": {"condition": "service_healthy"},
    }
    for service in ("api", "consumer", "airflow"):
        assert SERVICES[service]["depends_on"] == {"setup": {"condition": "service_completed_successfully"}}


def test_a_stopping_service_is_given_the_time_it_takes() -> None:
    for service in ("api", "consumer"):
        assert int(SERVICES[service]["stop_grace_period"].removesuffix("s")) > 30


def test_there_is_no_secret_in_it() -> None:
    for service in SERVICES.values():
        assert not re.search(r"password|secret|token|credential|api_key", str(service), flags=re.IGNORECASE)
    assert not [name for name, dockerfile in DOCKERFILES.items() if "ARG " in dockerfile]


def test_the_setup_leaves_nothing_for_doctor_to_find(tmp_path: Path) -> None:
    environment = {
        "STREAMLAKE_EVENT_LOG": f"sqlite:{tmp_path / 'log.sqlite'}",
        "STREAMLAKE_OBJECT_STORE": f"file:{tmp_path / 'lake'}",
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
    }
    setup = SERVICES["setup"]
    done = run(*setup["entrypoint"], *setup["command"], **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FAIL" not in done.stdout
