#!/usr/bin/env bash
# A line for every endpoint of a running service, in an order that works. It removes what it has made.
#
#   syrinx serve & bash examples/service/curl.sh VOICE.pth SPEECH.wav [http://127.0.0.1:8080]
#
# Where the service asks for a token, SYRINX_TOKEN holds it.
set -euo pipefail
voice_file=$1 speech=$2 at=${3:-http://127.0.0.1:8080}
out=$(mktemp -d) voice='' jobs=''
ask() { curl -sS --fail-with-body --max-time 120 ${SYRINX_TOKEN:+-H "authorization: Bearer $SYRINX_TOKEN"} "$@"; }
tell() { ask "$@" && echo; }
# The id of what a request has made.
id_of() {
  local answer
  answer=$(ask "$@") || { echo "$answer" >&2; return 1; }
  grep -o '"id":"[^"]*"' <<< "$answer" | head -n 1 | cut -d '"' -f 4
}
# Nothing stays, whatever happens.
clean_up() {
  for job in $jobs; do ask -X DELETE "$at/jobs/$job" || true; done
  [ -z "$voice" ] || ask -X DELETE "$at/rvc-models/$voice"
  rm -rf "$out"
}
trap clean_up EXIT

# The service.
tell "$at/health"
tell "$at/ready"
tell "$at/admin/stats"
ask "$at/metrics" > "$out/metrics.txt"
ask "$at/openapi.json" > "$out/openapi.json"
ask "$at/" > "$out/page.html"

# What text to speech offers.
tell "$at/voices"
tell "$at/presets"
tell "$at/languages"

# Voices.
voice=$(id_of -F name=example -F "pth_file=@$voice_file" "$at/rvc-models")
tell "$at/rvc-models?sort=name"
tell "$at/rvc-models/stats"
tell "$at/rvc-models/$voice"

# A text, said and converted; its progress until it is done; and what came of it.
job=$(id_of -d text="Every bird has its own song." -d rvc_model_id="$voice" "$at/jobs")
jobs+=" $job"
ask -N "$at/jobs/$job/events"
tell "$at/jobs/$job"
tell "$at/jobs/$job/formats"
ask -o "$out/said.wav" "$at/jobs/$job/download?format=wav&timeout=60"

# A recording, converted; `Idempotency-Key` has what is sent twice done once.
converted=$(id_of -H "idempotency-key: $(date +%s%N)" -F "audio=@$speech" -F rvc_model_id="$voice" -F rvc_pitch=3 "$at/jobs/convert")
jobs+=" $converted"
ask -o "$out/converted.flac" "$at/jobs/$converted/download?format=flac&timeout=60"
tell "$at/jobs?limit=20"

# A job that is not wanted any more; 409 if it is over already.
unwanted=$(id_of -d text="Never mind." -d priority=-10 "$at/jobs")
jobs+=" $unwanted"
status=$(ask -o "$out/cancelled.json" -w '%{http_code}' -X POST "$at/jobs/$unwanted/cancel" || true)
[ "$status" = 200 ] || [ "$status" = 409 ]

# Speech as OpenAI's clients ask for it, while it is said.
ask -N -o "$out/speech.wav" -H content-type:application/json \
  -d "{\"model\":\"tts-1\",\"input\":\"Hello.\",\"voice\":\"$voice\",\"response_format\":\"wav\"}" "$at/v1/audio/speech"

# Live conversion is a WebSocket: curl shows that it opens (101), and waits a second. The README tells what to say there.
ask -i -N --http1.1 --max-time 1 -H connection:upgrade -H upgrade:websocket -H sec-websocket-version:13 \
  -H "sec-websocket-key: $(head -c 16 /dev/urandom | base64)" -H sec-websocket-protocol:syrinx "$at/stream" || [ $? = 28 ]

# What has expired goes by itself, or now.
tell -X POST "$at/admin/cleanup"
tell -X DELETE "$at/admin/cleanup"
ls -l "$out"
