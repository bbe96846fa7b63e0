/** The operator's commands, on commander (the usual one for Node, no dependencies). Each is loaded when it is asked for: the service needs none of them. */
import { Command, CommanderError, Option } from 'commander';
import { defaultConfigFile, loadConfig, type LoadedConfig } from '../config/index.js';
import { systemClock } from '../lib/clock.js';
import { AgentError, messageChain } from '../lib/errors.js';
import type { NodeView, OpenNode } from './node-view.js';
import type { Output } from './output.js';

/** Which configuration: both empty = the default one. */
export interface ConfigLocation {
  readonly files: readonly string[];
  readonly dirs: readonly string[];
}

/** What main.ts gives; the commands themselves do not know how parts are made. */
export interface CliHandlers {
  /** The service, until it is told to stop. Resolves with the exit code. */
  readonly run: (location: ConfigLocation) => Promise<number>;
  readonly open: OpenNode;
  readonly version: string;
}

/** 0 good; 1 the answer is no, or it failed; 2 wrong use; 78 (EX_CONFIG) the configuration cannot be used. */
export const exitCodes = { good: 0, bad: 1, usage: 2, config: 78 } as const;

export interface Cli {
  /** `argv` without node and script. Resolves with the exit code; never rejects for what an operator did. */
  main(argv: readonly string[]): Promise<number>;
}

const collect = (value: string, before: readonly string[]): readonly string[] => [...before, value];

function addConfigOptions(command: Command): Command {
  return command
    .option('--config-file <file>', `configuration, may repeat (default: ${defaultConfigFile})`, collect, [] as readonly string[])
    .option('--config-dir <folder>', 'read *.conf in it as well, may repeat', collect, [] as readonly string[]);
}

interface CheckpointGiven extends Given { readonly name?: string; readonly kind: 'full' | 'disk' | 'external' | 'internal'; readonly force?: boolean }

/** Those that the running agent carries out. */
function addOrders(checkpoint: Command, withNode: WithNode, output: Output, done: (code: number) => void): void {
  const add = (usage: string, text: string): Command => addConfigOptions(checkpoint.command(usage).description(text)).option('--json', 'for programs');
  const load = () => import('./checkpoint-orders.js');
  add('create <uuid>', 'have the agent make one of a server, which no image stands for: it stays until it is deleted here, or the server goes')
    .option('--name <name>', 'what to call it')
    .addOption(new Option('--kind <kind>', 'full: with the memory of the guest, which stands still meanwhile; external, internal: of qcow2 disks, in a file of its own or inside theirs')
      .choices(['full', 'disk', 'external', 'internal']).default('disk'))
    .action(async (uuid: string, given: CheckpointGiven) => done(await withNode(given, async (node, { config }) =>
      (await load()).createCheckpoint(node, { wanted: uuid, name: given.name ?? null, kind: given.kind, json: given.json === true, statePath: config.DEFAULT.state_path }, output))));
  add('restore <uuid> <checkpoint>', 'have the agent take a server to a checkpoint (its id, as much of its beginning as is clear, or its name); a server that runs runs afterwards')
    .addOption(new Option('--kind <kind>', 'full: with its memory, if it has any; disk: its disks alone, and a cold start').choices(['full', 'disk']).default('full'))
    .action(async (uuid: string, id: string, given: CheckpointGiven) => done(await withNode(given, async (node, { config }) =>
      (await load()).restoreCheckpoint(node, { wanted: uuid, id, content: given.kind === 'full' ? 'full' : 'disk', json: given.json === true, statePath: config.DEFAULT.state_path }, output))));
  add('delete <uuid> <checkpoint>', 'have the agent delete a checkpoint; those that descend from it stay')
    .option('--force', 'also one that an image stands for, which leads nowhere then')
    .action(async (uuid: string, id: string, given: CheckpointGiven) => done(await withNode(given, async (node, { config }) =>
      (await load()).deleteCheckpoint(node, { wanted: uuid, id, isForced: given.force === true, json: given.json === true, statePath: config.DEFAULT.state_path }, output))));
  add('flatten <uuid>', 'have the agent make the qcow2 disks of a stopped server rest on their image alone; its checkpoints stay')
    .action(async (uuid: string, given: Given) => done(await withNode(given, async (node, { config }) =>
      (await load()).flattenDisks(node, { wanted: uuid, json: given.json === true, statePath: config.DEFAULT.state_path }, output))));
}

interface Given { readonly configFile: readonly string[]; readonly configDir: readonly string[]; readonly json?: boolean; readonly online?: boolean }

type WithNode = (given: Given, work: (node: NodeView, loaded: LoadedConfig) => Promise<number>) => Promise<number>;

const locationOf = (given: Given): ConfigLocation => ({ files: given.configFile, dirs: given.configDir });

/** Those on files alone read no configuration. */
function addCheckpoint(program: Command, withNode: WithNode, output: Output, done: (code: number) => void): void {
  const checkpoint = program.command('checkpoint').description('checkpoints of an instance, and what is in saved guests').helpCommand(false);
  const addTree = (usage: string, text: string, name: 'listCheckpoints' | 'drawCheckpoints'): void => {
    addConfigOptions(checkpoint.command(usage).description(text)).option('--json', 'for programs').action(async (uuid: string, given: Given) => done(await withNode(given, async (node) =>
      (await import('./checkpoint-tree.js'))[name](node, uuid, { json: given.json === true, now: systemClock.now() }, output))));
  };
  addTree('list <uuid>', 'checkpoints of an instance, oldest first', 'listCheckpoints');
  addTree('tree <uuid>', 'the same as a tree, with where the disks are now', 'drawCheckpoints');
  addConfigOptions(checkpoint.command('fsck [uuid]').description('whether checkpoints are whole, those of all instances or of one; reads their memory and changes nothing; exit code 1 if something was found'))
    .option('--json', 'for programs').action(async (wanted: string | undefined, given: Given) => done(await withNode(given, async (node) =>
      (await import('./checkpoint-fsck.js')).checkCheckpoints(node, { wanted, json: given.json === true, signal: new AbortController().signal }, output))));
  addConfigOptions(checkpoint.command('show <file.meta|uuid> [checkpoint]').description('what was saved, in a file or for a checkpoint with memory: guest, parts with their sizes and, if bhyve wrote it as JSON, every member'))
    .option('--json', 'for programs').action(async (what: string, id: string | undefined, given: Given) => {
      const { showCheckpoint } = await import('./checkpoint.js');
      const options = { json: given.json === true };
      if (id === undefined) return done(await showCheckpoint(what, options, output));
      return done(await withNode(given, async (node, { config }) => {
        const save = await (await import('./checkpoint-tree.js')).saveOfCheckpoint(node, { wanted: what, id, statePath: config.DEFAULT.state_path }, output);
        return save === null ? exitCodes.bad : showCheckpoint(save.file, { ...options, node: save.node }, output);
      }));
    });
  addOrders(checkpoint, withNode, output, done);
  checkpoint.command('diff <a.meta> <b.meta>').description('in what two saves differ; exit code 1 if they do').option('--json', 'for programs')
    .action(async (before: string, after: string, given: { json?: boolean }) =>
      done(await (await import('./checkpoint.js')).diffCheckpoints(before, after, { json: given.json === true }, output)));
}

export function createCli(handlers: CliHandlers, output: Output): Cli {
  /** One command on the node's parts, which are given back afterwards. */
  async function withNode(given: Given, work: (node: NodeView, loaded: LoadedConfig) => Promise<number>): Promise<number> {
    const loaded = loadConfig(locationOf(given));
    const node = await handlers.open(loaded.config);
    try {
      return await work(node, loaded);
    } finally {
      await node.close();
    }
  }

  function build(done: (code: number) => void): Command {
    const program = new Command('nova-bhyve');
    program.description('Makes this FreeBSD host an OpenStack compute node').version(handlers.version).helpCommand(false).exitOverride()
      .configureOutput({ writeOut: output.out, writeErr: output.err });
    const add = (usage: string, text: string): Command => {
      const command = addConfigOptions(program.command(usage).description(text));
      return usage === 'run' ? command : command.option('--json', 'for programs');
    };
    add('run', 'be the service, until SIGTERM').action(async (given: Given) => done(await handlers.run(locationOf(given))));
    add('check', 'say whether the agent can run here, and what this host can do')
      .option('--online', 'also log in to the message bus and to Keystone')
      .action(async (given: Given) => done(await withNode(given, async (node, loaded) =>
        (await import('./check.js')).checkNode(node, loaded, { json: given.json === true, online: given.online === true }, output))));
    add('instances', 'what this node has')
      .action(async (given: Given) => done(await withNode(given, async (node) => (await import('./instances.js')).listInstances(node, { json: given.json === true }, output))));
    add('instance <uuid>', 'one instance: guest, disks, taps, PCI slots, journal')
      .action(async (uuid: string, given: Given) => done(await withNode(given, async (node, { config }) =>
        (await import('./instance.js')).showInstance(node, uuid, { json: given.json === true, statePath: config.DEFAULT.state_path }, output))));
    program.command('methods').description('what Nova can ask of this agent: works, refused with the reason, or needs a feature of the host; reads no configuration')
      .option('--json', 'for programs').action(async (given: { json?: boolean }) => done((await import('./methods.js')).showMethods({ json: given.json === true }, output)));
    const selftest = program.command('selftest').description('try what no question to the host can tell').helpCommand(false);
    addConfigOptions(selftest.command('save-restore').description('save and restore small guests; once they come back, servers can be suspended here (some minutes)')).option('--json', 'for programs')
      .action(async (given: Given) => done(await withNode(given, async (node) => (await import('./selftest.js')).selfTestSaveRestore(node.selfTest, { json: given.json === true }, output))));
    const save = program.command('save').description('saves of suspended servers').helpCommand(false);
    addConfigOptions(save.command('allow <uuid>').description('let the next resume take a save that another kernel, bhyve or release made; once, and never for changed disks, damaged files or another CPU vendor')).option('--json', 'for programs')
      .action(async (uuid: string, given: Given) => done(await withNode(given, async (node) => (await import('./save.js')).allowSave(node, uuid, { json: given.json === true }, output))));
    addCheckpoint(program, withNode, output, done);
    return program;
  }

  return {
    async main(argv) {
      let code: number = exitCodes.good;
      try {
        await build((answer) => { code = answer; }).parseAsync([...argv], { from: 'user' });
        return code;
      } catch (error) {
        if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.good : exitCodes.usage;
        output.err(`nova-bhyve: ${describe(error)}\n`);
        return error instanceof AgentError && error.code.startsWith('config-') ? exitCodes.config : exitCodes.bad;
      }
    },
  };
}

/** The chain of messages; a bug shows its stack. */
function describe(error: unknown): string {
  if (!(error instanceof AgentError)) return error instanceof Error ? (error.stack ?? error.message) : String(error);
  return messageChain(error);
}
