"""Many live conversions at once over WebSockets, in real time, from a process of its own.

Usage: python live.py URL VOICE SESSIONS SECONDS CHUNK_MS speech.wav
Each session sends 20 ms of speech every 20 ms, as a browser's microphone does, beginning at its own moment. Prints JSON:
by session, what the service counted and how late each message came back against what `ready` had promised.
"""

import asyncio
import json
import random
import sys
import time
import wave

import aiohttp
import numpy as np

MESSAGE_S = 0.02


async def session(client: aiohttp.ClientSession, args: dict, number: int) -> dict:
    speech, rate_hz = args["speech"], args["rate_hz"]
    step = int(MESSAGE_S * rate_hz)
    async with client.ws_connect(args["url"] + "/stream", protocols=["syrinx"], max_msg_size=0) as socket:
        start = {"type": "start", "voice": args["voice"], "rate_hz": rate_hz, "format": "s16le"}
        await socket.send_json({**start, "chunk_ms": args["chunk_ms"], "f0_method": "swift"})
        ready = json.loads((await socket.receive()).data)
        assert ready["type"] == "ready", ready
        # All begin to send once all are ready, each at its own moment of a chunk.
        await args["all_ready"].wait()
        began = time.perf_counter() + random.Random(number).uniform(0, args["chunk_ms"] * 1e-3)
        told, late_ms, back = {}, [], 0

        async def send() -> None:
            for turn in range(int(args["seconds"] / MESSAGE_S)):
                # The last sample of a message is there when the message's time is over.
                await asyncio.sleep(max(began + (turn + 1) * MESSAGE_S - time.perf_counter(), 0))
                place = (turn * step + number * rate_hz) % (len(speech) - step)
                await socket.send_bytes(speech[place : place + step].tobytes())
            await socket.send_json({"type": "stop"})

        sending = asyncio.create_task(send())
        async for message in socket:
            if message.type == aiohttp.WSMsgType.BINARY:
                back += len(message.data) // 2
                due = began + back / rate_hz + ready["latency"]["total_ms"] * 1e-3
                late_ms.append(1e3 * (time.perf_counter() - due))
            elif message.type == aiohttp.WSMsgType.TEXT:
                word = json.loads(message.data)
                # `changed`: the pitch went to the voice's own.
                assert word["type"] in ("telemetry", "changed", "stopped"), word
                told |= {word["type"]: word}
        await sending
    # What is drained after `stop` comes early, not late.
    telemetry = told["telemetry"]
    assert told["stopped"]["samples"] == back, (told["stopped"], back)
    missed = telemetry["late_chunks"] + telemetry["failed_chunks"]
    names = ("chunks", "late_chunks", "shed_chunks", "failed_chunks", "rested_chunks", "starved_ms", "rtf")
    counted = {name: telemetry[name] for name in names}
    late_ms.sort()
    at = lambda share: late_ms[int(share * (len(late_ms) - 1))]
    return {**counted, "missed": missed, "latency_ms": ready["latency"], "late_ms": {"p50": at(0.5), "p99": at(0.99), "max": at(1)}}


async def main(url: str, voice: str, sessions: str, seconds: str, chunk_ms: str, path: str) -> None:
    with wave.open(path) as file:
        speech = np.frombuffer(file.readframes(file.getnframes()), np.int16)
        rate_hz = file.getframerate()
    all_ready = asyncio.Event()
    args = dict(url=url, voice=voice, seconds=float(seconds), chunk_ms=float(chunk_ms), speech=speech, rate_hz=rate_hz)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(None)) as client:
        tasks = [asyncio.create_task(session(client, {**args, "all_ready": all_ready}, i)) for i in range(int(sessions))]
        while any(not task.done() for task in tasks) and len(all_ready._waiters) < len(tasks):
            await asyncio.sleep(0.05)
        all_ready.set()
        print(json.dumps(await asyncio.gather(*tasks)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
