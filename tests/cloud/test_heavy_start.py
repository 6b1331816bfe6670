"""How the heavy model's server is started, and how it ends: by the commands, as a child, and when it cannot start."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from nearhand import BundleError, UsageError
from nearhand_cloud.heavy import HeavyModel
from nearhand_cloud.heavy.serving import is_ready, running
from tests.cloud.heavy_server import heavy_bundle, request_body
from tests.sdk import serving_factory
from tests.tiny import Tiny


def test_a_child_serves_and_ends_with_the_block(tiny: Tiny) -> None:
    with running(tiny.path, port=0) as heavy:
        assert heavy.line == f"nearhand-cloud: heavy model tiny on {heavy.url}"
        with HeavyModel.open(tiny.path) as model:
            body = request_body(model, [3, 9, 15], [4.0, 4.0, 8.0], list(range(30, 130)))
            expected = model.scores([3, 9, 15], [4.0, 4.0, 8.0], list(range(30, 130)))
        request = urllib.request.Request(
            f"{heavy.url}/v2/models/tiny/infer", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert json.load(answer)["outputs"][0]["data"] == pytest.approx(expected.tolist(), abs=1e-5)
    assert heavy.process.returncode == 0
    port = int(heavy.url.rpartition(":")[2])
    assert not is_ready("127.0.0.1", port, "tiny")


def test_a_child_ends_when_its_parent_does(tiny: Tiny) -> None:
    command = [sys.executable, "-m", "nearhand_cloud.heavy", "serve", str(tiny.path), "--port", "0", "--with-parent"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"nearhand-cloud: heavy model tiny on ")
        assert process.stdin is not None
        process.stdin.close()  # as the system does when the parent is gone
        assert process.wait(60) == 0


def test_a_port_that_is_taken_is_said(tiny: Tiny) -> None:
    with running(tiny.path, port=0) as heavy:
        port = int(heavy.url.rpartition(":")[2])
        # MLServer gives up; a child that answered for the other one's model would be worse.
        with pytest.raises(UsageError, match="did not start"), running(tiny.path, port=port):
            pass


def test_a_bundle_that_is_none_is_refused_by_the_caller(tmp_path: Path) -> None:
    broken = tmp_path / "broken.nearhand"
    broken.write_bytes(b"no bundle")
    with pytest.raises(BundleError), running(broken, port=0):
        pass


def test_a_ranker_that_needs_the_events_is_refused() -> None:
    bundle = serving_factory.serving_bundle(serving_factory.part("tiny").parent)
    with pytest.raises(UsageError, match="'met' does not follow from features of the profile"):
        HeavyModel.open(bundle)


def test_the_settings_command_writes_what_mlserver_reads(tmp_path: Path) -> None:
    folder = tmp_path / "served"
    command = [sys.executable, "-m", "nearhand_cloud.heavy", "settings", str(heavy_bundle()), str(folder)]
    done = subprocess.run([*command, "--batch-size", "8"], capture_output=True, text=True, check=True)
    assert done.stdout == f"wrote {folder}; serve it with: mlserver start {folder}\n"
    settings = json.loads((folder / "model-settings.json").read_text(encoding="utf-8"))
    assert settings["name"] == "tiny-heavy"
    assert settings["parameters"]["extra"] == {"max_batch_size": 8, "max_batch_time": 0.002}
    assert (folder / "heavy.nearhand").read_bytes() == heavy_bundle().read_bytes()
    missing = subprocess.run(
        [*command[:-2], str(tmp_path / "none"), str(folder)], capture_output=True, text=True, check=False
    )
    assert missing.returncode == 1
    assert missing.stderr.startswith("nearhand-cloud: ")
    assert "Traceback" not in missing.stderr


def test_a_server_whose_model_does_not_load_fails() -> None:
    bundle = serving_factory.serving_bundle(serving_factory.part("tiny").parent)
    command = [sys.executable, "-m", "nearhand_cloud.heavy", "serve", str(bundle), "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "does not follow from features of the profile" in done.stderr
    assert done.stdout == ""


def test_sigint_ends_it_too(tiny: Tiny) -> None:
    command = [sys.executable, "-m", "nearhand_cloud.heavy", "serve", str(tiny.path), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


def test_the_endpoint_serves_it_beside_the_intake(tiny: Tiny, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "nearhand_cloud", "--port", "0", "--data", str(tmp_path / "cloud")]
    command += ["--write-key", "test-write-key", "--heavy", str(tiny.path), "--heavy-port", "0"]
    errors = tmp_path / "errors.txt"
    with errors.open("w") as log, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process:
        assert process.stdout is not None
        said = [process.stdout.readline().split(" on ") for _ in range(2)]
        assert [what for what, _ in said] == ["nearhand-cloud: heavy model tiny", "nearhand-cloud: listening"]
        heavy, endpoint = (url.strip() for _, url in said)
        for url in (f"{heavy}/v2/models/tiny/ready", f"{endpoint}/readyz"):
            with urllib.request.urlopen(url, timeout=60) as answer:
                assert answer.status == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert not is_ready("127.0.0.1", int(heavy.rpartition(":")[2]), "tiny")
    assert "Traceback" not in errors.read_text(encoding="utf-8")
