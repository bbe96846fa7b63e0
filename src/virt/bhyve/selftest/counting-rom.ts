/**
 * The smallest guest that can tell whether it was restored: a boot ROM that counts in memory and prints the number on com1, about five times a second on real
 * hardware. Restored rightly it counts on; started anew it says 1. It drives no device, so any can be put beside it; but it gives the ports of AHCI controllers
 * their lists, as each driver does first, because bhyve refuses to save a port without (recorded on 13.2: `.meta` is cut short, the guest goes on).
 *
 * The ROM is the last 64 KiB below 4 GiB. The processor begins at its last 16 octets in real mode (Intel SDM 3A 9.1.4) and goes into protected mode, with flat
 * segments, to reach the controllers' registers (AHCI 1.3.1, 3.1 and 3.3).
 */

/** What the guest prints before the number, which is eight hexadecimal digits. */
export const tickWord = 'tick ';

const romBytes = 0x1_0000;
const base = 0xffff_0000;
const codeOffset = 0xf000;
const resetOffset = 0xfff0;

/** An octet, a place, the way to a place from behind it, or where a place is: within the ROM (2 octets) or in memory (4). */
type Item = number | { readonly label: string } | { readonly jump: string; readonly bytes: 1 | 4 } | { readonly address: string; readonly bytes: 2 | 4 };

const at = (label: string): Item => ({ label });
const to = (jump: string): Item => ({ jump, bytes: 1 });
const far = (jump: string): Item => ({ jump, bytes: 4 });

const put: readonly Item[] = [0xe8, far('put')];
const pci = (register: number): readonly Item[] => [0xbb, register, 0, 0, 0x80, 0xe8, far('pci')]; // mov ebx, 0x80000000 + register; call pci

const realMode: readonly Item[] = [
  0xfa, //                                                    cli
  0x2e, 0x66, 0x0f, 0x01, 0x16, { address: 'gdtr', bytes: 2 }, // lgdt cs:[gdtr]
  0x0f, 0x20, 0xc0, 0x0c, 0x01, 0x0f, 0x22, 0xc0, //          mov eax, cr0; or al, 1; mov cr0, eax
  0x66, 0xea, { address: 'main', bytes: 4 }, 0x08, 0x00, //   jmp 8:main
];

/** For each AHCI controller in slots 0 to 31: registers switched on, and each port that there is with a command list and a place for what it receives. */
const ahciPorts: readonly Item[] = [
  0x31, 0xc9, //                                              xor ecx, ecx: the slot
  at('slot'),
  ...pci(0x08), 0xc1, 0xe8, 0x08, 0x3d, 0x01, 0x06, 0x01, 0x00, // class and revision; shr eax, 8; cmp eax, 0x010601
  0x0f, 0x85, far('next'), //                                 jne next
  ...pci(0x24), 0x83, 0xe0, 0xf0, 0x75, 0x06, //              BAR 5; and eax, -16; jnz over the next two
  0xb8, 0x00, 0x00, 0x00, 0xe0, 0xef, //                      mov eax, 0xe0000000; out dx, eax: nobody has given it a place
  0x89, 0xc6, //                                              mov esi, eax
  ...pci(0x04), 0x83, 0xc8, 0x06, 0xef, //                    command; or eax, 6 (memory, bus master); out dx, eax
  0x81, 0x4e, 0x04, 0x00, 0x00, 0x00, 0x80, //                or dword [esi + GHC], AE
  0x8b, 0x7e, 0x0c, //                                        mov edi, [esi + PI]
  0xbd, 0x00, 0x00, 0x01, 0x00, //                            mov ebp, 0x10000: lists of the first port
  0x8d, 0x9e, 0x00, 0x01, 0x00, 0x00, //                      lea ebx, [esi + 0x100]: its registers
  at('port'),
  0xf7, 0xc7, 0x01, 0x00, 0x00, 0x00, 0x74, to('absent'), //  test edi, 1; jz absent
  0x89, 0x2b, //                                              mov [ebx + CLB], ebp
  0x8d, 0x85, 0x00, 0x08, 0x00, 0x00, 0x89, 0x43, 0x08, //    lea eax, [ebp + 0x800]; mov [ebx + FB], eax
  0x31, 0xc0, 0x89, 0x43, 0x04, 0x89, 0x43, 0x0c, //          xor eax, eax; mov [ebx + CLBU], eax; mov [ebx + FBU], eax
  0xc7, 0x43, 0x18, 0x11, 0x00, 0x00, 0x00, //                mov dword [ebx + CMD], FRE | ST
  at('absent'),
  0x81, 0xc5, 0x00, 0x10, 0x00, 0x00, 0x81, 0xc3, 0x80, 0x00, 0x00, 0x00, // add ebp, 0x1000; add ebx, 0x80
  0xd1, 0xef, 0x75, to('port'), //                            shr edi, 1; jnz port
  at('next'),
  0x41, 0x83, 0xf9, 0x20, 0x0f, 0x82, far('slot'), //         inc ecx; cmp ecx, 32; jb slot
];

const counting: readonly Item[] = [
  0x31, 0xc0, 0xa3, 0x00, 0x05, 0x00, 0x00, //                xor eax, eax; mov [0x500], eax
  at('tick'),
  0xff, 0x05, 0x00, 0x05, 0x00, 0x00, //                      inc dword [0x500]
  0xbe, { address: 'word', bytes: 4 }, //                     mov esi, word
  at('letter'),
  0xac, 0x84, 0xc0, 0x74, to('number'), //                    lodsb; test al, al; jz number
  ...put, 0xeb, to('letter'), //                              call put; jmp letter
  at('number'),
  0x8b, 0x1d, 0x00, 0x05, 0x00, 0x00, 0xb9, 0x08, 0x00, 0x00, 0x00, // mov ebx, [0x500]; mov ecx, 8
  at('digit'),
  0xc1, 0xc3, 0x04, 0x88, 0xd8, 0x24, 0x0f, //                rol ebx, 4; mov al, bl; and al, 15
  0x3c, 0x0a, 0x72, 0x02, 0x04, 0x27, 0x04, 0x30, //          cmp al, 10; jb over the next; add al, 'a' - '0' - 10; add al, '0'
  ...put, 0xe2, to('digit'), //                               call put; loop digit
  0xb0, 0x0d, ...put, 0xb0, 0x0a, ...put, //                  carriage return, line feed
  0x66, 0xba, 0xfd, 0x03, 0xb9, 0x20, 0x4e, 0x00, 0x00, //    mov dx, 0x3fd; mov ecx, 20000: each look at the port leaves the guest, which takes some 10 us
  at('rest'),
  0xec, 0xe2, to('rest'), 0xe9, far('tick'), //               in al, dx; loop rest; jmp tick
];

const program: readonly Item[] = [
  ...realMode,
  at('main'),
  0xb8, 0x10, 0x00, 0x00, 0x00, 0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0, // mov eax, 16; mov ds, ax; mov es, ax; mov ss, ax
  0xbc, 0x00, 0x7c, 0x00, 0x00, //                            mov esp, 0x7c00
  ...ahciPorts,
  ...counting,
  at('pci'), //                                               slot ecx, register ebx: its value in eax, and dx at its place
  0x89, 0xc8, 0xc1, 0xe0, 0x0b, 0x09, 0xd8, //                mov eax, ecx; shl eax, 11; or eax, ebx
  0x66, 0xba, 0xf8, 0x0c, 0xef, 0x66, 0xba, 0xfc, 0x0c, 0xed, 0xc3, // mov dx, 0xcf8; out dx, eax; mov dx, 0xcfc; in eax, dx; ret
  at('put'),
  0x50, 0x66, 0xba, 0xfd, 0x03, //                            push eax; mov dx, 0x3fd
  at('full'),
  0xec, 0xa8, 0x20, 0x74, to('full'), //                      in al, dx; test al, 0x20 (transmitter is empty); jz full
  0x58, 0x66, 0xba, 0xf8, 0x03, 0xee, 0xc3, //                pop eax; mov dx, 0x3f8; out dx, al; ret
  at('word'),
  ...Buffer.from(`${tickWord}\0`, 'latin1'),
  at('gdt'), // marked as accessed already: the processor cannot do it in a ROM
  0, 0, 0, 0, 0, 0, 0, 0,
  0xff, 0xff, 0, 0, 0, 0x9b, 0xcf, 0, //                      code, 4 GiB
  0xff, 0xff, 0, 0, 0, 0x93, 0xcf, 0, //                      data, 4 GiB
  at('gdtr'),
  23, 0, { address: 'gdt', bytes: 4 },
];

const sizeOf = (item: Item): number => (typeof item === 'number' ? 1 : 'label' in item ? 0 : item.bytes);

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
    else if ('jump' in item) rom.writeIntLE(place(item.jump) - next, offset, item.bytes);
    else if ('address' in item) rom.writeUIntLE(place(item.address) + (item.bytes === 4 ? base : 0), offset, item.bytes);
    offset = next;
  }
  rom.writeUInt8(0xe9, resetOffset); // jmp to the code
  rom.writeInt16LE(codeOffset - (resetOffset + 3), resetOffset + 1);
  return rom;
}
