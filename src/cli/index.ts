/**
 * The operator's program `nova-bhyve`. `run` is the service; the others look at a node and change nothing of its guests themselves (`check`, `instance` and `save` load vmm if it is
 * not there, to see what it can do):
 *
 *   check      configuration + host + firmware + pool (+ broker and Keystone)     exit 1 if the agent cannot run here
 *   instances  folders ∪ datasets ∪ taps, with what is under way and what does not fit together
 *   instance   one of them: guest, disks, taps, PCI slots, journal
 *   methods    what Nova can ask for
 *   checkpoint list, tree: the checkpoints of an instance; show, diff: what is in a saved guest, and in what two differ; create, restore, delete: done by the agent
 *   save allow a save of another kernel or bhyve may be resumed once; writes a file beside it, and is the only one of them that does
 *
 * But for `checkpoint create`, `restore` and `delete`, which ask the running agent (control/), they read what is on the node itself, so they work while the agent is down;
 * beside a running agent they are readers only.
 * Every command has --json. The parts come from main.ts (CliHandlers): nothing here is above it.
 */
export { createCli, exitCodes, type Cli, type CliHandlers, type ConfigLocation } from './cli.js';
export type { NodeView, OpenNode } from './node-view.js';
export type { Output } from './output.js';
