/**
 * What a dropped file becomes before it goes to the engine. WAV goes as it is, because Python reads
 * damaged headers better than browsers do; everything else is decoded by the browser.
 */

const ENGINE_SAMPLE_RATE = 16_000;
const WAV_MAGIC = ["RIFF", "RIFX", "RF64", "BW64"];

/**
 * Reads a File as the fields of a `transcribe` request: {bytes, channels, sample_rate}, with either
 * `bytes` (an ArrayBuffer holding a WAV file) or `channels` (Float32Arrays at `sample_rate`, unmixed:
 * which channel to listen to is the engine's choice), the other null.
 * Rejects with an Error whose message is a sentence for the user.
 */
export async function readAudioFile(file) {
  const bytes = await file.arrayBuffer().catch((error) => {
    throw new Error(
      `${file.name}: expected a sound file, found a folder, or a file that is gone or too large to read; drop another.`,
      { cause: error },
    );
  });
  if (isWav(file.name, bytes)) return { bytes, channels: null, sample_rate: null };
  if (bytes.byteLength === 0) {
    throw new Error(`${file.name}: expected sound, found an empty file; record or export it again`);
  }
  return { bytes: null, ...(await decode(file.name, bytes)) };
}

function isWav(name, bytes) {
  const magic = String.fromCharCode(...new Uint8Array(bytes, 0, Math.min(4, bytes.byteLength)));
  return WAV_MAGIC.includes(magic) || /\.wave?$/i.test(name);
}

async function decode(name, bytes) {
  const context = new OfflineAudioContext(1, 1, ENGINE_SAMPLE_RATE); // its rate is what decoding resamples to
  let audio;
  try {
    audio = await context.decodeAudioData(bytes);
  } catch (error) {
    throw new Error(
      `${name}: expected WAV, MP3, M4A, Ogg, Opus, FLAC or WebM, found nothing this browser can decode; ` +
        "check that it is a sound file and complete",
      { cause: error },
    );
  }
  // Copies: the browser owns the decoded buffers, and only ours can be transferred to the worker.
  const channels = Array.from({ length: audio.numberOfChannels }, (_, i) => audio.getChannelData(i).slice());
  return { channels, sample_rate: audio.sampleRate };
}
