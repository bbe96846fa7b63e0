/**
 * The last door before a log line leaves: every line is read back, and whatever is secret by its path, by its form, or because it
 * is one of our own secrets, is replaced. So it does not matter through which field, child logger or error it came.
 */

/**
 * Everything that must not be logged. A name alone means a key of that name at any depth; `a.b` means b directly inside a.
 * Compared as snake_case (`authToken`, `Auth-Token` and `auth_token` are one), and without the `_context_` of RPC messages. Add here, nowhere else.
 */
export const secretPaths: readonly string[] = [
  // passwords
  'password', 'passwd', 'pass', 'admin_password', 'admin_pass', 'adminpass', 'new_password', 'new_pass', 'auth_password', 'injected_password', 'rescue_password',
  'password_0', 'password_1', 'password_2', 'password_3', 'secret', 'shared_secret', 'metadata_proxy_shared_secret', 'application_credential_secret', 'encryption_secret_uuid',
  // tokens
  'auth_token', 'token', 'tokens', 'x_auth_token', 'x_service_token', 'x_subject_token', 'authorization', 'proxy_authorization', 'cookie', 'set_cookie', 'token_hash',
  // where they travel together with other things
  'transport_url', 'vendordata_dynamic_targets', 'access_url', 'connection_info', 'auth.identity', 'axios_config', 'config.data', 'config.headers', 'headers.authorization',
  // what belongs to the tenant
  'user_data', 'injected_files', 'files_to_inject', 'personality', 'admin_pass_encrypted',
  // what a guest prints and shows
  'console_output', 'console_contents', 'vnc_password', 'vnc_secret',
];

export const hidden = '***';

const maxText = 4000;
const maxSecret = 1000;
const maxItems = 100;
const maxDepth = 10;

const normalize = (key: string): string => key.replace(/([a-z0-9])([A-Z])/g, '$1_$2').toLowerCase().replaceAll('-', '_').replace(/^_context_/, '');

const secretNames: ReadonlySet<string> = new Set(secretPaths.filter((path) => !path.includes('.')));
const secretPairs: ReadonlySet<string> = new Set(secretPaths.filter((path) => path.includes('.')));

const isSecretKey = (parent: string, key: string): boolean => secretNames.has(key) || secretPairs.has(`${parent}.${key}`);

/** Bounded repetitions only: what is logged may be made by an attacker. Forms that are secret wherever they stand: the password of a URL, a Fernet token, a token in a query. */
const secretForms: readonly [RegExp, string][] = [
  [/\b([a-z][a-z0-9+.-]{0,20}:\/\/[^\s:@/]{0,200}):[^\s@/]{1,400}@/gi, `$1:${hidden}@`],
  [/,([^\s:@/,]{1,200}):[^\s@/,]{1,400}@/g, `,$1:${hidden}@`], // second host of a transport_url
  [/\bgAAAA[A-Za-z0-9_=-]{20,}/g, hidden],
  [/([?&]path=[^&\s"]{0,40}token(?:=|%3D))[^&\s"]+/gi, `$1${hidden}`],
  [/([?&]token=)[^&\s"]+/gi, `$1${hidden}`],
  [/\b(bearer|basic)\s[A-Za-z0-9+/._~=-]{8,}/gi, `$1 ${hidden}`],
];

export interface Redactor {
  /** A copy without secrets, of bounded size. */
  value(value: unknown): unknown;
  /** One line of JSON in, one out; a line that is not JSON is masked as text. */
  line(line: string): string;
}

/** `ownSecrets`: values (of the configuration) that are masked wherever they occur; shorter than four letters is ignored. */
export function createRedactor(ownSecrets: readonly string[] = []): Redactor {
  const own = [...new Set(ownSecrets.flatMap((secret) => [secret, encodeURIComponent(secret), JSON.stringify(secret).slice(1, -1)]))]
    .filter((secret) => secret.length >= 4).sort((a, b) => b.length - a.length);

  const text = (raw: string): string => {
    // Cut first, with room for a secret at the edge: what is logged may be endless, and the work on it must not be.
    let masked = raw.slice(0, maxText + maxSecret);
    for (const secret of own) masked = masked.replaceAll(secret, hidden);
    for (const [form, replacement] of secretForms) masked = masked.replace(form, replacement);
    return raw.length > maxText ? `${masked.slice(0, maxText)}… (${raw.length} in all)` : masked;
  };

  const walk = (value: unknown, parent: string, depth: number): unknown => {
    if (typeof value === 'string') return text(value);
    if (typeof value !== 'object' || value === null) return value;
    if (depth > maxDepth) return '…';
    if (Array.isArray(value)) {
      const items = value.slice(0, maxItems).map((item) => walk(item, parent, depth + 1));
      return value.length > maxItems ? [...items, `… (${value.length - maxItems} more)`] : items;
    }
    return Object.fromEntries(Object.entries(value).map(([key, item]) => {
      const name = normalize(key);
      const isHidden = isSecretKey(parent, name) && item !== null && item !== undefined && item !== '';
      return [text(key), isHidden ? hidden : walk(item, name, depth + 1)];
    }));
  };

  return {
    value: (value) => walk(value, '', 0),
    line(line) {
      try {
        return `${JSON.stringify(walk(JSON.parse(line), '', 0))}\n`;
      } catch {
        return `${text(line.trimEnd())}\n`; // not JSON: nothing of ours writes that, but it must not get out unmasked
      }
    },
  };
}
