/**
 * Guests on bhyve.
 *
 *   agent (may die at any time)                          guest (must not)
 *   ───────────────────────────                          ────────────────
 *   define ── instance.json, bhyve.conf, nvram.fd
 *   start ─── daemon(8) ───────────────────────────▶ supervisor.sh ──▶ bhyve: UUID ──▶ /dev/vmm/UUID
 *   watch ◀── events/UUID, status, verdict ─────────────┘   └──▶ console reader ──▶ console.log
 *   stop ──── stop marker, SIGTERM = power button ─────────────────▶
 *
 *        define          start              exit 0 (guest reboots)
 *   absent ──▶ stopped ─────────▶ running ◀──────────┐
 *     ▲          ▲  ▲               │ └──────────────┘
 *     │ destroy  │  └───────────────┘ exit 1, 2: off · 3, 4, signal: crashed · 5: suspended
 *     └──────────┘
 *   running ──suspend──▶ suspended: off, with its memory in the folder (suspend-guest.ts) ──resume──▶ running (resume-guest.ts); a start from there is cold
 *
 * Promises: a guest never depends on the agent's life. Nothing is signalled, cleaned or started over without proof that it is ours (proof.ts).
 * PCI slots never move (slot-map.ts). What the machine says wins over what files say (observe-guest.ts).
 * What can go wrong: supervisor killed (the guest lives on, its exit status is lost), host reset (status files of another boot: cleaned at
 * adoption, verdict "crashed"), bhyve hangs in the kernel (`guest-stop-failed`, nothing is destroyed), a stranger with our guest's name
 * (`guest-unproven`, nothing is touched).
 */
export { createBhyveDriver, type BhyveDriverOptions } from './driver.js';
export type { VncOptions } from './allocations.js';
export type { SerialOptions } from './serial-consoles.js';
export { defaultFirmwareDirs } from './firmware.js';
export { runSelfTest, type SelfTestOptions, type SelfTestReport } from './selftest/self-test.js';
