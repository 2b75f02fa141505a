// Comes before app/tape.js in tests of loading, so it runs in the engine's worker: counts the bytes of GPU buffers
// and the largest ArrayBuffer, and makes WebGPU and the network fail as it is told over the channel "faults".

const faults = { room: Infinity, adapter: "", byob: true };
const seen = { live: 0, peak: 0, largest: 0, chunks: 0 };
const sizes = new Map(); // buffer → [device, bytes]
let isRefused = false;

const channel = new BroadcastChannel("faults");
channel.onmessage = ({ data }) => {
  Object.assign(faults, data);
  channel.postMessage(seen);
};

function patch(prototype, name, replace) {
  const original = prototype[name];
  prototype[name] = function (...args) {
    return replace.call(this, original.bind(this), ...args);
  };
}

function forget(buffer) {
  seen.live -= sizes.get(buffer)?.[1] ?? 0;
  sizes.delete(buffer);
}

patch(GPUDevice.prototype, "createBuffer", function (create, descriptor) {
  const buffer = create(descriptor);
  if (seen.live + descriptor.size > faults.room) isRefused = true;
  else seen.live += descriptor.size;
  seen.peak = Math.max(seen.peak, seen.live);
  sizes.set(buffer, [this, isRefused ? 0 : descriptor.size]);
  return buffer;
});
patch(GPUDevice.prototype, "popErrorScope", function (pop) {
  const scope = pop();
  if (!isRefused) return scope;
  isRefused = false; // the inner scope, out-of-memory, is popped first
  return Promise.resolve(new GPUOutOfMemoryError("Not enough memory left."));
});
patch(GPUDevice.prototype, "destroy", function (destroy) {
  for (const [buffer, [device]] of sizes) if (device === this) forget(buffer);
  destroy();
});
patch(GPUBuffer.prototype, "destroy", function (destroy) {
  forget(this);
  destroy();
});

patch(GPU.prototype, "requestAdapter", async function (request, options) {
  return faults.adapter === "none" ? null : request(options);
});
patch(GPUAdapter.prototype, "requestDevice", async function (request, options) {
  if (faults.adapter === "no device") throw new DOMException("the driver is too old", "OperationError");
  return request(options);
});
const { get: realLimits } = Object.getOwnPropertyDescriptor(GPUAdapter.prototype, "limits");
Object.defineProperty(GPUAdapter.prototype, "limits", {
  get() {
    const limits = realLimits.call(this);
    const lowered = { maxStorageBuffersPerShaderStage: 4 };
    if (faults.adapter !== "limited") return limits;
    return new Proxy(limits, { get: (target, name) => lowered[name] ?? target[name] });
  },
});

patch(ReadableStream.prototype, "getReader", function (getReader, options) {
  if (faults.byob || options?.mode !== "byob") return getReader(options);
  seen.chunks++;
  throw new TypeError("Cannot get a BYOB reader");
});
self.ArrayBuffer = new Proxy(ArrayBuffer, {
  construct(target, [n_bytes, ...rest]) {
    seen.largest = Math.max(seen.largest, n_bytes);
    return new target(n_bytes, ...rest);
  },
});
