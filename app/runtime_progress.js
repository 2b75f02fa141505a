/**
 * Fetches what Python needs before PyScript asks for it, so that the wait can be shown in bytes.
 * The files land in the browser's HTTP cache, from where PyScript then takes them.
 */

/**
 * Fetches them side by side. onProgress(done, total) counts bytes of those with a known size.
 *
 * files: [{url, size}], size in bytes or null.
 * Rejects with an Error whose message is a sentence for the user when one cannot be had.
 */
export async function prefetch(files, onProgress) {
  const total = files.reduce((sum, { size }) => sum + (size ?? 0), 0);
  let done = 0;
  if (navigator.serviceWorker?.controller) return onProgress(total, total); // it has them here (service_worker.js)
  onProgress(done, total);
  await Promise.all(
    files.map(({ url, size }) =>
      fetchWhole(url, (n) => {
        if (size === null) return;
        done += n;
        onProgress(Math.min(done, total), total);
      }),
    ),
  );
}

async function fetchWhole(url, onBytes) {
  const { pathname } = new URL(url);
  const response = await fetch(url).catch((error) => {
    throw new Error(`The server did not answer for ${pathname}; check the connection, then reload.`, {
      cause: error,
    });
  });
  if (!response.ok) {
    const { status } = response;
    throw new Error(`The server has no ${pathname} (HTTP ${status}); reload, or set the app up again (serve.py, or its --export).`);
  }
  try {
    for (let reader = response.body.getReader(); ; ) {
      const { done, value } = await reader.read();
      if (done) return;
      onBytes(value.byteLength);
    }
  } catch (error) {
    throw new Error(`The connection broke while loading ${pathname}; check it, then reload.`, {
      cause: error,
    });
  }
}
