/** One row of the table of options. */
import type { Kind } from './kinds.js';

export interface Option<T> {
  readonly kind: Kind<unknown>;
  /** As one would write it in the file, `$other` allowed; null = not set. */
  readonly default: string | null;
  /** Shown in the sample; a few sentences for the operator. */
  readonly help: string;
  /** Whether an empty or absent value is null. */
  readonly isNullable: boolean;
  /** Never printed, logged or put into an error. */
  readonly isSecret: boolean;
  /** Older names that Nova still reads: `name` or `section.name`. */
  readonly aliases: readonly string[];
  /** What the sample shows instead of the default, e.g. for values taken from the machine. */
  readonly sample?: string;
  /** Carries the type only; never present. */
  readonly type?: T;
}

interface Extra {
  readonly secret?: boolean;
  readonly aliases?: readonly string[];
  readonly sample?: string;
}

const row = (extra: Extra): Pick<Option<unknown>, 'isSecret' | 'aliases'> & { sample?: string } => ({
  isSecret: extra.secret ?? false,
  aliases: extra.aliases ?? [],
  ...(extra.sample === undefined ? {} : { sample: extra.sample }),
});

/** An option that always has a value. */
export const option = <T>(kind: Kind<T>, defaultText: string, help: string, extra: Extra = {}): Option<T> => ({
  kind: kind, default: defaultText, help, isNullable: false, ...row(extra),
});

/** An option that may be absent (null). */
export const optional = <T>(kind: Kind<T>, help: string, extra: Extra = {}): Option<T | null> => ({
  kind: kind, default: null, help, isNullable: true, ...row(extra),
});

export type SectionSchema = Readonly<Record<string, Option<unknown>>>;
export type ValueOf<O> = O extends Option<infer T> ? T : never;
export type SectionValues<S extends SectionSchema> = { readonly [Name in keyof S]: ValueOf<S[Name]> };
