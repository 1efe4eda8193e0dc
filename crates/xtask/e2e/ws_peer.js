// The other end of camwire's echo examples, by Node's ws:
//     node ws_peer.js client ws://127.0.0.1:9001
//     node ws_peer.js probe           (ends at once: ws is there)
//     node ws_peer.js server          (prints its port, and ends after the last case)
"use strict";
const assert = require("node:assert");
const { once } = require("node:events");
module.paths.push("/usr/share/nodejs"); // Debian's packages
const { WebSocket, WebSocketServer } = require("ws");

const sizes = [0, 1, 125, 126, 127, 65535, 65536, 65537, 1 << 20];
const messages = sizes.flatMap((size) => {
    const bytes = Buffer.from(Array.from({ length: size }, (_, at) => at % 100));
    return [bytes, bytes.toString()];
});

// Lets the echo at the other end of a socket return all messages, a fragmented one, and a Ping.
async function converse(socket) {
    for (const message of messages) {
        const back = once(socket, "message");
        socket.send(message);
        const [data, isBinary] = await back;
        assert.strictEqual(isBinary, typeof message !== "string");
        assert.ok(data.equals(Buffer.from(message)), `${message.length} bytes come back`);
    }
    const [back, pong] = [once(socket, "message"), once(socket, "pong")];
    socket.send("ab", { fin: false });
    socket.ping("between");
    socket.send("", { fin: false });
    socket.send("c", { fin: true });
    assert.strictEqual((await pong)[0].toString(), "between");
    assert.strictEqual((await back)[0].toString(), "abc");
    const closed = once(socket, "close");
    socket.close(4000, "enough");
    assert.strictEqual((await closed)[0], 4000);
}

async function client(url) {
    const sockets = Array.from({ length: 5 }, () => new WebSocket(url));
    await Promise.all(sockets.map((socket) => once(socket, "open")));
    await Promise.all(sockets.map(converse));
    // With what ws offers by itself (compression), and with what the server does not know.
    const other = new WebSocket(url, ["a", "b"], { origin: "http://page.example" });
    const error = once(other, "error");
    assert.match((await error)[0].message, /subprotocol/); // It insists on one of its own.
}

async function server() {
    const cases = 3;
    const paths = [];
    const listener = new WebSocketServer({ host: "127.0.0.1", port: 0, maxPayload: 0 });
    await once(listener, "listening");
    console.log(listener.address().port);
    listener.on("connection", async (socket, request) => {
        paths.push(request.url);
        if (request.url === "/getCaseCount") {
            socket.send(String(cases));
        } else if (request.url.startsWith("/runCase")) {
            return converse(socket);
        } else {
            const all = ["/getCaseCount"];
            for (let n = 1; n <= cases; n++) all.push(`/runCase?case=${n}&agent=camwire`);
            assert.deepStrictEqual(paths, [...all, "/updateReports?agent=camwire"]);
            setTimeout(() => listener.close(), 100);
        }
        socket.close(1000);
    });
}

const [role, url] = process.argv.slice(2);
const roles = { client, server, probe: async () => {} };
roles[role](url).catch((error) => {
    console.error(error);
    process.exit(1);
});
process.on("unhandledRejection", (error) => {
    console.error(error);
    process.exit(1);
});
