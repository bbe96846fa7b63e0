/** CRC-32 (IEEE 802.3), as hex. node:zlib has one only since 20.15, and we promise any Node 20. */
const table = Uint32Array.from({ length: 256 }, (_none, index) => {
  let value = index;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

/** Eight hex digits. */
export function crc32(bytes: Uint8Array): string {
  let value = 0xffffffff;
  for (const byte of bytes) value = (value >>> 8) ^ table[(value ^ byte) & 0xff]!;
  return ((value ^ 0xffffffff) >>> 0).toString(16).padStart(8, '0');
}
