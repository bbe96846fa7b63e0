/** How commands speak: tables for people, JSON for programs. */
import Table from 'cli-table3'; // aligns wide characters as well; pure JavaScript

export interface Output {
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
}

const noLines = {
  top: '', 'top-mid': '', 'top-left': '', 'top-right': '', bottom: '', 'bottom-mid': '', 'bottom-left': '', 'bottom-right': '',
  left: '', 'left-mid': '', mid: '', 'mid-mid': '', right: '', 'right-mid': '', middle: '  ',
} as const;

const style = { head: [], border: [], 'padding-left': 0, 'padding-right': 0, compact: true };

/** Rows below a heading, columns aligned, without frames: easy to read and to cut. */
export function renderTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const table = new Table({ head: head.map((word) => word.toUpperCase()), chars: noLines, style });
  table.push(...rows.map((row) => [...row]));
  return `${table.toString().split('\n').map((line) => line.trimEnd()).join('\n')}\n`;
}

/** `name  value` lines. */
export function renderFields(fields: readonly (readonly [string, string])[]): string {
  const table = new Table({ chars: noLines, style });
  table.push(...fields.map(([name, value]) => [name, value]));
  return `${table.toString().split('\n').map((line) => line.trimEnd()).join('\n')}\n`;
}

const plain = (_key: string, value: unknown): unknown => {
  if (typeof value === 'bigint') return Number.isSafeInteger(Number(value)) ? Number(value) : value.toString();
  if (value instanceof Map) return Object.fromEntries(value);
  return value instanceof Set ? [...(value as Set<unknown>)] : value;
};

/** Whole numbers of any size become numbers (text past 2^53), maps objects, sets lists. */
export const renderJson = (value: unknown): string => `${JSON.stringify(value, plain, 2)}\n`;

const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

/** 1536n → '1.5 KiB'. */
export function formatBytes(bytes: bigint): string {
  let value = Number(bytes);
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : Number(value.toFixed(1))} ${units[unit]!}`;
}
