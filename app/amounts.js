/** Bytes, speeds and durations as people read them. */

const UNITS = [[1e9, "GB"], [1e6, "MB"], [1e3, "kB"]];

/** "2.5 GB", "57 MB", "512 bytes". */
export function inBytes(n) {
  const [unit, name] = UNITS.find(([unit]) => n >= unit) ?? [1, "bytes"];
  return `${unit > 1 && n < 10 * unit ? (n / unit).toFixed(1) : Math.round(n / unit)} ${name}`;
}

/** "1.32 of 2.51 GB", and only the total when it is reached: both in the unit of the total. */
export function ofBytes(done, total) {
  const [unit, name, digits] = total >= 1e9 ? [1e9, "GB", 2] : [1e6, "MB", 1];
  const inUnit = (n) => (n / unit).toFixed(digits);
  return done >= total ? `${inUnit(total)} ${name}` : `${inUnit(done)} of ${inUnit(total)} ${name}`;
}

/** "2.5 GB in 3.4 s (730 MB/s)". */
export function inSeconds(nBytes, seconds) {
  const duration = seconds < 100 ? `${seconds.toFixed(1)} s` : timeOf(seconds);
  return `${inBytes(nBytes)} in ${duration} (${inBytes(nBytes / Math.max(seconds, 1e-3))}/s)`;
}

/** "25 s left", in steps coarse enough not to flicker. */
export function timeLeft(seconds) {
  if (seconds < 1) return "less than 1 s left";
  const step = seconds < 15 ? 1 : seconds < 60 ? 5 : 60;
  return `${timeOf(Math.ceil(seconds / step) * step)} left`;
}

/** "45 s", "4 min", "1 h 20 min". */
function timeOf(seconds) {
  if (seconds < 60) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** "4:07", "1:02:03". */
export function clock(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const shown = parts[0] ? parts : parts.slice(1);
  return shown.map((part, i) => (i ? String(part).padStart(2, "0") : part)).join(":");
}

export const percent = (done, total) => (total > 0 ? Math.min(100, Math.floor((100 * done) / total)) : 0);
