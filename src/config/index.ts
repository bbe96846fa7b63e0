/**
 * The configuration: an oslo-style ini file with the sections and option names of nova.conf wherever Nova has the option, plus
 * sections of our own. Read once, at start; a change needs a restart.
 *
 *   text ──parseIni──▶ entries ──Resolver ($, aliases, auth_section, environment)──▶ typed Config ──crossCheck──▶ Config | errors
 *
 * Promise: either a Config in which every value is right by itself and with the others, or one error that lists everything that
 * is wrong with file and line. Unknown names are errors in our own sections and a warning line elsewhere, because an operator's
 * nova.conf has options for services that we are not. No message quotes a secret.
 */
export type { Config, SectionName } from './schema.js';
export { secretOptions, sectionsOf } from './schema.js';
export { defaultConfigDir, defaultConfigFile, loadConfig, readConfig } from './load.js';
export type { ConfigSource, LoadedConfig, LoadOptions } from './load.js';
export { parseIni, renderIni, type IniDocument, type IniEntry } from './ini.js';
export { redactConfig } from './redact.js';
export { renderSample } from './sample.js';
