/** StaticJSON of `[api]vendordata_*`: what the operator tells every guest in its config drive. */
import type { Config } from './config/index.js';
import type { HostFiles } from './host/index.js';
import { AgentError } from './lib/errors.js';

/**
 * The object of `vendordata_jsonfile_path`, {} without one; null when StaticJSON is not wanted. Nova would fail every build on a file that
 * cannot be read: here the start is refused instead, with AgentError `vendor-data-invalid`.
 */
export async function readVendorData(api: Config['api'], files: Pick<HostFiles, 'readText'>): Promise<Readonly<Record<string, unknown>> | null> {
  if (!api.vendordata_providers.includes('StaticJSON')) return null;
  const path = api.vendordata_jsonfile_path;
  if (path === null) return {};
  const refuse = (why: string, cause?: unknown): AgentError =>
    new AgentError('vendor-data-invalid', `[api] vendordata_jsonfile_path: ${path} ${why}`, cause === undefined ? {} : { cause });
  const text = await files.readText(path);
  if (text === undefined) throw refuse('does not exist');
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch {
    throw refuse('is not JSON'); // the parser's message quotes the text, which may hold secrets
  }
  if (typeof content !== 'object' || content === null || Array.isArray(content)) throw refuse('holds no JSON object');
  return content as Readonly<Record<string, unknown>>;
}
