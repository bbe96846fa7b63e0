/** Netmasks and network addresses of prefixes, as text, both IP versions. */

/** `10.0.0.5/20` → `255.255.240.0`; `2001:db8::1/64` → `ffff:ffff:ffff:ffff::`. */
export function maskOf(cidr: string): string {
  const { isV6, bits, prefix } = split(cidr);
  return format(maskBits(bits, prefix), isV6);
}

/** The first address of the prefix. */
export function networkOf(cidr: string): string {
  const { isV6, bits, prefix, value } = split(cidr);
  return format(value & maskBits(bits, prefix), isV6);
}

const maskBits = (bits: number, prefix: number): bigint => ((1n << BigInt(prefix)) - 1n) << BigInt(bits - prefix);

function split(cidr: string): { isV6: boolean; bits: number; prefix: number; value: bigint } {
  const [address = '', length] = cidr.split('/');
  const isV6 = address.includes(':');
  const bits = isV6 ? 128 : 32;
  return { isV6, bits, prefix: length === undefined ? bits : Number(length), value: isV6 ? valueV6(address) : valueV4(address) };
}

const valueV4 = (address: string): bigint => address.split('.').reduce((sum, part) => (sum << 8n) | BigInt(part), 0n);

function valueV6(address: string): bigint {
  const [head = '', tail] = address.split('::');
  const groups = (text: string): bigint[] => (text === '' ? [] : text.split(':').flatMap((part) =>
    part.includes('.') ? [valueV4(part) >> 16n, valueV4(part) & 0xffffn] : [BigInt(`0x${part}`)]));
  const left = groups(head);
  const right = tail === undefined ? [] : groups(tail);
  const middle = Array<bigint>(tail === undefined ? 0 : 8 - left.length - right.length).fill(0n);
  return [...left, ...middle, ...right].reduce((sum, group) => (sum << 16n) | group, 0n);
}

function format(value: bigint, isV6: boolean): string {
  if (!isV6) return [24n, 16n, 8n, 0n].map((shift) => ((value >> shift) & 255n).toString()).join('.');
  const groups = Array.from({ length: 8 }, (_, index) => ((value >> BigInt(112 - 16 * index)) & 0xffffn).toString(16));
  return compressed(groups);
}

/** The longest run of two or more zero groups becomes `::` (RFC 5952). */
function compressed(groups: readonly string[]): string {
  let best = { start: 0, length: 1 };
  for (let start = 0; start < groups.length; start += 1) {
    let length = 0;
    while (groups[start + length] === '0') length += 1;
    if (length > best.length) best = { start, length };
  }
  if (best.length < 2) return groups.join(':');
  return `${groups.slice(0, best.start).join(':')}::${groups.slice(best.start + best.length).join(':')}`;
}
