"""python wyoming_client.py HOST:PORT VOICE OUT.wav "text", or text from stdin: speaks as Home Assistant does (`pip install wyoming`),
with a service that listens with `--wyoming HOST:PORT`. Text is sent word by word, and speech comes back meanwhile."""

import asyncio
import sys
import wave

from wyoming.audio import AudioChunk, AudioStart
from wyoming.client import AsyncTcpClient
from wyoming.error import Error
from wyoming.info import Describe, Info
from wyoming.tts import SynthesizeChunk, SynthesizeStart, SynthesizeStop, SynthesizeStopped, SynthesizeVoice


async def send(client: AsyncTcpClient, voice: str, text: str) -> None:
    await client.write_event(SynthesizeStart(voice=SynthesizeVoice(name=voice)).event())
    for word in text.split():
        await client.write_event(SynthesizeChunk(text=word + " ").event())
    await client.write_event(SynthesizeStop().event())


async def main(address: str, voice: str, out: str, text: str) -> None:
    host, port = address.rsplit(":", 1)
    async with AsyncTcpClient(host, int(port)) as client:
        await client.write_event(Describe().event())
        info = Info.from_event(await client.read_event())
        print("voices:", ", ".join(voice.name for program in info.tts for voice in program.voices))
        sending = asyncio.create_task(send(client, voice, text))
        start, speech = None, b""
        while event := await client.read_event():
            if AudioStart.is_type(event.type):
                start = AudioStart.from_event(event)
            elif AudioChunk.is_type(event.type):
                speech += AudioChunk.from_event(event).audio  # here it could be played
            elif Error.is_type(event.type):
                sys.exit(Error.from_event(event).text)
            elif SynthesizeStopped.is_type(event.type):
                break
        else:
            sys.exit("the service has gone")
        await sending
    if start is None:
        sys.exit("nothing was said")
    with wave.open(out, "wb") as file:
        file.setparams((start.channels, start.width, start.rate, 0, "NONE", ""))
        file.writeframes(speech)


address, voice, out, *text = sys.argv[1:]
asyncio.run(main(address, voice, out, " ".join(text) or sys.stdin.read()))
