// npm's `ws` as an echo server for a client of ours. Prints its port, ends when its input does.
//
//   NODE_PATH=… node tests/foreign/ws_server.js [--keeps]
//
// It compresses, each message by itself or, with --keeps, with regard to those before it. The text "close" is answered by
// a close with 4001, "ping" by a ping whose pong is told as text.
"use strict";

const { WebSocketServer } = require("ws");

const forgets = !process.argv.includes("--keeps");
const server = new WebSocketServer({
  host: "127.0.0.1",
  port: 0,
  maxPayload: 16 << 20,
  perMessageDeflate: { threshold: 0, serverNoContextTakeover: forgets, clientNoContextTakeover: forgets },
  handleProtocols: (offered) => (offered.has("chat.v2") ? "chat.v2" : false),
});

server.on("connection", (socket) => {
  socket.on("pong", () => socket.send("pong"));
  socket.on("message", (data, isBinary) => {
    const text = isBinary ? null : data.toString();
    if (text === "close") socket.close(4001, "下班了");
    else if (text === "ping") socket.ping("are you there?");
    else if (text === "parts") {
      socket.send("frag", { fin: false });
      socket.send("ment", { fin: false });
      socket.send("", { fin: false });
      socket.send("ed 分片", { fin: true });
    } else socket.send(data, { binary: isBinary });
  });
});
server.on("listening", () => console.log(server.address().port));
process.stdin.resume().on("end", () => process.exit(0));
