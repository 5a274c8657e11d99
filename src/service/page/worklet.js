// The audio thread: what the microphone hears goes to the page, and what the page has received is played.
//
// Played audio passes a jitter buffer: it starts once `lead` samples are there, and what has piled up beyond twice that and
// a chunk is dropped from the front, so that one long pause of the network is not heard as delay for ever. All gaps fade.

const REPORT_SECONDS = 0.05;
const FADE_SECONDS = 0.005;

class Live extends AudioWorkletProcessor {
  constructor({ processorOptions: { lead, chunk, portion } }) {
    super();
    this.lead = lead;
    this.chunk = chunk;
    this.captured = new Float32Array(portion);
    this.filled = 0;
    this.queue = [];
    this.offset = 0;
    this.waiting = 0;
    this.playing = false;
    this.leaving = false;
    this.gain = 0;
    this.step = 1 / (FADE_SECONDS * sampleRate);
    this.counts = { underruns: 0, dropped: 0, played: 0 };
    this.peak = 0;
    this.power = 0;
    this.frames = 0;
    this.alive = true;
    this.port.onmessage = ({ data }) => {
      if (data.samples) {
        this.queue.push(data.samples);
        this.waiting += data.samples.length;
      }
      if (data.lead) this.lead = data.lead;
      if (data.stop) this.alive = false;
    };
  }

  capture(input) {
    for (let at = 0; at < input.length;) {
      const count = Math.min(input.length - at, this.captured.length - this.filled);
      this.captured.set(input.subarray(at, at + count), this.filled);
      this.filled += count;
      at += count;
      if (this.filled === this.captured.length) {
        this.port.postMessage({ captured: this.captured }, [this.captured.buffer]);
        this.captured = new Float32Array(this.filled);
        this.filled = 0;
      }
    }
  }

  next() {
    const sample = this.queue[0][this.offset++];
    this.waiting--;
    if (this.offset === this.queue[0].length) {
      this.queue.shift();
      this.offset = 0;
    }
    return sample;
  }

  play(output) {
    const most = 2 * this.lead + this.chunk;
    if (!this.playing && this.waiting >= this.lead) this.playing = true;
    if (this.playing && this.waiting > most) this.leaving = true;
    for (let at = 0; at < output.length; at++) {
      if (this.playing && this.waiting === 0) {
        this.playing = false;
        this.counts.underruns++;
      }
      if (this.leaving && this.gain <= 0) {
        // Down to the lead at once: one gap instead of many.
        for (let excess = this.waiting - this.lead; excess > 0; excess--) this.next();
        this.leaving = false;
        this.counts.dropped++;
      }
      // The last samples before a gap fade out, those after it fade in.
      const ends = this.waiting * this.step;
      const next = this.leaving ? Math.max(0, this.gain - this.step) : Math.min(1, this.gain + this.step);
      this.gain = this.playing ? Math.min(next, ends) : 0;
      output[at] = this.playing ? this.gain * this.next() : 0;
      this.peak = Math.max(this.peak, Math.abs(output[at]));
      this.power += output[at] * output[at];
    }
    if (this.playing) this.counts.played += output.length;
  }

  process([input], [output]) {
    const silence = output[0].length;
    this.capture(input[0] ?? new Float32Array(silence));
    this.play(output[0]);
    for (const other of output.slice(1)) other.set(output[0]);
    this.frames += silence;
    if (this.frames >= REPORT_SECONDS * sampleRate) {
      const rms = Math.sqrt(this.power / this.frames);
      this.port.postMessage({ report: { ...this.counts, peak: this.peak, rms, waiting: this.waiting } });
      this.frames = this.peak = this.power = 0;
    }
    return this.alive;
  }
}

registerProcessor("live", Live);
