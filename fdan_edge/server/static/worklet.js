// Collects the microphone's blocks of 128 samples into blocks of about 100 ms, mono.

class Collector extends AudioWorkletProcessor {
  constructor() {
    super();
    this.size = Math.round(sampleRate / 10 / 128) * 128;
    this.block = new Float32Array(this.size);
    this.filled = 0;
  }

  process([channels]) {
    const length = channels.length ? channels[0].length : 0;
    for (let i = 0; i < length; i++) {
      let sum = 0;
      for (const channel of channels) sum += channel[i];
      this.block[this.filled++] = sum / channels.length;
      if (this.filled === this.size) this.post();
    }
    return true;
  }

  post() {
    this.port.postMessage(this.block, [this.block.buffer]);
    this.block = new Float32Array(this.size);
    this.filled = 0;
  }
}

registerProcessor("collector", Collector);
