/** Sizes as zfs prints and reads them. */

const UNITS = ['', 'K', 'M', 'G', 'T', 'P', 'E'];

/** Three significant digits and a unit: 540K, 3.62G, 0B. `suffix` is what a number below 1024 ends with. */
export function niceNumber(value: bigint, suffix: '' | 'B' = 'B'): string {
  let index = 0;
  for (let rest = value; rest >= 1024n && index < 6; rest /= 1024n) index++;
  if (index === 0) return `${value}${suffix}`;
  const unit = 1n << BigInt(10 * index);
  if (value % unit === 0n) return `${value / unit}${UNITS[index]}`;
  for (let digits = 2; digits >= 0; digits--) {
    const text = `${(Number(value) / Number(unit)).toFixed(digits)}${UNITS[index]}`;
    if (text.length <= 5 || digits === 0) return text;
  }
  return '';
}

/** What is wrong with a number, in zfs's words. */
export type BadNumber = { readonly bad: 'numeric value is too large' | 'bad numeric value' };

/** `10G`, `1.5T`, `512`, `1001K`, `64MB`, `1k`; below 2^64. */
export function parseSize(text: string): bigint | BadNumber {
  const match = /^(\d+)(?:\.(\d*))?([KMGTPEZkmgtpez])?(?:i?[bB])?$|^(\d+)[bB]$/.exec(text);
  if (match === null) return { bad: 'bad numeric value' };
  const [, whole, fraction, unit, plain] = match;
  const shift = unit === undefined ? 0 : 'KMGTPEZ'.indexOf(unit.toUpperCase()) + 1;
  const scale = 1n << BigInt(10 * shift);
  const value = BigInt(whole ?? plain ?? '0') * scale + (fraction ? BigInt(Math.round(Number(`0.${fraction}`) * Number(scale))) : 0n);
  return value >= 1n << 64n ? { bad: 'numeric value is too large' } : value;
}

/** What zfs reserves for a volume that is not sparse: the data and the indirect blocks above it. */
export function reservationOf(volumeBytes: bigint, blockBytes: bigint): bigint {
  const perIndirect = 1024n; // block pointers in an indirect block of 128 KiB
  let metadata = 7n;
  for (let blocks = volumeBytes / blockBytes; blocks > 1n; ) {
    blocks = (blocks + perIndirect - 1n) / perIndirect;
    metadata += blocks;
  }
  return volumeBytes + metadata * 2n * 131072n;
}

/** `Mon Nov 23  5:15 2026`, as `zfs get creation` without -p. */
export function niceDate(seconds: number): string {
  const date = new Date(seconds * 1000);
  const days = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'];
  const months = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
  const two = (value: number): string => String(value).padStart(2, ' ');
  return `${days[date.getDay()]} ${months[date.getMonth()]} ${two(date.getDate())} ${two(date.getHours())}:${String(date.getMinutes()).padStart(2, '0')} ${date.getFullYear()}`;
}
