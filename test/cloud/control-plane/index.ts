export { createControlPlane, rabbitEnv, type ControlPlane, type Report } from './control-plane.js';
export { ensureGuestImage, flavors, guestImageName, networks, uploadImage, type ImagePlan } from './catalog.js';
export { login, novaShared, renderIni, writeIfChanged, type Ini } from './config-files.js';
export { sql } from './databases.js';
export { createDaemons, daemonEnv, sleep, startTimeOf, tailOf, until, type Daemons, type DaemonSpec } from './daemons.js';
export { address, endpoints, layoutOf, ports, secretsOf, transportUrl, type Layout, type Secrets } from './layout.js';
export { openSession, RestError, type Session } from './rest.js';
