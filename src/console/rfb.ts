/** What both sides of the relay say of RFB 3.8 (RFC 6143, 7.1); numbers of security types are those of the registry in github.com/rfbproto/rfbproto. */

/** The only version that nova-novncproxy and bhyve speak. */
export const rfbVersion = Buffer.from('RFB 003.008\n', 'latin1');

export const securityTypes = { none: 1, vncAuthentication: 2, veNCrypt: 19 } as const;

export const securityPassed = Buffer.alloc(4);

/** A SecurityResult that says no, with the reason that RFB 3.8 has room for. */
export function securityFailed(reason: string): Buffer {
  const text = Buffer.from(reason, 'utf8');
  const head = Buffer.alloc(8);
  head.writeUInt32BE(1, 0);
  head.writeUInt32BE(text.length, 4);
  return Buffer.concat([head, text]);
}
