/** `name`, or with `#2`, `#3` … behind it what is not yet `taken`. */
export function freeName(taken: ReadonlyMap<string, unknown>, name: string): string {
  let free = name;
  for (let count = 2; taken.has(free); count += 1) free = `${name}#${count}`;
  return free;
}
