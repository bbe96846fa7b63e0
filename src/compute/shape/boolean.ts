/** Booleans as Nova's operators write them in extra specs and properties. */
export const isTrue = (text: string): boolean => ['1', 't', 'true', 'on', 'y', 'yes'].includes(text.trim().toLowerCase());
