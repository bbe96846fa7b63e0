/** [vnc] tls_*: what the relay shows to proxies, and by what it knows them. */
import { X509Certificate } from 'node:crypto';
import { createSecureContext } from 'node:tls';
import { AgentError } from '../lib/errors.js';
import type { HostFiles } from '../host/index.js';

/** Paths of PEM files. */
export interface TlsFiles {
  readonly certificate: string;
  readonly key: string;
  /** What proxies' certificates are signed with. */
  readonly clientAuthority: string;
}

/** Their texts; they fit together. */
export interface TlsMaterial extends TlsFiles {
  /** Until when the certificate is valid. */
  readonly validTo: Date;
}

const maxBytes = 1024 * 1024;

/** AgentError `tls-file-unreadable`, `tls-file-invalid`: the message names option and file. */
export async function readTlsFiles(files: Pick<HostFiles, 'readText'>, paths: TlsFiles): Promise<TlsMaterial> {
  const certificate = await read(files, 'tls_cert_file', paths.certificate);
  const key = await read(files, 'tls_key_file', paths.key);
  const clientAuthority = await read(files, 'tls_client_ca_file', paths.clientAuthority);
  const { validTo } = parsed('tls_cert_file', paths.certificate, 'is not a certificate (PEM)', () => new X509Certificate(certificate));
  parsed('tls_client_ca_file', paths.clientAuthority, 'is not a certificate (PEM)', () => new X509Certificate(clientAuthority));
  parsed('tls_key_file', paths.key, 'is not the key (PEM, without a passphrase) of tls_cert_file', () => createSecureContext({ cert: certificate, key, ca: clientAuthority }));
  return { certificate, key, clientAuthority, validTo: new Date(validTo) };
}

async function read(files: Pick<HostFiles, 'readText'>, option: string, path: string): Promise<string> {
  const text = await files.readText(path, maxBytes).catch((cause: unknown) => {
    throw new AgentError('tls-file-unreadable', `[vnc] ${option}: ${path} cannot be read`, { cause });
  });
  if (text === undefined) throw new AgentError('tls-file-unreadable', `[vnc] ${option}: there is no file ${path}`);
  return text;
}

function parsed<T>(option: string, path: string, what: string, parse: () => T): T {
  try {
    return parse();
  } catch (cause) {
    throw new AgentError('tls-file-invalid', `[vnc] ${option}: ${path} ${what}`, { cause });
  }
}
