/**
 * What bhyve leaves behind when it saves a guest: FILE (memory), FILE.kern (binary state) and FILE.meta (JSON that describes them). This folder reads the
 * description and judges the save by it and by the sizes of the files; it opens nothing and runs nothing. It never looks into FILE.kern: those are structs of
 * one release, only to be copied.
 *
 *   FILE.meta ── parseSaveMeta ──▶ SaveMeta ──┬─ faultsOfSave ──▶ [] = complete, and of this guest; else sentences for a human
 *                  │ 'save-damaged'           ├─ describeSave ──▶ what an operator sees
 *                  ▼                          └─ diffSaves ─────▶ what differs between two
 *               names the member's path
 *
 *   before the guest is touched:  whyUnsavable(family, devices, proven) ──▶ null, or the device that would be lost
 *
 * Three families, told apart by content, as neither the release nor a version number in the file decides (formats.ts has the names of each):
 *   structs       FreeBSD 13 and branches of that age. One entry per *type* of device: a second disk is lost, an unknown device is left out, both silently.
 *   kern-structs  later releases. One entry per PCI device; a device without save code makes bhyve give the save up and go on with the guest.
 *   upb-json      FreeBSD-UPB's JSON state: no binary part, every member typed by its name.
 *
 * What can go wrong: bhyvectl says nothing about success, and the description is written last and through a buffer, so a file that is empty or cut short is
 * the rule while the save goes on ('save-damaged', look again) and stays so when bhyve gave the save up. A save of a device that bhyve does not know looks good to it
 * all the same; faultsOfSave compares with the configuration. The text may come from another host: size, depth and number of entries are bounded, and no name
 * with control characters gets through.
 */
export { parseSaveMeta, maxMetaBytes } from './parse-save-meta.js';
export { describeSave, type PartSize, type SaveDescription, type StateMember } from './describe-save.js';
export { diffSaves, type SaveChange } from './diff-saves.js';
export { faultsOfSave } from './faults-of-save.js';
export { whyUnsavable } from './why-unsavable.js';
export type { IntegerType, SavableDevice, SaveExpectation, SaveFamily, SaveMeta, SaveSizes, SavedPart, StateNode } from './types.js';
