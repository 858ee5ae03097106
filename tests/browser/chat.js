"use strict";
// Drives the page of chat with several windows, and the page script of a tutorial against the same server.

const assert = require("node:assert/strict");
const fs = require("node:fs");
const { PHONE, Server, Window, check, comesBack, speaksBothLanguages, tell } = require("./windows.js");

async function enter(window, name, room) {
  await window.page.fill("#name", name);
  await window.page.fill("#room", room);
  await window.page.click("#enter");
  await window.untilState("connected");
  await window.untilLine("System", `${name} entered the room`);
}

async function say(window, message) {
  await window.page.fill("#message", message);
  await window.page.keyboard.press("Enter");
}

async function threePeople() {
  let server = await Server.start("chat");
  const [ming, hong, lei] = [
    await Window.open(server.urls.page),
    await Window.open(server.urls.page, { viewport: PHONE, colorScheme: "dark" }),
    await Window.open(server.urls.page),
  ];

  await check("waits for a name before it connects", async () => {
    assert.equal(await ming.page.textContent("#state"), "not connected");
    assert.ok(await ming.page.isDisabled("#message"));
    assert.equal(await ming.page.evaluate(() => document.activeElement.id), "name");
  });

  await check("speaks both languages", async () => {
    await speaksBothLanguages(lei, ["Chat room", "聊天室"]);
    assert.match(await lei.page.getAttribute("#log", "data-empty"), /^Write your name/);
  });

  await check("announces a new member to everybody in the room", async () => {
    await enter(ming, "Ming", "tea house");
    await enter(hong, "Hong", "tea house");
    await ming.untilLine("System", "Hong entered the room (2 online)");
    await enter(lei, "Lei", "另一间/房");
    await lei.untilLine("System", "Lei entered the room (1 online)");
  });

  await check("a message reaches everybody in the room", async () => {
    await say(ming, "Hello everybody!");
    for (const window of [ming, hong]) await window.untilLine("Ming", "Hello everybody!");
    await say(hong, "Hello Ming");
    for (const window of [ming, hong]) await window.untilLine("Hong", "Hello Ming");
    assert.equal(await ming.page.inputValue("#message"), "");
  });

  await check("shows markup as text", async () => {
    const markup = "<img src=x onerror=\"document.title='run'\"><b>bold</b>";
    await say(ming, markup);
    await hong.untilLine("Ming", markup);
    assert.equal(await hong.page.locator("#log img").count(), 0);
  });

  await check("another room does not receive it", async () => {
    await say(lei, "Is anybody here?");
    await lei.untilLine("Lei", "Is anybody here?");
    const heard = await lei.log();
    assert.ok(heard.every(line => !/Ming|Hong/.test(line)), heard.join("\n"));
  });

  await say(hong, "This message is longer, and a phone has to break its line: 看看它换不换");
  await ming.untilLine("Hong", "看看它换不换");
  for (const window of [ming, hong]) await check("fits its window and names its controls", () => window.isFitForAll());
  await ming.picture("chat");
  await check("log lines change their language, too", async () => {
    await hong.changeLanguage();
    await hong.untilLine("系统", "Hong 进入了聊天室（2 人在线）");
    await hong.untilState("已连接");
    await hong.picture("chat-phone-dark");
    await hong.changeLanguage();
    await hong.untilLine("System", "Hong entered the room (2 online)");
  });

  await check("announces a member who leaves; the page that left shows how its connection was closed", async () => {
    await hong.page.click("#leave");
    await hong.untilState("closed: 1000 left");
    await ming.untilLine("System", "Hong left the room (1 online)");
  });

  await check("a link opens the room", async () => {
    assert.match(ming.page.url(), /\?room=/);
    const guest = await Window.open(ming.page.url());
    assert.equal(await guest.page.inputValue("#room"), "tea house");
    await guest.close();
    await enter(hong, "Hong", "tea house");
  });

  await check("reconnects to its room after a restart", async () => {
    for (const window of [ming, hong, lei]) assert.deepEqual(window.complaints, []);
    server = await comesBack(server, ming, hong, lei);
    await ming.untilRed("#log .error span", "the connection is closed: 1001 the server is shutting down");
    await ming.until("both to be there", () => document.querySelector("#log").textContent.includes("(2 online)", document.querySelector("#log").textContent.lastIndexOf("closed: 1001")));
    await say(hong, "I am back");
    await ming.untilLine("Hong", "I am back");
    assert.ok((await lei.log()).every(line => !line.includes("I am back")));
    for (const window of [ming, hong, lei]) assert.deepEqual(window.complaints, []);
  });

  await check("leaves while the server is down, and stays disconnected", async () => {
    await server.terminate();
    await ming.untilState("closed: 1001 the server is shutting down; connecting again");
    assert.ok(await ming.page.isDisabled("#send"));
    await ming.page.click("#leave");
    await ming.until("the last word", () => document.querySelector("#state").textContent === "closed: 1001 the server is shutting down");
  });

  await check("shows an error when there is no server", async () => {
    await ming.page.click("#enter");
    await ming.untilRed("#log .error span", "no connection to the server");
    await ming.untilRed("#state", "closed: no connection to the server");
  });
  for (const window of [ming, hong, lei]) await window.close();
}

// What a tutorial's page does with `ws://127.0.0.1:3000`, word for word but for the address and what it logs; its class
// names are those of its stylesheet.
const TUTORIAL = address => `<!doctype html><meta charset="utf-8"><title>tutorial</title><link rel="icon" href="data:,">
<div class="show-area"></div><input id="message">
<script>${fs.readFileSync(require.resolve("jquery/dist/jquery.js"), "utf8").replaceAll("</script", "<\\/script")}</script>
<script>
  var websocket;
  var i = 0;
  if (window.WebSocket) {
    websocket = new WebSocket('${address}');
    websocket.onopen = function (evevt) {
      $('.show-area').append('<p class="bg-info message"><i class="glyphicon glyphicon-info-sign"></i>Connected to WebSocket server!</p>');
    }
    websocket.onmessage = function (event) {
      var msg = JSON.parse(event.data); //解析收到的json消息数据
      var type = msg.type; // 消息类型
      var umsg = msg.message; //消息文本
      var uname = msg.name; //发送人
      i++;
      if (type == 'usermsg') {
        $('.show-area').append('<p class="bg-success message"><i class="glyphicon glyphicon-user"></i><a name="' + i + '"></a><span class="label label-primary">' + uname + ' : </span>' + umsg + '</p>');
      }
      if (type == 'system') {
        $('.show-area').append('<p class="bg-warning message"><a name="' + i + '"></a><i class="glyphicon glyphicon-info-sign"></i>' + umsg + '</p>');
      }
      $('#message').val('');
      window.location.hash = '#' + i;
    }
    websocket.onerror = function (event) {
      i++;
      $('.show-area').append('<p class="bg-danger message"><a name="' + i + '"></a><i class="glyphicon glyphicon-info-sign"></i>Connect to WebSocket server error.</p>');
      window.location.hash = '#' + i;
    }
    websocket.onclose = function (event) {
      i++;
      $('.show-area').append('<p class="bg-warning message"><a name="' + i + '"></a><i class="glyphicon glyphicon-info-sign"></i>websocket Connection Closed.</p>');
      window.location.hash = '#' + i;
    }
  }
</script>`;

async function aTutorialsPage() {
  const server = await Server.start("chat", "--lang", "zh");
  // written over a page of the server, so it has that page's origin
  const tutorial = await Window.open(server.urls.page);
  await tutorial.page.setContent(TUTORIAL(server.urls.endpoint));
  const ming = await Window.open(`${server.urls.page}?room=lobby`);

  await check("a server started in Chinese serves a Chinese page", async () => {
    assert.equal(await ming.page.innerText("h1"), "聊天室");
    await ming.changeLanguage();
    assert.equal(await ming.page.innerText("h1"), "Chat room");
  });

  await check("the page of a tutorial connects and receives system messages", async () => {
    await tutorial.untilShown(".bg-info", "Connected to WebSocket server!");
    await tutorial.untilShown(".bg-warning", "一位客人 进入了聊天室（1 人在线）");
  });

  await check("it receives messages with names", async () => {
    await enter(ming, "Ming", "lobby");
    await say(ming, "你好，旧页面");
    await tutorial.untilShown(".bg-success", "Ming : 你好，旧页面");
  });

  await check("its messages reach the others", async () => {
    await tutorial.page.evaluate(() => websocket.send(JSON.stringify({ message: "我也在", name: "旧页面" })));
    await ming.untilLine("旧页面", "我也在");
  });

  await check("it shows a lost connection", async () => {
    await server.terminate();
    await tutorial.untilShown(".bg-warning", "websocket Connection Closed.");
  });
  assert.deepEqual(tutorial.complaints, []);
  for (const window of [tutorial, ming]) await window.close();
}

tell(threePeople, aTutorialsPage);
