"""The chain under Prefect: equal artifacts, cached tasks shown as such, real deployments on a server of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from tiny import Said, request, run, write_profile

from fusionseg.pipeline.graph import STAGES
from fusionseg.pipeline.store.runs import read_run

CHECKOUT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.system


def environment(home: Path, **more: str) -> dict[str, str]:
    """This process's environment with an empty Prefect home and no network to the outside."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    return kept | {
        "PREFECT_HOME": str(home),
        "NO_PROXY": "127.0.0.1,localhost",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    } | more  # fmt: skip


def contents(out: Path) -> dict[tuple[str, str], tuple[str, str]]:
    run = read_run(out, "tiny")
    return {(r.stage, r.video): (r.key, r.content) for stage in run.stages.values() for r in stage.records}


@pytest.fixture
def gate() -> Iterator[tuple[dict[str, str], list[str]]]:
    """A proxy for whoever tries to leave the machine: the settings that lead there, and what it was asked."""
    asked: list[str] = []

    class Refuse(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            asked.append(self.rfile.readline().decode(errors="replace").strip())

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Refuse) as listener:
        threading.Thread(target=listener.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{listener.server_address[1]}"
        names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
        yield dict.fromkeys(names, url), asked
        listener.shutdown()


def test_equal_artifacts_no_traceback_and_nothing_leaves_the_machine(
    tmp_path: Path, gate: tuple[dict[str, str], list[str]]
) -> None:
    settings, asked = gate
    probe = "import urllib.request as r; r.urlopen('http://example.com', timeout=5)"
    subprocess.run([sys.executable, "-c", probe], env=environment(tmp_path / "home", **settings), capture_output=True)
    assert len(asked) == 1  # the gate notices
    profile = write_profile(tmp_path)
    command = [sys.executable, "-m", "fusionseg.cli", "run", str(profile), "--device", "cpu", "--out"]
    first = subprocess.run(
        [*command, str(tmp_path / "prefect")],
        capture_output=True,
        text=True,
        env=environment(tmp_path / "home", **settings),
    )
    assert first.returncode == 0, first.stdout + first.stderr
    assert "Traceback" not in first.stdout + first.stderr
    assert len(asked) == 1, asked
    run(request(tmp_path, out="plain"), say=Said())
    assert contents(tmp_path / "prefect") == contents(tmp_path / "plain")


def test_bad_input_under_prefect_is_one_line(tmp_path: Path) -> None:
    profile = write_profile(tmp_path)
    run(request(tmp_path), "optical-flow", say=Said())
    frame = sorted((tmp_path / "out" / "rendered").rglob("boxed-*/000002.JPEG"))[0]
    frame.write_bytes(frame.read_bytes()[:-200])  # found by a task, not before the flow starts
    command = [sys.executable, "-m", "fusionseg.cli", "run", str(profile), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(tmp_path / "home"))
    assert done.returncode == 2
    assert "truncated JPEG" in done.stderr and "Traceback" not in done.stderr


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A Prefect server on loopback; the environment that reaches it."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/api"
    env = environment(tmp_path / "home", PREFECT_API_URL=url, PREFECT_SERVER_ANALYTICS_ENABLED="false")  # as in README
    log = (tmp_path / "server.log").open("w")
    process = subprocess.Popen(
        ["prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)],
        env=env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    try:
        wait_for(env["PREFECT_API_URL"] + "/health", 90)
        yield env
    finally:
        stop(process)
        log.close()


def wait_for(url: str, seconds: float) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5).close()
            return
        except OSError:
            assert time.monotonic() < end, f"{url} does not answer"
            time.sleep(0.5)


def stop(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def ask(env: dict[str, str], path: str, query: dict[str, object]) -> list[dict[str, object]]:
    """POST a filter to the server's API."""
    asked = urllib.request.Request(
        env["PREFECT_API_URL"] + path, json.dumps(query).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(asked, timeout=30) as answer:
        found: list[dict[str, object]] = json.load(answer)
    return found


def check_artifacts(artifacts: list[dict[str, object]], out: Path) -> None:
    """The headline of the chain's run stands in Prefect: table, text, picture, progress."""
    found = {str(artifact["key"]): artifact for artifact in artifacts if artifact["key"]}
    assert {key: artifact["type"] for key, artifact in found.items()} == {
        "fusionseg-tiny-scores": "table", "fusionseg-tiny-report": "markdown", "fusionseg-tiny-frames": "image",
        "fusionseg-tiny-progress": "progress",
    }  # fmt: skip
    assert found["fusionseg-tiny-progress"]["data"] == 100
    rows = json.loads(str(found["fusionseg-tiny-scores"]["data"]))
    overall = pd.read_parquet(out / "reports/tiny-tables/overall.parquet").set_index("method")
    measured = {row["method"]: row["J"] for row in rows if not row["kind"].startswith("published")}
    assert measured == {method: f"{100 * value:.1f}" for method, value in overall["J"].items()}
    assert f"{out}/reports/tiny.html" in str(found["fusionseg-tiny-report"]["data"])
    assert str(found["fusionseg-tiny-frames"]["data"]).startswith("data:image/jpeg;base64,")


def test_deployments_of_the_chain_and_of_one_stage(server: dict[str, str], tmp_path: Path) -> None:
    profile = write_profile(tmp_path)
    steps = [
        ["work-pool", "create", "fusionseg", "--type", "process"],
        ["--no-prompt", "deploy", "--all"],
    ]
    for step in steps:
        done = subprocess.run(["prefect", *step], cwd=CHECKOUT, env=server, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    log = (tmp_path / "worker.log").open("w")
    worker = subprocess.Popen(
        ["prefect", "worker", "start", "--pool", "fusionseg"],
        cwd=CHECKOUT, env=server, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    try:
        for deployment in ("fusionseg/chain", "flow-filter/stage"):
            parameters = [f"profile={profile}", f"out={tmp_path / 'out'}", "device=cpu"]
            command = ["prefect", "deployment", "run", deployment, "--watch"]
            for parameter in parameters:
                command += ["--param", parameter]
            done = subprocess.run(command, cwd=CHECKOUT, env=server, capture_output=True, text=True, timeout=400)
            assert done.returncode == 0, done.stdout + done.stderr + (tmp_path / "worker.log").read_text()
    finally:
        stop(worker)
        log.close()
    runs = ask(server, "/flow_runs/filter", {"limit": 100})
    assert {run["state_type"] for run in runs} == {"COMPLETED"}
    assert len(runs) == 1 + len(STAGES) + 1
    check_artifacts(ask(server, "/artifacts/filter", {"limit": 100}), tmp_path / "out")
    # The single stage found everything there, and Prefect shows it as cached.
    last = max(runs, key=lambda run: str(run["start_time"]))
    tasks = ask(server, "/task_runs/filter", {"flow_runs": {"id": {"any_": [last["id"]]}}})
    assert {task["state_name"] for task in tasks} == {"Cached"} and len(tasks) == 1
