/** The TLS files of guarded screens, looked at before anybody needs them. */
import { readTlsFiles } from './console/index.js';
import type { Config } from './config/index.js';
import type { HostFiles } from './host/index.js';
import type { Clock } from './lib/clock.js';
import { screenFilesOf } from './options.js';

export interface ScreenTls {
  /** Until when the certificate of [vnc] tls_cert_file is valid. */
  readonly validTo: Date;
  readonly isExpired: boolean;
}

/** Null when screens are not guarded. AgentError `tls-file-unreadable`, `tls-file-invalid`; an expired certificate is none, as the next one is taken up without a restart. */
export async function lookAtScreenTls(config: Pick<Config, 'vnc'>, files: Pick<HostFiles, 'readText'>, clock: Pick<Clock, 'now'>): Promise<ScreenTls | null> {
  const paths = screenFilesOf(config);
  if (paths === null) return null;
  const { validTo } = await readTlsFiles(files, paths);
  return { validTo, isExpired: validTo < clock.now() };
}
