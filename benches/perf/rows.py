"""The sixteen measurements that the original service promised, and five of ours: each by the real service.

Every function returns its figures; what is measured stands in its docstring, which the results repeat.
"""

import concurrent.futures
import dataclasses
import functools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import fixtures
from service import Service, espeak_speaks, piper_speaks

HERE = Path(__file__).parent


@dataclasses.dataclass
class Figure:
    """One measured value, and what it must be below (or above)."""

    name: str
    value: float
    unit: str
    # What the original promised, and what is asked of ours; one of both may be missing.
    target: float | None = None
    ours: float | None = None
    above: bool = False
    # All single values, in their order.
    runs: list = dataclasses.field(default_factory=list)

    def holds(self) -> bool:
        limits = [limit for limit in (self.target, self.ours) if limit is not None]
        return all(self.value >= limit if self.above else self.value < limit for limit in limits)


def median(name: str, runs: list, unit: str, **limits) -> Figure:
    return Figure(name, statistics.median(runs), unit, runs=runs, **limits)


@dataclasses.dataclass
class Bench:
    """What the measurements are made with."""

    program: Path
    speech: dict[int, Path]
    voices: list[Path]
    piper_port: int
    folder: Path

    def data(self) -> Path:
        """A new folder for a service's data."""
        return Path(tempfile.mkdtemp(dir=self.folder))

    def service(self, *arguments: str, data: Path | None = None, tts: str | None = None) -> Service:
        tts = tts or f"wyoming=127.0.0.1:{self.piper_port}"
        return Service(self.program, data or self.data(), tts, *arguments)

    def recording(self, seconds: int) -> bytes:
        return self.speech[seconds].read_bytes()

    @functools.cached_property
    def loads(self) -> tuple[list[float], list[float]]:
        """Seconds that loading voices of 25 MB took, and coming by them again, as `/metrics` tells."""
        data, loads, hits = self.data(), [], []
        recording = self.recording(1)
        with self.service(data=data) as service:
            voices = [service.upload(path.stem, path) for path in self.voices]
        for _ in range(2):
            for voice in voices:
                # A new process each time: encoder and pitch network are read as well.
                with self.service(data=data) as service:
                    service.result(service.convert(recording, voice))
                    first = service.metrics()
                    assert first["voice_loads_total"] == 1 and first["voice_hits_total"] == 0, first
                    loads.append(first["voice_load_seconds_total"])
                    told = 0.0
                    for _ in range(5):
                        service.result(service.convert(recording, voice))
                        total = service.metrics()["voice_hit_seconds_total"]
                        hits.append(total - told)
                        told = total
        return loads, hits

    @functools.cached_property
    def passages(self) -> dict[str, list[tuple[float, float, float]]]:
        """Seconds that a passage takes without and with RVC, in turn, and seconds of its audio: by what speaks."""
        runs = {}
        for name, tts in (("wyoming-piper", None), ("piper started anew", f"piper={fixtures.model()}")):
            runs[name] = []
            with self.service(tts=tts) as service:
                joe = service.voice("joe")
                service.result(service.say(fixtures.TEN_WORDS, rvc_model_id=joe))
                for _ in range(5):
                    took = []
                    for fields in ({}, {"rvc_model_id": joe}):
                        began = time.perf_counter()
                        job = service.say(fixtures.PASSAGE, **fields)
                        service.result(job)
                        took.append(time.perf_counter() - began)
                    runs[name].append((*took, service.outcome(job)["duration_seconds"]))
        return runs


def convert_rtf(service: Service, voice: str, recording: bytes, seconds: int, rounds: int) -> list[float]:
    """From sending a recording until its whole result is back, over its length."""
    runs = []
    for _ in range(rounds):
        began = time.perf_counter()
        service.result(service.convert(recording, voice))
        runs.append((time.perf_counter() - began) / seconds)
    return runs


def initialisation(bench: Bench) -> list[Figure]:
    """From starting the program until `/health` has been answered; with data that is there, and with a folder that is new."""
    data = bench.data()
    first = []
    for _ in range(5):
        with bench.service() as service:
            first.append(1e3 * service.started_s)
    with bench.service(data=data):
        pass
    again = []
    for _ in range(15):
        with bench.service(data=data) as service:
            again.append(1e3 * service.started_s)
    return [
        median("with its data there", again, "ms", target=100, ours=20),
        median("very first start", first, "ms", target=100),
    ]


def one_second(bench: Bench) -> list[Figure]:
    """A recording of 1 s: from `POST /jobs/convert` until the result is downloaded, over its length. Median of 9."""
    return _conversion(bench, 1)


def five_seconds(bench: Bench) -> list[Figure]:
    """The same for 5 s."""
    return _conversion(bench, 5)


def _conversion(bench: Bench, seconds: int) -> list[Figure]:
    with bench.service() as service:
        joe, recording = service.voice("joe"), bench.recording(seconds)
        # The first loads the voice, which has a row of its own.
        convert_rtf(service, joe, recording, seconds, 1)
        return [median("RTF", convert_rtf(service, joe, recording, seconds, 9), "", target=0.5)]


def ten_words(bench: Bench) -> list[Figure]:
    """Ten words by `POST /v1/audio/speech`: TTS and RVC until all of the audio is there; the first request after the start."""
    figures = []
    piper = f"piper={fixtures.model()}"
    for name, tts, limits in (
        ("wyoming-piper", None, dict(target=3)),
        ("espeak-ng", "espeak-ng", dict(target=3)),
        ("piper started anew", piper, {}),
    ):
        runs = []
        for _ in range(3):
            with bench.service(tts=tts) as service:
                runs.append(service.speak(fixtures.TEN_WORDS, "joe")[1])
        figures.append(median(name, runs, "s", **limits))
    return figures


def model_load(bench: Bench) -> list[Figure]:
    """A voice of 25 MB with encoder and pitch network, from disk until it can convert, in a new process, as the service
    measures it (`voice_load_seconds`). Three voices, twice."""
    return [median("load", bench.loads[0], "s", target=2)]


def cached_load(bench: Bench) -> list[Figure]:
    """The same voices again (`voice_hit_seconds`)."""
    return [median("from the cache", [1e3 * hit for hit in bench.loads[1]], "ms", target=10, ours=1)]


GETS = ["/health", "/ready", "/rvc-models", "/rvc-models/stats", "/rvc-models/{voice}", "/jobs?limit=20", "/jobs/{job}"]
GETS += ["/jobs/{job}/formats", "/voices", "/presets", "/languages", "/admin/stats", "/metrics", "/openapi.json", "/"]


def memory_without_models(bench: Bench) -> list[Figure]:
    """Resident memory after a start with its data there and ten rounds of every `GET`, no voice being loaded. Three starts."""
    data, runs = bench.data(), []
    with bench.service(data=data) as service:
        job = service.convert(bench.recording(1), service.voice("joe"))
        service.result(job)
    for _ in range(3):
        with bench.service(data=data) as service:
            voice = service.voice("joe")
            for _ in range(10):
                for path in GETS:
                    service.ask("GET", path.format(voice=voice, job=job))
            assert service.metrics()["loaded_voices"] == 0
            runs.append(service.resident_mib())
    return [median("resident", runs, "MiB", target=500, ours=40)]


def growth_after_cleanup(bench: Bench) -> list[Figure]:
    """Resident memory after a conversion of 30 s and its deletion, less that before any voice was loaded. The voice stays."""
    data = bench.data()
    with bench.service(data=data):
        pass
    runs = []
    for _ in range(3):
        with bench.service(data=data) as service:
            joe = service.voice("joe")
            before = service.resident_mib()
            job = service.convert(bench.recording(30), joe)
            service.result(job)
            service.ask("DELETE", f"/jobs/{job}", 204)
            service.ask("POST", "/admin/cleanup")
            runs.append(service.resident_mib() - before)
    return [median("growth", runs, "MiB", target=100)]


def concurrent_uploads(bench: Bench) -> list[Figure]:
    """Three voices of 25 MB uploaded at once, until all are checked and kept. Three times."""
    runs = []
    for _ in range(3):
        with bench.service() as service, concurrent.futures.ThreadPoolExecutor(3) as threads:
            began = time.perf_counter()
            list(threads.map(lambda path: service.upload(path.stem, path), bench.voices))
            runs.append(time.perf_counter() - began)
    return [median("all three", runs, "s", target=10)]


def rtf_by_length(bench: Bench) -> list[Figure]:
    """As rows 2 and 3, for 1, 5, 10 and 30 s. Median of 5."""
    figures = []
    with bench.service() as service:
        joe = service.voice("joe")
        convert_rtf(service, joe, bench.recording(1), 1, 1)
        for seconds in fixtures.SECONDS:
            runs = convert_rtf(service, joe, bench.recording(seconds), seconds, 5)
            figures.append(median(f"{seconds} s", runs, "", target=0.5))
    return figures


def overhead(bench: Bench) -> list[Figure]:
    """A passage of 31 s by `POST /jobs` with RVC, less the same without, over the latter: by a piper that waits warm
    (wyoming-piper) and by one that is started for each part. Five pairs each."""
    return [
        median(name, [100 * (rvc - tts) / tts for tts, rvc, _ in runs], "%", target=100)
        for name, runs in bench.passages.items()
    ]


def batch(bench: Bench) -> list[Figure]:
    """Ten jobs of ten words, TTS and RVC, sent one behind the other, until the last result is downloaded. Three times."""
    runs = []
    with bench.service() as service:
        joe = service.voice("joe")
        for _ in range(3):
            began = time.perf_counter()
            jobs = [service.say(fixtures.TEN_WORDS, rvc_model_id=joe) for _ in range(10)]
            for job in jobs:
                service.result(job)
            runs.append(time.perf_counter() - began)
    return [median("all ten", runs, "s", target=30)]


def lazy_loading(bench: Bench) -> list[Figure]:
    """Resident memory with four voices kept and none loaded, against the same once all have been used: what is saved."""
    data = bench.data()
    with bench.service(data=data) as service:
        for path in bench.voices:
            service.upload(path.stem, path)
    runs = []
    for _ in range(3):
        with bench.service(data=data) as service:
            lazy = service.resident_mib()
            for name in ("joe", *(path.stem for path in bench.voices)):
                service.result(service.convert(bench.recording(1), service.voice(name)))
            assert service.metrics()["loaded_voices"] == 1 + len(bench.voices)
            runs.append(100 * (1 - lazy / service.resident_mib()))
    return [median("saved", runs, "%", target=50, above=True)]


def cache(bench: Bench) -> list[Figure]:
    """By how much the second access to a voice of 25 MB is faster than the first, of the times of rows 5 and 6."""
    loads, hits = bench.loads
    return [Figure("faster", 100 * (1 - statistics.median(hits) / statistics.median(loads)), "%", target=90, above=True)]


def api_response(bench: Bench) -> list[Figure]:
    """Every `GET`, and `POST` of jobs, cancellations and clean-ups, 20 times in turn: the slowest of all."""
    gets, posts = [], []
    with bench.service() as service:
        voice = service.voice("joe")
        job = service.convert(bench.recording(1), voice)
        service.result(job)

        def timed(runs: list, method: str, path: str, expected: int = 200, **arguments):
            began = time.perf_counter()
            answer = service.ask(method, path, expected, **arguments)
            runs.append(1e3 * (time.perf_counter() - began))
            return answer

        for _ in range(20):
            for path in GETS:
                timed(gets, "GET", path.format(voice=voice, job=job))
            # Behind one that is being done, so that it can be cancelled.
            busy = service.convert(bench.recording(5), voice)
            queued = timed(posts, "POST", "/jobs", 202, json={"text": fixtures.TEN_WORDS, "priority": -10}).json()["id"]
            timed(posts, "POST", f"/jobs/{queued}/cancel")
            timed(posts, "POST", "/admin/cleanup")
            service.result(busy)
    return [
        Figure("GET, slowest", max(gets), "ms", target=100, runs=gets),
        Figure("POST, slowest", max(posts), "ms", target=200, runs=posts),
    ]


def growth_after_operations(bench: Bench) -> list[Figure]:
    """Resident memory after 100 operations (conversions of 1 and 5 s, jobs and streams of speech, uploads with deletion of a
    voice), less that after the first ten; each a second after the last operation."""
    with bench.service() as service:
        joe = service.voice("joe")

        def upload_and_delete() -> None:
            service.ask("DELETE", f"/rvc-models/{service.upload('passing', bench.voices[0])}", 204)

        operations = [
            lambda: service.result(service.convert(bench.recording(1), joe)),
            lambda: service.result(service.convert(bench.recording(5), joe)),
            lambda: service.result(service.say(fixtures.TEN_WORDS, rvc_model_id=joe)),
            lambda: service.speak(fixtures.TEN_WORDS, joe),
            upload_and_delete,
        ]
        resident, rested = [], []
        for turn in range(110):
            operations[turn % len(operations)]()
            resident.append(service.resident_mib())
            if turn in (9, 109):
                time.sleep(1)
                rested.append(service.resident_mib())
    return [Figure("growth", rested[1] - rested[0], "MiB", target=50, ours=5, runs=[resident, rested])]


def first_audio(bench: Bench) -> list[Figure]:
    """First converted audio of two sentences by `POST /v1/audio/speech`, less the first audio of TTS alone, asked directly, in
    turn; medians of 9. Allowed: a chunk (100 ms) and 60 ms."""
    figures = []
    for name, tts, alone in (
        ("wyoming-piper", None, lambda text: piper_speaks(bench.piper_port, text)),
        ("espeak-ng", "espeak-ng", espeak_speaks),
    ):
        with bench.service(tts=tts) as service:
            service.speak(fixtures.TEN_WORDS, "joe")
            firsts = [(alone(fixtures.TWO_SENTENCES)[0], service.speak(fixtures.TWO_SENTENCES, "joe")[0]) for _ in range(9)]
        plain, converted = (1e3 * statistics.median(runs) for runs in zip(*firsts))
        figures.append(Figure(f"later with {name}", converted - plain, "ms", ours=160, runs=firsts))
    return figures


def overhead_of_audio(bench: Bench) -> list[Figure]:
    """As row 11, over the length of the audio."""
    return [
        median(name, [100 * (rvc - tts) / audio for tts, rvc, audio in runs], "%", ours=10)
        for name, runs in bench.passages.items()
    ]


# Requests a second, and for how long.
RATE, LOAD_S = 200, 15


def load(bench: Bench) -> list[Figure]:
    """200 requests a second from another process while a worker converts recordings without a pause: three of four a `GET`,
    one of four a `POST` of a job or its like; from when each was due. The slowest 1 % of all."""
    with bench.service("--max-queue", "100000") as service:
        voice = service.voice("joe")
        first = service.convert(bench.recording(1), voice)
        service.result(first)
        # Enough to keep the worker busy throughout; before what is posted.
        busy = [service.convert(bench.recording(30), voice, priority=10) for _ in range(30)]
        job = ["POST", "/jobs", {"text": fixtures.TEN_WORDS, "priority": -10}]
        gets = [["GET", path.format(voice=voice, job=first), None] for path in GETS]
        wishes = []
        for turn in range(0, len(gets) * 3, 3):
            wishes += [gets[(turn + step) % len(gets)] for step in range(3)] + [job]
        command = [sys.executable, HERE / "load.py", service.url, str(RATE), str(LOAD_S), json.dumps(wishes)]
        told = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        states = [service.ask("GET", f"/jobs/{job}").json()["status"] for job in busy]
        assert not told["faults"], told["faults"]
        assert "processing" in states, f"the worker was not busy to the end: {states}"
    by_method = {"GET": [], "POST": []}
    for name, values in told["latency_ms"].items():
        by_method[name.split()[0]] += values
    at = lambda values: sorted(values)[int(0.99 * (len(values) - 1))]
    slowest = {name: round(at(values), 2) for name, values in told["latency_ms"].items()}
    return [
        Figure("GET, p99", at(by_method["GET"]), "ms", ours=5, runs=[slowest]),
        Figure("POST, p99", at(by_method["POST"]), "ms", ours=20, runs=[slowest]),
        Figure("requests a second", told["rate"], "/s", ours=0.99 * RATE, above=True),
    ]


def live_sessions(bench: Bench) -> list[Figure]:
    """Live conversions at once over WebSockets, in real time, 15 s, the built-in voice, chunks of 250 ms: the most of 20, 16,
    12, 8, 4 or 2 of which none misses a chunk, as the service counts them; and the most at chunks of 100 ms."""
    figures = []
    for chunk_ms, limits in ((250, dict(ours=20)), (100, {})):
        tried = []
        for sessions in (20, 16, 12, 8, 6, 4, 2, 1):
            with bench.service("--max-live", "20") as service:
                command = [sys.executable, HERE / "live.py", service.url, "joe", str(sessions), "15", str(chunk_ms)]
                told = subprocess.run([*command, bench.speech[30]], check=True, stdout=subprocess.PIPE).stdout
                streams = json.loads(told)
            missed = sum(stream["missed"] for stream in streams)
            chunks = sum(stream["chunks"] for stream in streams)
            # Where it is too much, chunks are left out, and counted as missed.
            assert missed or chunks > 0.9 * sessions * 15e3 / chunk_ms, f"only {chunks} chunks came"
            late = max(stream["late_ms"]["max"] for stream in streams)
            rtf = statistics.median(stream["rtf"]["p50"] for stream in streams)
            tried.append({"sessions": sessions, "missed": missed, "chunks": chunks, "rtf_p50": rtf, "latest_ms": late})
            if missed == 0:
                break
        held = tried[-1]["sessions"] if tried[-1]["missed"] == 0 else 0
        figures.append(Figure(f"sessions, {chunk_ms} ms", held, "", above=True, runs=tried, **limits))
    return figures


ROWS = {
    "1": ("engine initialisation (lazy)", initialisation),
    "2": ("conversion of 1 s", one_second),
    "3": ("conversion of 5 s", five_seconds),
    "4": ("text of 10 words, TTS and RVC", ten_words),
    "5": ("model load, 25 MB", model_load),
    "6": ("second load (cache)", cached_load),
    "7": ("memory without models", memory_without_models),
    "8": ("growth after conversion and clean-up", growth_after_cleanup),
    "9": ("3 concurrent uploads", concurrent_uploads),
    "10": ("RTF at 1, 5, 10, 30 s", rtf_by_length),
    "11": ("overhead of RVC over TTS alone", overhead),
    "12": ("10 batch jobs", batch),
    "13": ("lazy loading saves memory", lazy_loading),
    "14": ("cache improves second access", cache),
    "15": ("API response", api_response),
    "16": ("growth after 100 operations", growth_after_operations),
    "a": ("first converted audio", first_audio),
    "b": ("overhead of RVC over the audio's length", overhead_of_audio),
    "c": ("API at 200 requests/s with jobs running", load),
    "d": ("live WebSocket sessions at once", live_sessions),
}
