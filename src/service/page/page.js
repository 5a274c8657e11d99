// The page of `syrinx serve`: voices, live conversion, recordings and speech, all through the public API.

const $ = (id) => document.getElementById(id);
const TOKEN = "syrinx-token";
const VOICE = "syrinx-voice";

/* ---- The service ---- */

const token = () => sessionStorage.getItem(TOKEN) ?? "";
const headers = () => (token() ? { Authorization: `Bearer ${token()}` } : {});

/** What the service said, in its words. */
class Refusal extends Error {
  constructor(status, text) {
    let detail = text;
    try {
      const problem = JSON.parse(text);
      detail = problem.detail ?? problem.title ?? text;
    } catch { /* No problem document, so as it is. */ }
    super(detail || `The service answered ${status}.`);
    this.status = status;
    if (status === 401) askForToken();
  }
}

async function ask(path, options = {}) {
  const response = await fetch(path, { ...options, headers: { ...headers(), ...options.headers } });
  if (!response.ok) throw new Refusal(response.status, await response.text());
  return response;
}

/** Sends a form and tells how far it is: fetch cannot. */
function upload(path, form, progress, signal) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", path);
    for (const [name, value] of Object.entries(headers())) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => event.lengthComputable && progress(event.loaded / event.total);
    request.onload = () => {
      if (request.status < 300) resolve(JSON.parse(request.responseText));
      else reject(new Refusal(request.status, request.responseText));
    };
    request.onerror = () => reject(new Error("The service cannot be reached."));
    request.onabort = () => reject(new DOMException("Cancelled.", "AbortError"));
    signal?.addEventListener("abort", () => request.abort());
    request.send(form);
  });
}

/** Server-sent events, with the token in a header, which EventSource cannot send. */
async function* events(path, signal) {
  const response = await ask(path, { signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    const parts = text.split("\n\n");
    text = parts.pop();
    for (const part of parts) {
      const data = part.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trim());
      if (data.length) yield JSON.parse(data.join(""));
    }
  }
}

/* ---- What is told ---- */

function tellProblem(error) {
  $("problem").textContent = error ? error.message ?? String(error) : "";
  $("problem").hidden = !error;
}

function tell(id, text) {
  $(id).textContent = text;
}

function pill(id, text, kind = "") {
  $(id).textContent = text;
  $(id).className = `pill ${kind}`;
}

function show(id, share) {
  $(id).hidden = share === null;
  if (share !== null) $(id).value = share;
}

function askForToken() {
  pill("status", "Token needed", "bad");
  if (!$("token-form").hidden) return;
  $("token-form").hidden = false;
  $("token").focus();
}

$("token-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  sessionStorage.setItem(TOKEN, $("token").value.trim());
  $("token-form").hidden = true;
  await refresh();
  if ($("token-form").hidden) {
    $("token").value = "";
    $("voice").focus();
  }
});

/* ---- Voices ---- */

let voices = [];

async function refresh() {
  try {
    voices = (await (await ask("rvc-models")).json()).models;
    const wanted = $("voice").value || sessionStorage.getItem(VOICE);
    const choices = voices.map((voice) => new Option(voice.name, voice.id));
    $("voice").replaceChildren(...(choices.length ? choices : [new Option("No voice yet", "")]));
    if (voices.some((voice) => voice.id === wanted)) $("voice").value = wanted;
    if (!voices.length) $("upload").open = true;
    tellVoice();
    tellProblem(null);
    const ready = await fetch("ready");
    if (ready.ok) pill("status", "Ready", "good");
    else {
      pill("status", "Not ready", "bad");
      tellProblem(new Refusal(ready.status, await ready.text()));
    }
  } catch (error) {
    if (error.status === 401) {
      tellProblem(token() ? new Error("The service does not know this token.") : null);
      return;
    }
    pill("status", "Not reached", "bad");
    tellProblem(error instanceof Refusal ? error : new Error("The service cannot be reached. Does it run?"));
  }
}

function tellVoice() {
  const voice = voices.find((voice) => voice.id === $("voice").value);
  for (const id of ["live-toggle", "convert-go", "speak-go"]) $(id).disabled = !voice && !(id === "live-toggle" && live);
  if (!voice) return tell("voice-facts", "Add a voice to begin: an RVC model, with its index if there is one.");
  sessionStorage.setItem(VOICE, voice.id);
  const { version, sample_rate_hz: rate } = voice.facts ?? {};
  const facts = [
    version && `RVC ${version}`,
    rate && `${rate / 1000} kHz`,
    voice.index_file ? "with index" : "without index",
    `${voice.file_size_mb} MiB`,
    voice.description,
  ];
  tell("voice-facts", facts.filter(Boolean).join(" · "));
}

$("voice").addEventListener("change", () => {
  tellVoice();
  live?.say({ type: "set", voice: $("voice").value });
});

$("upload-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = new FormData();
  form.append("name", $("upload-name").value);
  const file = $("upload-pth").files[0];
  form.append("pth_file", file, file.name);
  const index = $("upload-index").files[0];
  if (index) form.append("index_file", index, index.name);
  tell("upload-told", "Uploading…");
  try {
    const voice = await upload("rvc-models", form, (share) => {
      show("upload-progress", share);
      if (share === 1) tell("upload-told", "Checking…");
    });
    event.target.reset();
    sessionStorage.setItem(VOICE, voice.id);
    $("voice").value = "";
    await refresh();
    $("voice").value = voice.id;
    tellVoice();
    tell("upload-told", `“${voice.name}” is there.`);
  } catch (error) {
    tell("upload-told", error.message);
  } finally {
    show("upload-progress", null);
  }
});

/* ---- Parameters ---- */

const signed = (value) => (value > 0 ? `+${value}` : String(value).replace("-", "−"));
const percent = (value) => `${Math.round(100 * value)} %`;
const SLIDERS = {
  transpose: (value) => `${signed(value)} semitones`,
  index_rate: percent,
  protect: (value) => (value >= 0.5 ? "off" : value.toFixed(2)),
  formant: (value) => `${signed(value)} semitones`,
  mix: percent,
  output_gain_db: (value) => `${signed(value)} dB`,
  gate_threshold_db: (value) => `${signed(value)} dB`,
};
const SWITCHES = ["bypass", "mute"];

for (const [id, text] of Object.entries(SLIDERS)) {
  const tellValue = () => {
    tell(`${id}-value`, text($(id).valueAsNumber));
    $(id).setAttribute("aria-valuetext", text($(id).valueAsNumber));
  };
  tellValue();
  $(id).addEventListener("input", () => {
    tellValue();
    if (id === "transpose") $("own_pitch").checked = false;
    live?.say({ type: "set", params: { [id]: $(id).valueAsNumber } });
  });
}
$("own_pitch").addEventListener("change", () => {
  // Whoever wants it back has it when going live again.
  if (!$("own_pitch").checked) live?.say({ type: "set", params: { transpose: $("transpose").valueAsNumber } });
});
$("gate").addEventListener("change", () => live?.say({ type: "set", params: { gate: $("gate").checked } }));
for (const id of SWITCHES) {
  $(id).addEventListener("click", () => {
    const on = $(id).getAttribute("aria-pressed") !== "true";
    $(id).setAttribute("aria-pressed", on);
    live?.say({ type: "set", params: { [id]: on } });
  });
}

/** Shows the shift that the service has found. */
function tellShift(semitones) {
  if (!$("own_pitch").checked) return;
  $("transpose").value = semitones;
  tell("transpose-value", SLIDERS.transpose(Math.round(10 * semitones) / 10));
}

function liveParams() {
  const params = { gate: $("gate").checked };
  for (const id of Object.keys(SLIDERS)) params[id] = $(id).valueAsNumber;
  if ($("own_pitch").checked) delete params.transpose;
  for (const id of SWITCHES) params[id] = $(id).getAttribute("aria-pressed") === "true";
  return params;
}

function jobParams() {
  const params = {
    ...(!$("own_pitch").checked && { rvc_pitch: $("transpose").valueAsNumber }),
    rvc_index_rate: $("index_rate").valueAsNumber,
    rvc_protect: $("protect").valueAsNumber,
  };
  if ($("tracker").value) params.rvc_f0_method = $("tracker").value;
  return params;
}

/* ---- Live ---- */

let live = null;

/** One live conversion, from the microphone to the loudspeaker. */
class Live {
  /** Counts of late chunks in the last five seconds. */
  late = [];

  static async start() {
    if (!navigator.mediaDevices) {
      throw new Error("Browsers give the microphone only to pages from this machine or over https.");
    }
    const self = new Live();
    try {
      await self.open();
    } catch (error) {
      self.close();
      throw error;
    }
    return self;
  }

  async open() {
    this.microphone = await navigator.mediaDevices.getUserMedia({
      audio: {
        channelCount: 1,
        echoCancellation: false,
        noiseSuppression: false,
        autoGainControl: false,
        ...($("microphone").value && { deviceId: { exact: $("microphone").value } }),
      },
    });
    this.context = new AudioContext({ latencyHint: "interactive" });
    if (this.context.sampleRate % 100) {
      await this.context.close();
      this.context = new AudioContext({ latencyHint: "interactive", sampleRate: 48000 });
    }
    await this.context.audioWorklet.addModule("worklet.js");
    await this.connect();
    const rate = this.context.sampleRate;
    this.node = new AudioWorkletNode(this.context, "live", {
      numberOfInputs: 1,
      outputChannelCount: [2],
      processorOptions: { lead: this.lead(), chunk: this.ready.chunk_samples, portion: rate / 50 },
    });
    this.node.port.onmessage = ({ data }) => {
      if (data.captured) this.capture(data.captured);
      else this.report(data.report);
    };
    this.context.createMediaStreamSource(this.microphone).connect(this.node).connect(this.context.destination);
    await this.context.resume();
    listMicrophones();
  }

  lead() {
    return (Number($("buffer").value) * this.context.sampleRate) / 1000;
  }

  /** Opens the WebSocket and waits until the voice is ready. */
  connect() {
    const url = new URL("stream", location.href);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    const bytes = String.fromCharCode(...new TextEncoder().encode(token()));
    const shown = btoa(bytes).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
    this.socket = new WebSocket(url, token() ? ["syrinx", `bearer64.${shown}`] : ["syrinx"]);
    this.socket.binaryType = "arraybuffer";
    return new Promise((resolve, reject) => {
      this.socket.onopen = () => this.say({
        type: "start",
        voice: $("voice").value,
        rate_hz: this.context.sampleRate,
        format: "f32le",
        chunk_ms: Number($("chunk").value),
        params: liveParams(),
        ...($("tracker").value && { f0_method: $("tracker").value }),
      });
      this.socket.onmessage = ({ data }) => {
        if (data instanceof ArrayBuffer) return this.node?.port.postMessage({ samples: new Float32Array(data) }, [data]);
        const word = JSON.parse(data);
        if (word.type === "ready" || word.type === "changed") tellShift(word.params.transpose);
        if (word.type === "ready") resolve((this.ready = word));
        else if (word.type === "telemetry") this.notice(word);
        else if (word.type === "error") {
          const error = new Refusal(word.problem.status, JSON.stringify(word.problem));
          this.ready ? tellProblem(error) : reject(error);
        }
      };
      this.socket.onclose = ({ code, reason }) => {
        // A refused handshake is told to no page, so it is asked for again in a way that is.
        if (!this.ready) whyNot().then(reject);
        else if (live === this) stopLive(code === 1000 ? null : `The stream has ended: ${reason || code}.`);
      };
    });
  }

  say(word) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(word));
  }

  /** Keeps how it goes, and says so when the service is late again and again. */
  notice(telemetry) {
    this.telemetry = telemetry;
    this.late.push(telemetry.late_chunks);
    const before = this.late.length > 20 ? this.late.shift() : this.late[0];
    const isSlow = telemetry.late_chunks - before > 4;
    tell("live-hint", isSlow ? "The service cannot keep up: a longer chunk or a lighter pitch tracker helps." : "");
  }

  capture(samples) {
    // A network that is a second behind gets no more for now, so that delay does not pile up.
    const second = 4 * this.context.sampleRate;
    if (this.socket.readyState === WebSocket.OPEN && this.socket.bufferedAmount < second) this.socket.send(samples);
  }

  report(report) {
    this.heard = report;
    const { telemetry, ready, context } = this;
    const rate = context.sampleRate;
    meter("meter-out", report.peak);
    if (telemetry) {
      meter("meter-in", 10 ** (telemetry.input.peak_db / 20));
      const here = (1000 * report.waiting) / rate + 1000 * ((context.baseLatency || 0) + (context.outputLatency || 0));
      tell("fact-pitch", telemetry.f0_hz > 0 ? `${telemetry.f0_hz.toFixed(0)} Hz` : "unvoiced");
      tell("fact-latency", `${Math.round(ready.latency.total_ms + here)} ms`);
      $("fact-latency").title = `${Math.round(ready.latency.algorithmic_ms)} ms to gather and join chunks, `
        + `${Math.round(ready.latency.processing_ms)} ms to convert, ${Math.round(here)} ms here, and the network`;
      tell("fact-rtf", `${telemetry.rtf.p50.toFixed(2)} / ${telemetry.rtf.p99.toFixed(2)}`);
      tell("fact-late", `${telemetry.late_chunks} of ${telemetry.chunks}`);
    }
    tell("fact-underruns", report.dropped ? `${report.underruns}, ${report.dropped} cut` : `${report.underruns}`);
    tell("fact-buffer", `${Math.round((1000 * report.waiting) / rate)} ms`);
    trace.add(telemetry?.f0_hz ?? 0, report.rms);
  }

  close() {
    this.say({ type: "stop" });
    this.node?.port.postMessage({ stop: true });
    this.node?.disconnect();
    this.microphone?.getTracks().forEach((track) => track.stop());
    // What is on its way is not waited for: it would be heard after the end.
    this.socket?.close(1000);
    this.context?.close();
  }
}

/** Why no WebSocket is opened: the same is asked for without one. */
async function whyNot() {
  try {
    await ask("stream");
  } catch (error) {
    if (error.status !== 426) return error;
  }
  return new Error("The live stream cannot be opened. Other streams may run already: try again in a few seconds.");
}

async function startLive() {
  const button = $("live-toggle");
  button.disabled = true;
  pill("live-state", "Starting…");
  tellProblem(null);
  try {
    live = await Live.start();
    button.setAttribute("aria-pressed", "true");
    button.textContent = "Stop";
    pill("live-state", "On air", "good");
  } catch (error) {
    pill("live-state", "Off");
    const denied = error.name === "NotAllowedError";
    tellProblem(denied ? new Error("The browser was not allowed to use the microphone.") : error);
  } finally {
    button.disabled = false;
  }
}

function stopLive(problem) {
  const last = live;
  live = null;
  last?.close();
  $("live-toggle").setAttribute("aria-pressed", "false");
  $("live-toggle").textContent = "Go live";
  pill("live-state", "Off");
  meter("meter-in", 0);
  meter("meter-out", 0);
  tell("live-hint", "");
  tellProblem(problem ? new Error(problem) : null);
  tellVoice();
}

$("live-toggle").addEventListener("click", () => (live ? stopLive() : startLive()));
$("buffer").addEventListener("change", () => live?.node.port.postMessage({ lead: live.lead() }));
addEventListener("pagehide", () => live && stopLive());

/** Names of microphones are known once one is used. */
async function listMicrophones() {
  const chosen = $("microphone").value;
  const devices = await navigator.mediaDevices.enumerateDevices();
  const inputs = devices.filter((device) => device.kind === "audioinput" && device.deviceId && device.deviceId !== "default");
  $("microphone").replaceChildren(
    new Option("The usual one", ""),
    ...inputs.map((device) => new Option(device.label || "A microphone", device.deviceId)),
  );
  $("microphone").value = inputs.some((device) => device.deviceId === chosen) ? chosen : "";
}

function meter(id, amplitude) {
  const db = Math.max(-60, 20 * Math.log10(Math.max(amplitude, 1e-6)));
  const element = $(id);
  element.setAttribute("aria-valuenow", Math.round(db));
  element.style.setProperty("--level", `${(100 * (db + 60)) / 60}%`);
  element.querySelector("b").textContent = db > -60 ? `${signed(Math.round(db))} dB` : "–";
}

/** Pitch and level of the last ten seconds. */
const trace = {
  points: [],
  add(hz, rms) {
    this.points.push({ hz, rms });
    this.points.splice(0, this.points.length - 200);
    this.asked ??= requestAnimationFrame(() => this.draw());
  },
  draw() {
    this.asked = null;
    const canvas = $("trace");
    const scale = devicePixelRatio || 1;
    const { clientWidth: width, clientHeight: height } = canvas;
    canvas.width = width * scale;
    canvas.height = height * scale;
    const context = canvas.getContext("2d");
    context.scale(scale, scale);
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name);
    context.font = "11px system-ui, sans-serif";
    const y = (hz) => height * (1 - Math.log(hz / 50) / Math.log(1200 / 50));
    for (const hz of [100, 200, 400, 800]) {
      context.fillStyle = colour("--line");
      context.fillRect(0, y(hz), width, 1);
      context.fillStyle = colour("--quiet");
      context.fillText(`${hz} Hz`, 6, y(hz) - 3);
    }
    const x = (index) => width * (1 - (this.points.length - 1 - index) / 200);
    context.fillStyle = colour("--track");
    this.points.forEach(({ rms }, index) => {
      const level = Math.max(0, 1 + Math.log10(Math.max(rms, 1e-6)) / 2.5);
      context.fillRect(x(index), height * (1 - 0.5 * level), width / 200 + 0.5, 0.5 * height * level);
    });
    context.fillStyle = colour("--accent");
    this.points.forEach(({ hz }, index) => {
      if (hz > 0) context.fillRect(x(index), y(hz) - 1.5, width / 200 + 0.5, 3);
    });
  },
};
trace.draw();
addEventListener("resize", () => trace.draw());
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => trace.draw());

/* ---- Recordings ---- */

/** Puts a result where it can be heard and kept. */
function offer(kind, blob, name) {
  const audio = $(`${kind}-audio`);
  if (audio.src) URL.revokeObjectURL(audio.src);
  audio.src = URL.createObjectURL(blob);
  $(`${kind}-download`).href = audio.src;
  $(`${kind}-download`).download = name;
  $(`${kind}-result`).hidden = false;
}

$("convert-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const file = $("convert-file").files[0];
  const form = new FormData();
  const fields = { rvc_model_id: $("voice").value, ...jobParams() };
  for (const [name, value] of Object.entries(fields)) form.append(name, value);
  form.append("audio", file, file.name);
  const cancel = new AbortController();
  let job = null;
  $("convert-cancel").onclick = () => {
    cancel.abort();
    if (job) ask(`jobs/${job.id}`, { method: "DELETE" }).catch(tellProblem);
  };
  $("convert-go").disabled = true;
  $("convert-cancel").disabled = false;
  $("convert-result").hidden = true;
  tell("convert-told", "Uploading…");
  try {
    job = await upload("jobs/convert", form, (share) => show("convert-progress", share), cancel.signal);
    for await (const state of events(`jobs/${job.id}/events`, cancel.signal)) {
      if (state.status === "failed") throw new Error(state.error ?? "The conversion has failed.");
      show("convert-progress", state.progress);
      tell("convert-told", state.status === "queued" ? "Waiting for its turn…" : `Converting, ${percent(state.progress)}…`);
    }
    const result = await (await ask(`jobs/${job.id}/download?timeout=60`, { signal: cancel.signal })).blob();
    offer("convert", result, `${file.name.replace(/\.[^.]*$/, "")}-converted.wav`);
    tell("convert-told", "Done.");
  } catch (error) {
    tell("convert-told", error.name === "AbortError" ? "Cancelled." : error.message);
  } finally {
    show("convert-progress", null);
    $("convert-cancel").disabled = true;
    tellVoice();
  }
});

/* ---- Speech ---- */

/** A wav of one channel of 16 bits. */
function wav(parts, rate) {
  const bytes = parts.reduce((sum, part) => sum + part.byteLength, 0);
  const head = new DataView(new ArrayBuffer(44));
  const text = (at, letters) => [...letters].forEach((letter, n) => head.setUint8(at + n, letter.charCodeAt(0)));
  text(0, "RIFF");
  head.setUint32(4, 36 + bytes, true);
  text(8, "WAVEfmt ");
  head.setUint32(16, 16, true);
  head.setUint16(20, 1, true);
  head.setUint16(22, 1, true);
  head.setUint32(24, rate, true);
  head.setUint32(28, 2 * rate, true);
  head.setUint16(32, 2, true);
  head.setUint16(34, 16, true);
  text(36, "data");
  head.setUint32(40, bytes, true);
  return new Blob([head, ...parts], { type: "audio/wav" });
}

/** Plays PCM of 16 bits as it comes; gives it back whole. */
async function playAsItComes(response, context, first) {
  const rate = Number(response.headers.get("x-sample-rate"));
  const reader = response.body.getReader();
  const parts = [];
  let odd = new Uint8Array(0);
  let at = 0;
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    const bytes = new Uint8Array(odd.length + value.length);
    bytes.set(odd);
    bytes.set(value, odd.length);
    const whole = bytes.length & ~1;
    odd = bytes.slice(whole);
    if (!whole) continue;
    const integers = new Int16Array(bytes.slice(0, whole).buffer);
    parts.push(integers);
    const buffer = context.createBuffer(1, integers.length, rate);
    buffer.copyToChannel(Float32Array.from(integers, (sample) => sample / 32768), 0);
    const source = new AudioBufferSourceNode(context, { buffer });
    source.connect(context.destination);
    if (!at) first();
    at = Math.max(at, context.currentTime + 0.05);
    source.start(at);
    at += buffer.duration;
  }
  await new Promise((resolve) => setTimeout(resolve, Math.max(0, 1000 * (at - context.currentTime))));
  return wav(parts, rate);
}

$("speak-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const cancel = new AbortController();
  const context = new AudioContext();
  const asked = performance.now();
  $("speak-stop").onclick = () => {
    cancel.abort();
    context.close();
  };
  $("speak-go").disabled = true;
  $("speak-stop").disabled = false;
  $("speak-result").hidden = true;
  tell("speak-told", "Waiting for the first sound…");
  try {
    const body = { input: $("speak-text").value, voice: $("voice").value, response_format: "pcm", ...jobParams() };
    const response = await ask("v1/audio/speech", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
      signal: cancel.signal,
    });
    let told = "";
    const speech = await playAsItComes(response, context, () => {
      told = `First sound after ${Math.round(performance.now() - asked)} ms.`;
      tell("speak-told", told);
    });
    if (cancel.signal.aborted) throw new DOMException("Stopped.", "AbortError");
    offer("speak", speech, "speech.wav");
    tell("speak-told", `${told} Done.`);
  } catch (error) {
    tell("speak-told", error.name === "AbortError" ? "Stopped." : error.message);
  } finally {
    if (context.state !== "closed") context.close();
    $("speak-stop").disabled = true;
    tellVoice();
  }
});

refresh();
