/**
 * The smallest guest that can tell whether it was restored: 16-bit code in a boot ROM that counts in memory and prints the number on com1, about five times a
 * second on real hardware. Restored rightly it counts on; started anew it says 1. It uses no other device, so any can be put beside it.
 *
 * The ROM is the last 64 KiB below 4 GiB; the processor begins at its last 16 octets in real mode (CS base 0xFFFF0000, Intel SDM 3A 9.1.4).
 */

/** What the guest prints before the number, which is eight hexadecimal digits. */
export const tickWord = 'tick ';

const romBytes = 0x1_0000;
const codeOffset = 0xf000;
const resetOffset = 0xfff0;

type Item = number | { readonly label: string } | { readonly jump: string; readonly bits: 8 | 16 } | { readonly address: string };

const at = (label: string): Item => ({ label });
const near = (label: string): Item => ({ jump: label, bits: 16 });
const short = (label: string): Item => ({ jump: label, bits: 8 });

const callPut: readonly Item[] = [0xe8, near('put')];

const program: readonly Item[] = [
  0xfa, //                                     cli
  0x66, 0x31, 0xc0, //                         xor eax, eax
  0x8e, 0xd8, 0x8e, 0xd0, //                   mov ds, ax; mov ss, ax
  0xbc, 0x00, 0x7c, //                         mov sp, 0x7c00
  0x66, 0xa3, 0x00, 0x05, //                   mov [0x500], eax
  at('tick'),
  0x66, 0xff, 0x06, 0x00, 0x05, //             inc dword [0x500]
  0xbe, { address: 'word' }, //                mov si, word
  at('letter'),
  0x2e, 0xac, //                               cs lodsb
  0x84, 0xc0, 0x74, short('number'), //        test al, al; jz number
  ...callPut, 0xeb, short('letter'), //        call put; jmp letter
  at('number'),
  0x66, 0x8b, 0x1e, 0x00, 0x05, //             mov ebx, [0x500]
  0xb9, 0x08, 0x00, //                         mov cx, 8
  at('digit'),
  0x66, 0xc1, 0xc3, 0x04, //                   rol ebx, 4
  0x88, 0xd8, 0x24, 0x0f, //                   mov al, bl; and al, 15
  0x3c, 0x0a, 0x72, 0x02, 0x04, 0x27, //       cmp al, 10; jb over the next; add al, 'a' - '0' - 10
  0x04, 0x30, //                               add al, '0'
  ...callPut, 0xe2, short('digit'), //         call put; loop digit
  0xb0, 0x0d, ...callPut, 0xb0, 0x0a, ...callPut, // carriage return, line feed
  0xba, 0xfd, 0x03, 0xb9, 0x20, 0x4e, //       mov dx, 0x3fd; mov cx, 20000: each look at the port leaves the guest, which takes some 10 us
  at('rest'),
  0xec, 0xe2, short('rest'), //                in al, dx; loop rest
  0xeb, short('tick'), //                      jmp tick
  at('put'),
  0x50, 0xba, 0xfd, 0x03, //                   push ax; mov dx, 0x3fd
  at('full'),
  0xec, 0xa8, 0x20, 0x74, short('full'), //    in al, dx; test al, 0x20 (transmitter is empty); jz full
  0x58, 0xba, 0xf8, 0x03, 0xee, 0xc3, //       pop ax; mov dx, 0x3f8; out dx, al; ret
  at('word'),
  ...Buffer.from(`${tickWord}\0`, 'latin1'),
];

const sizeOf = (item: Item): number => (typeof item === 'number' ? 1 : 'label' in item ? 0 : 'jump' in item ? item.bits / 8 : 2);

/** The octets of the ROM. */
export function countingRom(): Uint8Array {
  const rom = Buffer.alloc(romBytes);
  const labels = new Map<string, number>();
  let offset = codeOffset;
  for (const item of program) {
    if (typeof item === 'object' && 'label' in item) labels.set(item.label, offset);
    offset += sizeOf(item);
  }
  const place = (label: string): number => labels.get(label) ?? 0;
  offset = codeOffset;
  for (const item of program) {
    const next = offset + sizeOf(item);
    if (typeof item === 'number') rom.writeUInt8(item, offset);
    else if ('address' in item) rom.writeUInt16LE(place(item.address), offset);
    else if ('jump' in item && item.bits === 8) rom.writeInt8(place(item.jump) - next, offset);
    else if ('jump' in item) rom.writeInt16LE(place(item.jump) - next, offset);
    offset = next;
  }
  rom.writeUInt8(0xe9, resetOffset); // jmp to the code
  rom.writeInt16LE(codeOffset - (resetOffset + 3), resetOffset + 1);
  return rom;
}
