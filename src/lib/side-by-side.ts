/** Work on many things, some at a time. */

/**
 * Runs `work` on each item, `width` of them at a time, and gives the results in the order of the items. The first failure rejects; no further item is
 * begun after it, those under way are not waited for.
 */
export async function sideBySide<T, R>(items: readonly T[], width: number, work: (item: T) => Promise<R>): Promise<R[]> {
  const results = new Array<R>(items.length);
  let next = 0;
  let hasFailed = false;
  const line = async (): Promise<void> => {
    while (next < items.length && !hasFailed) {
      const index = next;
      next += 1;
      try {
        results[index] = await work(items[index]!);
      } catch (error) {
        hasFailed = true;
        throw error;
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(width, items.length) }, line));
  return results;
}
