// For `require('node-fetch')` where the runtime's own fetch is meant.
module.exports = globalThis.fetch;
