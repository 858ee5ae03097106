// One node of a Socket.IO chat. A `message` reaches every member of the sender's first room on every node.
//
// node server.js --addr 127.0.0.1:PORT --node NAME [--redis redis://HOST:PORT/] [--adapter classic|sharded]
//
// Without --redis the node is alone, with the adapter in memory. A session names its rooms in the query of its
// handshake, `room=a,b`, and joins further ones with the event `join`.
"use strict";

const { createServer } = require("node:http");
const { parseArgs } = require("node:util");
const { createAdapter, createShardedAdapter } = require("@socket.io/redis-adapter");
const { createClient } = require("redis");
const { Server } = require("socket.io");

const { addr, node, redis, adapter } = parseArgs({
  options: {
    addr: { type: "string" },
    node: { type: "string" },
    redis: { type: "string" },
    adapter: { type: "string", default: "classic" },
  },
}).values;

const http = createServer();
const io = new Server(http, {
  transports: ["websocket"],
  perMessageDeflate: false,
  httpCompression: false,
  serveClient: false,
});

async function joinCluster() {
  const publisher = createClient({ url: redis });
  const subscriber = publisher.duplicate();
  for (const client of [publisher, subscriber]) {
    client.on("error", (error) => {
      console.error(`redis: ${error.message}`);
    });
  }
  await Promise.all([publisher.connect(), subscriber.connect()]);
  const create = { classic: createAdapter, sharded: createShardedAdapter }[adapter];
  io.adapter(create(publisher, subscriber));
}

io.on("connection", (socket) => {
  const from = socket.handshake.query.name;
  const rooms = socket.handshake.query.room.split(",");
  socket.join(rooms);
  socket.on("message", (line) => io.to(rooms[0]).emit("message", { from, line, node }));
  socket.on("join", (room, done) => {
    socket.join(room);
    done();
  });
});

async function main() {
  if (redis) {
    await joinCluster();
  }
  const [, host, port] = addr.match(/^(.*):(\d+)$/);
  http.listen({ host, port: Number(port), backlog: 4096 }, () => {
    const query = "EIO=4&transport=websocket&room=lobby&name=you";
    console.log(`endpoint: ws://${host}:${http.address().port}/socket.io/?${query}`);
  });
}

main();
