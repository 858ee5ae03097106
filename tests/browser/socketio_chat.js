"use strict";
// Drives the page of socketio_chat by both ways, and a tutorial's own Socket.IO page in the same group.
// SOCKET_IO_LIBRARY names the browser library of Socket.IO, unless npm has put it into examples/socketio_chat.

const assert = require("node:assert/strict");
const fs = require("node:fs");
const { PHONE, Server, Window, check, tell } = require("./windows.js");

async function join(window, name, way) {
  await window.page.fill("#name", name);
  await window.page.check(way);
  await window.page.click("#enter");
  await window.untilState("1 OPEN");
  await window.untilLine("系统", `${name} 加入了群聊`);
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
  const server = await Server.start("socketio_chat");
  const [ming, hong] = [
    await Window.open(server.urls.page),
    await Window.open(server.urls.page, { viewport: PHONE, colorScheme: "dark" }),
  ];

  await check("one joins by Socket.IO and one by WebSocket, and each hears of the other", async () => {
    await join(ming, "小明", "#by-io");
    await join(hong, "小红", "#by-ws");
    await ming.untilLine("系统", "小红 加入了群聊");
  });

  await check("they talk to each other", async () => {
    await say(ming, "我用的是 Socket.IO");
    await hong.untilLine("小明", "我用的是 Socket.IO");
    await say(hong, "我用的是 WebSocket");
    for (const window of [ming, hong]) await window.untilLine("小红", "我用的是 WebSocket");
  });

  const tutorial = await Window.open(server.urls.page);
  tutorial.page.on("dialog", dialog => dialog.accept("老页面"));
  await tutorial.page.setContent(TUTORIAL);

  await check("a tutorial's page joins the same group", async () => {
    for (const window of [ming, hong]) await window.untilLine("系统", "老页面 加入了群聊");
    await tutorial.untilShown("#messages li", "老页面 加入了群聊");
    assert.equal(await tutorial.page.title(), "老页面的群聊");
  });

  await check("it hears both, and is heard by both", async () => {
    await say(ming, "你好，老页面");
    await tutorial.untilShown("#messages li", "小明：你好，老页面");
    await say(hong, "欢迎");
    await tutorial.untilShown("#messages li", "小红：欢迎");
    await tutorial.page.fill("#m", "大家好");
    await tutorial.page.click("button");
    for (const window of [ming, hong]) await window.untilLine("老页面", "大家好");
    assert.equal(await tutorial.page.inputValue("#m"), "");
  });
  for (const window of [ming, hong]) await check("fits its window and names its controls", () => window.isFitForAll());
  await ming.picture("socketio_chat-desktop");
  await hong.picture("socketio_chat-phone-dark");

  await check("the library has left polling for a WebSocket of its own", async () => {
    await tutorial.until("the upgrade", () => socket.io.engine.transport.name === "websocket");
  });

  await check("who leaves is missed in both worlds", async () => {
    await hong.page.click("#leave");
    await hong.untilState("3 CLOSED 1000");
    for (const window of [ming]) await window.untilLine("系统", "小红 离开了群聊");
    await tutorial.untilShown("#messages li", "小红 离开了群聊");
    await tutorial.close();
    await ming.untilLine("系统", "老页面 离开了群聊");
    await join(hong, "小红", "#by-ws");
    await ming.page.click("#leave");
    await hong.untilLine("系统", "小明 离开了群聊");
  });

  await check("says that the server has gone, in both worlds", async () => {
    await join(ming, "小明", "#by-io");
    for (const window of [ming, hong]) assert.deepEqual(window.complaints, []);
    assert.equal(await server.terminate(), 0);
    await hong.untilState("3 CLOSED 1001");
    await ming.untilLine("系统", "正在重新连接");
    await ming.untilState("0 CONNECTING");
  });
  for (const window of [ming, hong]) await window.close();
}

async function withoutTheLibrary() {
  process.env.SOCKET_IO_LIBRARY = "/nowhere/socket.io.js";
  const server = await Server.start("socketio_chat");
  const window = await Window.open(server.urls.page);

  await check("without the library: says what to do, and WebSocket works", async () => {
    assert.match(await window.page.innerText("#missing"), /npm ci --prefix examples\/socketio_chat/);
    assert.ok(await window.page.isDisabled("#by-io"));
    await join(window, "小明", "#by-ws");
    await say(window, "一个人");
    await window.untilLine("小明", "一个人");
  });
  await window.picture("socketio_chat-without");
  await window.close();
  await server.terminate();
}

tell(twoWorlds, withoutTheLibrary);
