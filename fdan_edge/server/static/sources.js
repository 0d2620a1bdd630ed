// Where sound comes from: each source has a rate (Hz), gives blocks to `onblock`, tells of its end by `onend`
// (with words for a person, or none), and has stop().

const BLOCK = 0.1; // s

export async function microphone(onblock, onend) {
  if (!navigator.mediaDevices) {
    throw new Error("This browser opens the microphone for https and localhost only. A file can be tried.");
  }
  const media = await navigator.mediaDevices.getUserMedia({
    // These are made for calls: they change level and colour of a voice, and with them what the model hears.
    audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false },
  }).catch((error) => { throw new Error(MICROPHONE[error.name] ?? `The microphone cannot be opened: ${error.message}`); });
  const context = new AudioContext();
  const close = () => {
    for (const track of media.getTracks()) track.stop();
    if (context.state !== "closed") context.close();
  };
  try {
    await context.audioWorklet.addModule(new URL("worklet.js", import.meta.url));
    await context.resume();
  } catch (error) {
    close();
    throw error;
  }
  const collector = new AudioWorkletNode(context, "collector", { numberOfOutputs: 0 });
  collector.port.onmessage = ({ data }) => onblock(data);
  context.createMediaStreamSource(media).connect(collector);
  media.getAudioTracks()[0].onended = () => onend("The microphone is gone: unplugged, or no longer allowed.");
  return { rate: context.sampleRate, name: "microphone", stop: close };
}

const MICROPHONE = {
  NotAllowedError: "The microphone is not allowed. Allow it in the browser's settings of this page, or try a file.",
  NotFoundError: "This machine has no microphone. A file can be tried.",
  NotReadableError: "The microphone cannot be read; does another program hold it?",
};

// A file in real time, as a microphone would hear it, and aloud where there is a loudspeaker. Its blocks go by the
// clock and not by an AudioContext, which stands still on a machine without a sound card.
export async function file(picked, rate, onblock, onend) {
  const decoder = new OfflineAudioContext(1, 1, rate);
  const sound = await picked.arrayBuffer().then((data) => decoder.decodeAudioData(data)).catch(() => {
    throw new Error(`${picked.name} is no sound that this browser can read.`);
  });
  const mono = mixed(sound);
  const size = Math.round(rate * BLOCK);
  const began = performance.now();
  let sent = 0;
  const timer = setInterval(() => {
    const due = Math.min(mono.length, Math.floor((performance.now() - began) / 1000 * rate));
    for (; sent + size <= due || (sent < due && due === mono.length); sent += size) {
      onblock(mono.slice(sent, sent + size));
    }
    if (sent >= mono.length) {
      clearInterval(timer);
      onend("");
    }
  }, BLOCK * 1000);
  const player = new Audio(URL.createObjectURL(picked));
  player.play().catch(() => {});
  return {
    rate,
    name: picked.name,
    stop() {
      clearInterval(timer);
      player.pause();
      URL.revokeObjectURL(player.src);
    },
  };
}

function mixed(sound) {
  const mono = new Float32Array(sound.length);
  for (let c = 0; c < sound.numberOfChannels; c++) {
    const channel = sound.getChannelData(c);
    for (let i = 0; i < mono.length; i++) mono[i] += channel[i] / sound.numberOfChannels;
  }
  return mono;
}
