/** Waits for a state, not for a time; always bounded. */
export async function waitUntil(isReached: () => boolean | Promise<boolean>, what: string, limitMs = 60_000): Promise<void> {
  const end = performance.now() + limitMs;
  while (!(await isReached())) {
    if (performance.now() > end) throw new Error(`not within ${limitMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
