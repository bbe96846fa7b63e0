/**
 * The self-test behind suspend and resume: guests that count are saved and restored, with each model of device alone, with two of one model, and with all of them
 * together, by the very code that suspends servers. Only what came back counts as a thing that this host can do (save-capability.ts).
 *
 * It runs beside the agent and its guests, in a folder of its own, and takes away what it made: guests, taps, files.
 */
import { AgentError, codeOf, messageChain } from '../../../lib/errors.js';
import type { InstanceUuid } from '../../../lib/ids.js';
import type { FolderClaim, Host } from '../../../host/index.js';
import type { SaveFamily } from '../../saves/index.js';
import type { HypervisorDriver } from '../../types.js';
import { createBhyveDriver, type BhyveDriverOptions } from '../driver.js';
import { parseSelfTest, renderSelfTest, selfTestPath, type SelfTestResult } from '../save-capability.js';
import { readSaveIdentity } from '../save-identity.js';
import { manifestName, parseManifest } from '../save-manifest.js';
import { countingRom, tickWord } from './counting-rom.js';
import { definitionOf, modelTrials, pairTrials, plainTrial, wholeTrial, withDisk, type Trial } from './trials.js';

export interface TrialResult {
  readonly title: string;
  readonly outcome: 'passed' | 'failed' | 'not tried';
  /** Why it was not passed; empty if it was. */
  readonly reason: string;
}

export interface SelfTestReport {
  readonly result: SelfTestResult;
  readonly trials: readonly TrialResult[];
}

export type SelfTestOptions = Omit<BhyveDriverOptions, 'isTrial' | 'serial' | 'mayRestore' | 'needsSandbox'> & {
  /** One line for each step, for whoever waits. */
  readonly note: (text: string) => void;
  readonly signal: AbortSignal;
  /** One self-test at a time: `claimFolder`. */
  readonly claim: (folder: string) => Promise<FolderClaim>;
};

const maxTaps = 3;
const diskBytes = 1024 * 1024;
const tickLimitMs = 20_000;
const keptResults = 20;

interface Stage {
  readonly driver: HypervisorDriver;
  readonly host: Host;
  readonly clock: SelfTestOptions['clock'];
  readonly folder: string;
  readonly taps: readonly string[];
  readonly signal: AbortSignal;
  /** Every guest needs a disk to be saved beside. */
  readonly needsDisk: boolean;
}

/**
 * Runs all trials and stores what was found. AgentError `host-unusable` for a host whose bhyve knows nothing of saving, `already-running` while another
 * self-test runs; a trial that fails is a finding, not an error.
 */
export async function runSelfTest(options: SelfTestOptions): Promise<SelfTestReport> {
  const { host, statePath, clock, signal } = options;
  const folder = `${statePath}/selftest`;
  await host.files.makeDirectory(folder, 0o700);
  const claim = await options.claim(folder);
  try {
    const driver = await openDriver(options, folder);
    const taps: string[] = [];
    try {
      if (!driver.capabilities.hasSnapshot) throw new AgentError('host-unusable', 'this bhyve cannot save guests: FreeBSD must be built with BHYVE_SNAPSHOT, kernel and userland');
      await removeLeft(driver);
      for (let count = 0; count < maxTaps; count += 1) taps.push((await host.run('ifconfig', ['tap', 'create'])).stdout.trim());
      for (let index = 0; index < maxTaps + 1; index += 1) await host.files.writeAtomic(diskOf(folder, index), new Uint8Array(diskBytes), 0o600);
      const found = await tryAll({ driver, host, clock, folder, taps, signal, needsDisk: driver.capabilities.sandbox === 'first-disk' }, options.note);
      const result: SelfTestResult = { ...found.verdict, at: clock.now().toISOString(), host: await readSaveIdentity(host, driver.capabilities) };
      await store(host, statePath, result);
      return { result, trials: found.trials };
    } finally {
      await removeLeft(driver);
      for (const tap of taps) await host.run('ifconfig', [tap, 'destroy'], { okExits: 'any' });
      await driver.close();
      for (const name of ['guests', 'rom', 'disks']) await host.files.remove(`${folder}/${name}`, folder);
    }
  } finally {
    await claim.release();
  }
}

const diskOf = (folder: string, index: number): string => `${folder}/disks/${index}`;

async function openDriver({ note: _note, signal: _signal, claim: _claim, ...options }: SelfTestOptions, folder: string): Promise<HypervisorDriver> {
  const { files } = options.host;
  for (const name of ['guests', 'rom', 'disks']) await files.makeDirectory(`${folder}/${name}`, 0o700);
  await files.writeAtomic(`${folder}/rom/BHYVE_UEFI.fd`, countingRom(), 0o600);
  const driver = createBhyveDriver({ ...options, statePath: `${folder}/guests`, firmwareDirs: [`${folder}/rom`], serial: null, isTrial: true });
  await driver.prepare();
  return driver;
}

/** Of a self-test that was killed too. */
async function removeLeft(driver: HypervisorDriver): Promise<void> {
  for (const instance of await driver.list()) await driver.destroy(instance);
}

interface Found { readonly verdict: Pick<SelfTestResult, 'family' | 'models' | 'isGood' | 'reason'>; readonly trials: readonly TrialResult[] }

async function tryAll(stage: Stage, note: (text: string) => void): Promise<Found> {
  const trials: TrialResult[] = [];
  let family: SaveFamily | null = null;
  const attempt = async (trial: Trial): Promise<boolean> => {
    stage.signal.throwIfAborted();
    note(trial.title);
    try {
      family = await tryOne(stage, trial);
      trials.push({ title: trial.title, outcome: 'passed', reason: '' });
      return true;
    } catch (error) {
      if (stage.signal.aborted || !(error instanceof AgentError)) throw error;
      trials.push({ title: trial.title, outcome: 'failed', reason: messageChain(error).slice(0, 500) }); // bhyve's own words are in a cause
      return false;
    }
  };
  const skip = (trial: Trial, reason: string): void => void trials.push({ title: trial.title, outcome: 'not tried', reason });
  const verdict = (isGood: boolean, reason: string, models: readonly string[] = []): Found => ({ verdict: { family: family ?? 'structs', models: [...models], isGood, reason }, trials });
  const lastReason = (): string => `${trials.at(-1)?.title ?? ''}: ${trials.at(-1)?.reason ?? ''}`;

  const fitted = (trial: Trial): Trial => (stage.needsDisk ? withDisk(trial) : trial);
  const plain = fitted(plainTrial);
  if (!(await attempt(plain))) return verdict(false, lastReason());
  const models = new Set(plain.models);
  for (const trial of modelTrials.map(fitted)) {
    if (!trial.models.every((model) => models.has(model) || stage.driver.capabilities.deviceModels.has(model))) skip(trial, 'this bhyve has no such device');
    else if (await attempt(trial)) for (const model of trial.models) models.add(model);
  }
  for (const trial of pairTrials.map(fitted)) {
    if (family !== 'kern-structs') skip(trial, 'this bhyve saves only the first device of a model');
    else if (!trial.models.every((model) => models.has(model))) skip(trial, 'one of them was not restored');
    else if (!(await attempt(trial))) return verdict(false, lastReason());
  }
  if (!(await attempt(wholeTrial(models, family ?? 'structs')))) return verdict(false, lastReason());
  return verdict(true, '', [...models]);
}

/** Boots, counts, saves, restores, counts on. Gives the family of the files. */
async function tryOne(stage: Stage, trial: Trial): Promise<SaveFamily> {
  const { driver, signal } = stage;
  const definition = definitionOf(trial, (index) => diskOf(stage.folder, index), stage.taps);
  const { instance } = definition;
  try {
    await driver.define(definition);
    await driver.start(instance);
    await countAbove(stage, instance, 1);
    await driver.suspend(instance, { holdDisks: () => Promise.resolve({}), signal });
    const family = await familyOf(stage, instance);
    const saved = await lastCount(driver, instance);
    await driver.resume(instance, { disks: {}, signal });
    await countAbove(stage, instance, saved);
    return family;
  } finally {
    await driver.destroy(instance);
  }
}

async function familyOf({ host, driver }: Stage, instance: InstanceUuid): Promise<SaveFamily> {
  const text = await host.files.readText(`${await driver.folder(instance)}/suspended/${manifestName}`);
  return parseManifest(instance, text ?? '').family;
}

const counts = (log: string): number[] => [...log.matchAll(new RegExp(`${tickWord}([0-9a-f]{8})\\r?\\n`, 'g'))].map(([, digits]) => Number.parseInt(digits!, 16));

const lastCount = async (driver: HypervisorDriver, instance: InstanceUuid): Promise<number> => counts((await driver.consoleLog(instance, null)) ?? '').at(-1) ?? 0;

/** Waits until the guest has said a number above `floor`. One that begins again says 1 instead: AgentError `selftest-failed`, as for one that says nothing. */
async function countAbove({ driver, clock, signal }: Stage, instance: InstanceUuid, floor: number): Promise<void> {
  const deadline = clock.monotonicMs() + tickLimitMs;
  for (;;) {
    const last = await lastCount(driver, instance);
    if (last > floor) return;
    if (last < floor && floor > 1) throw new AgentError('selftest-failed', `the guest began anew at ${last} instead of going on from ${floor}`);
    if (clock.monotonicMs() >= deadline) throw new AgentError('selftest-failed', `the guest said nothing for ${tickLimitMs / 1000} s, its last number is ${last}`);
    await clock.sleep(100, signal);
  }
}

/** The newest result first; a file that cannot be read is replaced. */
async function store(host: Host, statePath: string, result: SelfTestResult): Promise<void> {
  const path = selfTestPath(statePath);
  const text = await host.files.readText(path);
  let before: readonly SelfTestResult[] = [];
  try {
    before = text === undefined ? [] : parseSelfTest(text);
  } catch (error) {
    if (codeOf(error) !== 'bad-selftest-file') throw error;
  }
  await host.files.writeAtomic(path, renderSelfTest([result, ...before].slice(0, keptResults)), 0o600);
}
