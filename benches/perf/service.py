"""The service and the text-to-speech server beside it, as processes of their own, and a client."""

import contextlib
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import requests

from fixtures import ROOT, model

# Longest wait for anything.
PATIENCE_S = 120
MIB = 2.0**20


class Service:
    """`syrinx serve` on a port that is free. Leaving its `with` block ends it."""

    def __init__(self, program: Path, data: Path, tts: str, *arguments: str) -> None:
        command = [program, "serve", "--listen", "127.0.0.1:0", "--data", data, "--tts", tts]
        # Voices that bring no encoder are given the one that the built-in voice was trained with.
        command += ["--encoder", ROOT / "models" / "default" / "encoder", "--rate-limit", "100000", *arguments]
        # `piper` is found beside this Python.
        environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        began = time.perf_counter()
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        line = self.process.stdout.readline()
        assert line.startswith("listening on http://"), f"syrinx serve says {line!r}"
        self.url = line.split()[-1]
        host, port = self.url.removeprefix("http://").split(":")
        # Without a library between, which would take longer than the service.
        connection = http.client.HTTPConnection(host, int(port), timeout=PATIENCE_S)
        connection.request("GET", "/health")
        assert connection.getresponse().status == 200
        self.started_s = time.perf_counter() - began
        connection.close()
        self.client = requests.Session()
        self.client.trust_env = False

    def __enter__(self) -> "Service":
        return self

    def __exit__(self, *_) -> None:
        self.client.close()
        self.process.terminate()
        self.process.wait(PATIENCE_S)

    def resident_mib(self) -> float:
        """What the process holds, as the system counts it."""
        return psutil.Process(self.process.pid).memory_info().rss / MIB

    def metrics(self) -> dict[str, float]:
        """`/metrics` by name, without the prefix."""
        text = self.ask("GET", "/metrics").text
        return {name: float(value) for name, value in re.findall(r"^syrinx_service_(\w+) (\S+)$", text, re.M)}

    def ask(self, method: str, path: str, expected: int = 200, **arguments) -> requests.Response:
        """A request whose answer must have this status."""
        answer = self.client.request(method, self.url + path, timeout=PATIENCE_S, **arguments)
        assert answer.status_code == expected, f"{method} {path}: {answer.status_code} {answer.text[:300]}"
        return answer

    def voice(self, name: str) -> str:
        """The id of a voice."""
        models = self.ask("GET", "/rvc-models").json()["models"]
        return next(model["id"] for model in models if model["name"] == name)

    def upload(self, name: str, path: Path) -> str:
        """Uploads a voice; its id."""
        with path.open("rb") as file:
            answer = self.ask("POST", "/rvc-models", 201, data={"name": name}, files={"pth_file": (path.name, file)})
        return answer.json()["id"]

    def say(self, text: str, **fields) -> str:
        """Queues a text; the job's id."""
        return self.ask("POST", "/jobs", 202, json={"text": text, **fields}).json()["id"]

    def convert(self, recording: bytes, voice: str, **fields) -> str:
        """Queues a recording; the job's id."""
        data, files = {"rvc_model_id": voice, **fields}, {"audio": ("speech.wav", recording)}
        return self.ask("POST", "/jobs/convert", 202, data=data, files=files).json()["id"]

    def result(self, job: str) -> bytes:
        """A job's wav, waited for."""
        wav = self.ask("GET", f"/jobs/{job}/download", params={"timeout": PATIENCE_S}).content
        assert wav[:4] == b"RIFF" and len(wav) > 5000, f"job {job} gave {len(wav)} bytes"
        return wav

    def outcome(self, job: str) -> dict:
        """What a finished job tells of itself."""
        return self.ask("GET", f"/jobs/{job}").json()["outcome"]

    def speak(self, text: str, voice: str) -> tuple[float, float, float]:
        """Seconds until the first sound and until the end of `POST /v1/audio/speech`, and seconds of audio."""
        began = time.perf_counter()
        body = {"input": text, "voice": voice, "response_format": "pcm"}
        answer = self.ask("POST", "/v1/audio/speech", json=body, stream=True)
        first, count = None, 0
        for chunk in answer.iter_content(None):
            first = first or time.perf_counter() - began
            count += len(chunk)
        return first, time.perf_counter() - began, count / 2 / int(answer.headers["x-sample-rate"])


@contextlib.contextmanager
def piper():
    """wyoming-piper with the voice joe, warm; gives its place as `--tts` wants it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = str(model().parent)
    command = [sys.executable, "-m", "wyoming_piper", "--voice", model().stem, "--uri", f"tcp://127.0.0.1:{port}"]
    command += ["--data-dir", folder, "--download-dir", folder]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        began = time.perf_counter()
        while True:
            with contextlib.suppress(ConnectionRefusedError):
                piper_speaks(port, "One.")
                break
            assert time.perf_counter() - began < PATIENCE_S, "wyoming-piper does not listen"
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def piper_speaks(port: int, text: str) -> tuple[float, float, float]:
    """Seconds until the first sound and until the end by the Wyoming protocol alone, and seconds of audio."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as connection:
        stream = connection.makefile("rwb")
        began = time.perf_counter()
        stream.write(json.dumps({"type": "synthesize", "data": {"text": text}}).encode() + b"\n")
        stream.flush()
        first, seconds = None, 0.0
        while True:
            event = json.loads(stream.readline())
            data = {**event.get("data", {}), **json.loads(stream.read(event.get("data_length") or 0) or b"{}")}
            audio = stream.read(event.get("payload_length") or 0)
            if event["type"] == "audio-chunk":
                first = first or time.perf_counter() - began
                seconds += len(audio) / data["width"] / data["channels"] / data["rate"]
            elif event["type"] == "audio-stop":
                return first, time.perf_counter() - began, seconds


def espeak_speaks(text: str) -> tuple[float, float, float]:
    """The same by espeak-ng, run as the service runs it."""
    began = time.perf_counter()
    command = ["espeak-ng", "--stdout", "--stdin", "-b", "1"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
    process.stdin.write(text.encode())
    process.stdin.close()
    head, first, count = b"", None, 0
    while chunk := process.stdout.read(8192):
        head, count = head or chunk, count + len(chunk)
        # Its header comes alone and is no sound.
        if count > 44:
            first = first or time.perf_counter() - began
    process.wait()
    return first, time.perf_counter() - began, (count - 44) / 2 / int.from_bytes(head[24:28], "little")
