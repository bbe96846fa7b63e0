/**
 * Guarded screens: what stands between nova-novncproxy and the VNC server of a guest's bhyve. bhyve knows no TLS, and the proxy no password of VNC, so the agent
 * speaks to each in its own words and joins the two streams:
 *
 *   nova-novncproxy ──RFB 3.8, VeNCrypt 0.2, X509None: TLS with certificates on both sides──▶ relay ──RFB 3.8, VNC authentication──▶ bhyve on 127.0.0.1
 *         (greet-proxy.ts)                                                                 (relay.ts)         (enter-screen.ts)
 *
 * Promises: nothing of a guest is shown, and its bhyve not even called, before a proxy has shown a certificate of ours; the password stays on this host. Whoever owns a
 * port on the same network may send anything: a handshake reads fixed numbers of octets, has ten seconds, and there is room for a few at a time. A session has nothing
 * that grows: each side is read as fast as the other takes it.
 * What can go wrong: the agent ends (sessions end with it, users open their console again), the guest ends (so does its session, and its port is closed), another
 * program has the port (`no-console-port`), the TLS files are broken (refused at the start; later the last good ones stay in use).
 */
export { createRelay, type Relay, type RelayDeps, type RelayOptions, type Screen } from './relay.js';
export { readTlsFiles, type TlsFiles, type TlsMaterial } from './tls-files.js';
