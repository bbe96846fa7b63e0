/**
 * What an operator installs: dist/bin/nova-bhyve.js, made of what tsc wrote into dist/src and of the libraries, in few files instead of 600. Node
 * takes most of a start for finding and linking modules, and keeps what it knows of each. Names are kept, so that a stack in a log can be read.
 */
export default {
  input: { 'nova-bhyve': 'dist/src/main.js' },
  platform: 'node',
  output: {
    dir: 'dist/bin', cleanDir: true, format: 'esm', entryFileNames: '[name].js', chunkFileNames: 'chunks/[name]-[hash].js',
    comments: { legal: false, annotation: false, jsdoc: false }, // V8 keeps the text of what it runs
  },
};
