/**
 * What machine a guest is (nova-contract 6.2, 7.4): from flavor and image properties to CPU topology, disk buses, interface models and the rest, by
 * pure functions. Nothing is remembered: the row says it again at each start. `unsupportedMachine` is the question at claim time, `machineShape` the
 * answer for every start.
 */
export { isTrue } from './boolean.js';
export { capabilitiesFor } from './for-form.js';
export { imagePropertiesOf, normalProperties, type ImageProperties } from './image-properties.js';
export { machineShape, shapeFacts, type MachineShape, type ShapeFacts } from './machine-shape.js';
export { unsupportedMachine, type MachineRequest } from './unsupported.js';
