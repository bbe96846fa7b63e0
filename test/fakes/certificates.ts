/** Certificates as an operator makes them, by openssl: an authority with a host and a proxy below it, and a stranger's authority with a proxy of its own. */
import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
export type CertificateName = 'ca' | 'host' | 'next-host' | 'proxy' | 'other-ca' | 'other-proxy';

export interface Certificates {
  /** Paths: NAME.pem and NAME.key. */
  readonly file: (name: CertificateName, kind: 'pem' | 'key') => string;
  readonly text: (name: CertificateName, kind: 'pem' | 'key') => string;
}

/** An authority in `folder`, and certificates that it has signed, each with one extension (a line of openssl's): NAME.pem and NAME.key. */
export async function signCertificates(folder: string, authority: string, extensions: Readonly<Record<string, string>>): Promise<void> {
  const openssl = (...args: string[]): Promise<unknown> => run('/usr/bin/openssl', args, { cwd: folder });
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
  await openssl('req', '-x509', ...key, '-subj', `/CN=${authority}`, '-keyout', `${authority}.key`, '-out', `${authority}.pem`);
  for (const [name, extension] of Object.entries(extensions)) {
    await openssl('req', ...key, '-subj', `/CN=${name}`, '-keyout', `${name}.key`, '-out', `${name}.csr`);
    writeFileSync(join(folder, `${name}.ext`), extension);
    await openssl('x509', '-req', '-in', `${name}.csr`, '-CA', `${authority}.pem`, '-CAkey', `${authority}.key`, '-CAcreateserial', '-days', '2', '-extfile', `${name}.ext`, '-out', `${name}.pem`);
  }
}

export async function makeCertificates(folder: string): Promise<Certificates> {
  const host = 'subjectAltName=IP:127.0.0.2';
  const proxy = 'extendedKeyUsage=clientAuth';
  await signCertificates(folder, 'ca', { host, 'next-host': host, proxy });
  await signCertificates(folder, 'other-ca', { 'other-proxy': proxy });
  const file: Certificates['file'] = (name, kind) => join(folder, `${name}.${kind}`);
  return { file, text: (name, kind) => readFileSync(file(name, kind), 'utf8') };
}
