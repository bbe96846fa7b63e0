import { AgentError } from '../../lib/errors.js';

/** The path of a member in the file, as people write it: `devices[3].file_offset`. Hostile names lose what a terminal would obey. */
export function renderPath(path: readonly (string | number)[]): string {
  return path.map((part, index) => (typeof part === 'number' ? `[${part}]` : `${index === 0 ? '' : '.'}${part.slice(0, 64).replace(/[^\x20-\x7e]/g, '?')}`)).join('');
}

/** `save-damaged`: the description of a save is not, or not yet, what bhyve writes. `path` is where, '' for the whole. */
export function damaged(path: string, what: string): AgentError {
  return new AgentError('save-damaged', `the description of the save is damaged: ${path === '' ? 'it' : path} ${what}`, { details: { path } });
}
