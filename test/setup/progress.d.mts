export interface Progress {
  readonly phase: <T>(title: string, work: (note: (text: string, options?: { minor?: boolean }) => void) => Promise<T>) => Promise<T>;
  readonly durations: { readonly title: string; readonly seconds: number }[];
  readonly say: (text?: string) => void;
}
export function createProgress(out?: NodeJS.WriteStream): Progress;
