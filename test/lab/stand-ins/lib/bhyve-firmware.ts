/** Boot ROM and variable store: pflash of the q35 machine. */
import { statSync } from 'node:fs';
import { Abort, type Plan, deviceFailure } from './bhyve-plan.js';
import { strerror } from './tool.js';

const PAGE = 4096;
const MAX_ROM = 16 * 2 ** 20;

/** The ROM that a configuration names; 15 reads the old key too, with a warning. */
export function bootRomOf(plan: Pick<Plan, 'config' | 'node'>): { rom: string | undefined; vars: string | undefined; isDeprecated: boolean } {
  const { config, node } = plan;
  const old = { rom: config.expanded('lpc.bootrom'), vars: config.expanded('lpc.bootvars') };
  if (!node.facts.hasTopLevelBootrom) return { ...old, isDeprecated: false };
  const [rom, vars] = [config.expanded('bootrom'), config.expanded('bootvars')];
  return { rom: rom ?? old.rom, vars: vars ?? old.vars, isDeprecated: rom === undefined && old.rom !== undefined };
}

export function bootRomArguments(plan: Plan): string[] {
  const { rom, vars } = bootRomOf(plan);
  if (rom === undefined) return [];
  if (!plan.hasLpc) throw new Abort('vm exit[0]\n\treason\t\tSVM\n\trip\t\t0x000000000000fff0\n\tinst_length\t0\n\texitcode\t0x400\n\texitinfo1\t0x100000014\n\texitinfo2\t0xfffffff0\n');
  const romBytes = sizeOf(rom, 'bootrom');
  if (romBytes === 0) throw deviceFailure(`bhyve: ROM size 0 is invalid\n`);
  if (romBytes % PAGE !== 0) throw deviceFailure(`bhyve: ROM size ${romBytes} is not a multiple of the page size\n`);
  const varsBytes = vars === undefined ? 0 : sizeOf(vars, 'bootrom variable file');
  if (romBytes + varsBytes > MAX_ROM) throw deviceFailure(`Invalid bootrom and variable aggregate size ${romBytes + varsBytes}\n`);
  const drive = (file: string, isReadOnly: boolean): string[] =>
    ['-drive', `if=pflash,format=raw,file.locking=off,${isReadOnly ? 'readonly=on,' : ''}file=${file.replaceAll(',', ',,')}`];
  return [...drive(rom, true), ...(vars === undefined ? [] : drive(vars, false))];
}

function sizeOf(path: string, what: string): number {
  try {
    return statSync(path).size;
  } catch (error) {
    throw deviceFailure(`Error opening ${what} "${path}": ${strerror(error)}\n`, strerror(error));
  }
}
