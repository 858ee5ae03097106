"use strict";
// Drives the page of socketio_chat by both ways, and a tutorial's own Socket.IO page in the same group.
// SOCKET_IO_LIBRARY names the browser library of Socket.IO, unless npm has put it into examples/socketio_chat.

const assert = require("node:assert/strict");
const fs = require("node:fs");
const { PHONE, Server, Window, check, speaksBothLanguages, tell } = require("./windows.js");

async function join(window, name, way) {
  await window.page.fill("#name", name);
  await window.page.check(way);
  await window.page.click("#enter");
  await window.untilState("connected");
  await window.untilLine("System", `${name} joined the group`);
}

async function say(window, message) {
  await window.page.fill("#message", message);
  await window.page.keyboard.press("Enter");
}

// The page of a tutorial, word for word; jQuery is given to it as its own page has it.
const TUTORIAL = `<!doctype html><meta charset="utf-8"><title>tutorial</title><link rel="icon" href="data:,">
<ul id="messages"></ul><form action=""><input id="m"><button>发送</button></form>
<script>${fs.readFileSync(require.resolve("jquery/dist/jquery.js"), "utf8").replaceAll("</script", "<\\/script")}</script>
<script src="/socket.io/socket.io.js"></script>
<script>
  var name   = prompt("请输入你的昵称：");
  var socket = io()

  //发送昵称给后端，并更改网页title
  socket.emit("join", name)
  document.title = name + "的群聊"

  socket.on("join", function (user) {
    addLine(user + " 加入了群聊")
  })

  //接收到服务器发来的message事件
  socket.on("message", function(msg) {
    addLine(msg)
  })

  //当发送按钮被点击时
  $('form').submit(function () {
    var msg = $("#m").val() //获取用户输入的信息
    socket.emit("message", msg) //将消息发送给服务器
    $("#m").val("") //置空消息框
    return false //阻止form提交
  })

  function addLine(msg) {
    $('#messages').append($('<li>').text(msg));
  }
</script>`;

async function twoWorlds() {
  let server = await Server.start("socketio_chat");
  const [ming, hong] = [
    await Window.open(server.urls.page),
    await Window.open(server.urls.page, { viewport: PHONE, colorScheme: "dark" }),
  ];

  await check("speaks both languages", () => speaksBothLanguages(ming, ["Group chat: Socket.IO and WebSocket", "群聊：Socket.IO 和 WebSocket"]));

  await check("one joins by Socket.IO and one by WebSocket, and both see each other", async () => {
    await join(ming, "Ming", "#by-io");
    await join(hong, "Hong", "#by-ws");
    await ming.untilLine("System", "Hong joined the group");
  });

  await check("they talk to each other", async () => {
    await say(ming, "I am here by Socket.IO");
    await hong.untilLine("Ming", "I am here by Socket.IO");
    await say(hong, "And I by WebSocket");
    for (const window of [ming, hong]) await window.untilLine("Hong", "And I by WebSocket");
  });

  const tutorial = await Window.open(server.urls.page);
  tutorial.page.on("dialog", dialog => dialog.accept("old page"));
  await tutorial.page.setContent(TUTORIAL);

  await check("a tutorial's page joins the same group", async () => {
    for (const window of [ming, hong]) await window.untilLine("System", "old page joined the group");
    await tutorial.untilShown("#messages li", "old page 加入了群聊");
    assert.equal(await tutorial.page.title(), "old page的群聊");
  });

  await check("it exchanges messages with both", async () => {
    await say(ming, "Hello, old page");
    await tutorial.untilShown("#messages li", "Ming: Hello, old page");
    await say(hong, "Welcome");
    await tutorial.untilShown("#messages li", "Hong: Welcome");
    await tutorial.page.fill("#m", "Hello everybody");
    await tutorial.page.click("button");
    for (const window of [ming, hong]) await window.untilLine("old page", "Hello everybody");
    assert.equal(await tutorial.page.inputValue("#m"), "");
  });
  for (const window of [ming, hong]) await check("fits its window and names its controls", () => window.isFitForAll());
  await ming.picture("socketio_chat");
  await hong.picture("socketio_chat-phone-dark");

  await check("the library has upgraded from polling to its own WebSocket", async () => {
    await tutorial.until("the upgrade", () => socket.io.engine.transport.name === "websocket");
  });

  await check("a member who leaves is removed on both sides", async () => {
    await hong.page.click("#leave");
    await hong.untilState("closed: 1000 normal closure");
    await ming.untilLine("System", "Hong left the group");
    await tutorial.untilShown("#messages li", "Hong left the group");
    await tutorial.close();
    await ming.untilLine("System", "old page left the group");
    await join(hong, "Hong", "#by-ws");
    await ming.page.click("#leave");
    await ming.untilState("closed: io client disconnect");
    await hong.untilLine("System", "Ming left the group");
  });

  await check("the server's messages change their language, too", async () => {
    await hong.changeLanguage();
    await hong.untilLine("系统", "Ming 离开了群聊");
    await hong.untilState("已连接");
    await hong.changeLanguage();
    await hong.untilLine("System", "Ming left the group");
  });

  await check("reconnects after a restart, on both sides", async () => {
    await join(ming, "Ming", "#by-io");
    for (const window of [ming, hong]) assert.deepEqual(window.complaints, []);
    assert.equal(await server.terminate(), 0);
    await hong.untilRed("#state", "closed: 1001 the server is shutting down; connecting again");
    await ming.untilRed("#state", "; connecting again");
    await ming.untilRed("#log .error span", "Socket.IO is disconnected");
    server = await server.again();
    for (const window of [ming, hong]) await window.untilState("connected");
    await say(ming, "I am back");
    await hong.untilLine("Ming", "I am back");
    await say(hong, "So am I");
    await ming.untilLine("Hong", "So am I");
  });
  for (const window of [ming, hong]) await window.close();
  await server.terminate();
}

async function withoutTheLibrary() {
  process.env.SOCKET_IO_LIBRARY = "/nowhere/socket.io.js";
  const server = await Server.start("socketio_chat", "--lang", "zh");
  const window = await Window.open(server.urls.page);

  await check("without the library the page explains what to do, and WebSocket works", async () => {
    assert.match(await window.page.innerText("#missing"), /npm ci --prefix examples\/socketio_chat/);
    assert.ok(await window.page.isDisabled("#by-io"));
    await window.page.fill("#name", "Ming");
    await window.page.click("#enter");
    await window.untilState("已连接");
    await window.untilLine("系统", "Ming 加入了群聊");
    await say(window, "一个人");
    await window.untilLine("Ming", "一个人");
  });
  await window.picture("socketio_chat-without");
  await window.close();
  await server.terminate();
}

tell(twoWorlds, withoutTheLibrary);
