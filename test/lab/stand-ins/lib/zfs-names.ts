/** What zfs says about a name that it does not like; undefined if the name is good. */

export type NameKind = 'filesystem' | 'volume' | 'snapshot';

const FIELDS: Readonly<Record<NameKind, RegExp>> = { filesystem: /@/, volume: /@/, snapshot: /(?!)/ };

export function nameFault(name: string, kind: NameKind): string | undefined {
  if (name.length >= 256) return 'name is too long';
  if (name.startsWith('/')) return 'leading slash in name';
  if (kind !== 'snapshot' && FIELDS[kind].test(name)) return "snapshot delimiter '@' is not expected here";
  if (kind === 'snapshot' && !name.includes('@')) return "missing '@' delimiter in snapshot name";
  if (/[@#].*[@#]/.test(name)) return "multiple '@' and/or '#' delimiters in name";
  if (name.endsWith('/') || /@.*\//.test(name)) return 'trailing slash in name';
  if (name.split(/[/@]/).some((part) => part === '')) return "empty component or misplaced '@' or '#' delimiter in name";
  const bad = /[^A-Za-z0-9_.: \-/@]/.exec(name);
  if (bad !== null) return `invalid character ${bad[0]} in name`;
  const parts = name.split(/[/@]/);
  if (parts.includes('..')) return "parent reference, '..' is found in name";
  if (parts.includes('.')) return "self reference, '.' is found in name";
  return /^[^A-Za-z]/.test(name) ? 'name must begin with a letter' : undefined;
}

export const poolOf = (name: string): string => name.split(/[/@#]/)[0]!;
export const parentOf = (name: string): string => name.slice(0, name.lastIndexOf('/'));
export const datasetOf = (name: string): string => name.split('@')[0]!;
