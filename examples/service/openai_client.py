"""python openai_client.py http://127.0.0.1:8080 VOICE OUT.wav: OpenAI's own client (`pip install openai`) speaks with a voice of Syrinx."""

import sys

import openai

url, voice, out = sys.argv[1:]
client = openai.OpenAI(base_url=url + "/v1", api_key="none")  # or the service's token
request = dict(model="tts-1", voice=voice, input="Birds sing. We listen.", response_format="wav")
with client.audio.speech.with_streaming_response.create(**request) as response:
    response.stream_to_file(out)
