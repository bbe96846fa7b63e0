/**
 * The names that bhyve's formats use. Sources: snapshot.c of 13.2 and 15.1, and saves made by a real 13.2 (test/samples/saves).
 * The kernel's structs are the same in all families, but for `vmx`: stock 13.2 lists it with size 0 on every processor, and then refuses to restore it.
 */
export const kernelStructs: readonly string[] = ['vhpet', 'vm', 'vioapic', 'vlapic', 'vmcx', 'vatpit', 'vatpic', 'vpmtmr', 'vrtc'];

/** Saved by builds of FreeBSD 13 and older; later ones do not have it. */
export const oldKernelStruct = 'vmx';

/** The keyboard and mouse controller: in no configuration, in every save (save and restore exist on amd64 only). */
export const keyboard = 'atkbdc';

/** Device models with save code, 13.2 to 15.1. */
export const savableModels: ReadonlySet<string> = new Set(['hostbridge', 'lpc', 'virtio-blk', 'virtio-net', 'virtio-rnd', 'ahci', 'e1000', 'fbuf', 'xhci']);

/** Has no state of its own: FreeBSD 13 does not list it and restores well without. */
export const statelessModel = 'hostbridge';

/** The model behind a type as FreeBSD 13 lists it: it has the aliases for a controller with one port as types of their own. */
export const modelOfType = (type: string): string => (type === 'ahci-hd' || type === 'ahci-cd' ? 'ahci' : type);

/**
 * Octets of what is saved of every PCI device before its own state: name and address, interrupts, configuration space, base addresses (pci_emul.c of 13.2). A host
 * bridge has nothing else, so its entry tells the number where it is listed.
 */
export const barePciBytes = 508n;

/** The table of message interrupts, which is part of what is saved of any device: 16 octets for each of the 17 that an NVMe controller of bhyve has (pci_nvme.c: 16 queues and the administrator's). */
export const nvmeInterruptBytes = 17n * 16n;
