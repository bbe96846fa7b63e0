/**
 * HTTP clients of the cloud's services. What can go wrong: a service is down or slow (`http-unreachable`, `http-timeout`: retry later),
 * a login is refused (`keystone-refused`), the catalogue lacks a service (`endpoint-not-found`), an answer is a refusal (`http-…` with
 * the service's own fault name in `details.faultType`). How it recovers: what may be repeated is repeated a bounded number of times
 * (http.ts), tokens are renewed before they expire and after a 401 (session.ts); the rest is for the caller to decide by code.
 *
 *   main ── createSession per section ──┬── createPlacementClient ([placement])
 *                                       ├── createNeutronClient   ([neutron], user tokens, [service_user])
 *                                       ├── createGlanceClient    (user tokens, [service_user]; its own or [neutron]'s log-in for what no user asks)
 *                                       └── createVendorDataClient ([vendordata_dynamic_auth], or nobody)
 */
export type * from './types.js';
export { createSession, type ApplicationCredentialAuth, type Auth, type EndpointOptions, type PasswordAuth, type Session, type SessionOptions } from './session.js';
export type { TlsOptions } from './http.js';
export { createPlacementClient, type PlacementOptions } from './placement.js';
export { createNeutronClient, type NeutronOptions } from './neutron.js';
export { createGlanceClient, type GlanceOptions } from './glance.js';
export { createVendorDataClient, type VendorDataClient } from './vendor-data.js';
export { faultTypeOfError } from './failure.js';
