// SPDX-License-Identifier: Apache-2.0
// A server of two workers by node's cluster module. Prints its port and pid; answers with the pid of who does.
// SIGTERM: the workers end, then the first process, with exit status 0.
const cluster = require('cluster'), http = require('http'), tls = require('tls'), crypto = require('crypto');

if (cluster.isMaster) {
  let listening = 0;
  cluster.on('listening', (worker, address) => {
    if (++listening === 2) console.log(`${address.port} ${process.pid}`);
  });
  process.on('SIGTERM', () => cluster.disconnect(() => process.exit(0)));
  for (let i = 0; i < 2; i++) cluster.fork();
} else {
  process.on('SIGTERM', () => {});
  http.createServer((request, answer) => {
    tls.createSecureContext(); // its OpenSSL is at work beside ours
    crypto.createHash('sha256').update(crypto.randomBytes(64)).digest();
    answer.end(String(process.pid));
  }).listen(0, '127.0.0.1');
}
