// The cheapest MJPEG server that plain Node can be, as a yardstick:
//
//     node fanout.js PORT DIR FPS
//
// Every *.jpg of DIR is made into a finished part (head, picture, tail: one buffer) before the
// first viewer comes. At each tick every viewer gets the same buffer by one `res.write`. There is
// no timestamp, no statistics and no skipping: whoever is slow is queued for.
'use strict';

const fs = require('node:fs');
const http = require('node:http');
const path = require('node:path');

const [port, dir, fps] = process.argv.slice(2);
if (!port || !dir || !(Number(fps) > 0)) {
  console.error('usage: node fanout.js PORT DIR FPS');
  process.exit(2);
}

const BOUNDARY = 'fanout';
const parts = fs
  .readdirSync(dir)
  .filter((name) => /\.jpe?g$/i.test(name))
  .sort()
  .map((name) => finishedPart(fs.readFileSync(path.join(dir, name))));
if (parts.length === 0) {
  console.error(`no *.jpg in ${dir}`);
  process.exit(1);
}

const viewers = new Set();

http
  .createServer((req, res) => {
    // A stream of unknown length to an HTTP/1.1 client would be chunked: VLC rejects that, and it
    // costs two more pieces for each write.
    res.useChunkedEncodingByDefault = false;
    res.writeHead(200, {
      'Content-Type': `multipart/x-mixed-replace;boundary=${BOUNDARY}`,
      'Cache-Control': 'no-store',
      Connection: 'close',
    });
    res.write(`--${BOUNDARY}\r\n`);
    viewers.add(res);
    res.on('close', () => viewers.delete(res));
  })
  .listen(Number(port), '127.0.0.1');

// Ticks are counted from the start, so that a timer's whole milliseconds do not add up.
const start = performance.now();
let ticks = 0;
tick();

function tick() {
  const part = parts[ticks % parts.length];
  for (const res of viewers) res.write(part);
  ticks += 1;
  setTimeout(tick, Math.max(0, start + (ticks * 1000) / fps - performance.now()));
}

function finishedPart(picture) {
  const head = `Content-Type: image/jpeg\r\nContent-Length: ${picture.length}\r\n\r\n`;
  return Buffer.concat([Buffer.from(head), picture, Buffer.from(`\r\n--${BOUNDARY}\r\n`)]);
}
