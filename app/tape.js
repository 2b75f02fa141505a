// Replays recorded GPU work: the loop between a step and its dispatches, kept in JS because a call from Python costs
// ten times as much. A tape is a flat array [pipeline, bindGroup, x, y, z, …] built once by voxtral/browser/device.py.

export const replay = (encoder, tapes, descriptor) => {
  const pass = encoder.beginComputePass(descriptor);
  for (const tape of tapes) {
    for (let i = 0; i < tape.length; i += 5) {
      pass.setPipeline(tape[i]);
      pass.setBindGroup(0, tape[i + 1]);
      pass.dispatchWorkgroups(tape[i + 2], tape[i + 3], tape[i + 4]);
    }
  }
  pass.end();
};
