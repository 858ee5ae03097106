"use strict";
// Drives the page of chat with several windows, and the page script of a tutorial against the same server.

const assert = require("node:assert/strict");
const fs = require("node:fs");
const { PHONE, Server, Window, check, tell } = require("./windows.js");

async function enter(window, name, room) {
  await window.page.fill("#name", name);
  await window.page.fill("#room", room);
  await window.page.click("#enter");
  await window.untilState("1 OPEN");
  await window.untilLine("系统", `${name} 进入了聊天室`);
}

async function say(window, message) {
  await window.page.fill("#message", message);
  await window.page.keyboard.press("Enter");
}

async function threePeople() {
  const server = await Server.start("chat");
  const [ming, hong, lei] = [
    await Window.open(server.urls.page),
    await Window.open(server.urls.page, { viewport: PHONE, colorScheme: "dark" }),
    await Window.open(server.urls.page),
  ];

  await check("waits for a name before it connects", async () => {
    assert.equal(await ming.page.textContent("#state"), "3 CLOSED");
    assert.ok(await ming.page.isDisabled("#message"));
    assert.equal(await ming.page.evaluate(() => document.activeElement.id), "name");
  });

  await check("announces who comes to everybody in the room", async () => {
    await enter(ming, "小明", "大厅");
    await enter(hong, "小红", "大厅");
    await ming.untilLine("系统", "小红 进入了聊天室（2 人在线）");
    await enter(lei, "雷雷", "另一间/房");
    await lei.untilLine("系统", "雷雷 进入了聊天室（1 人在线）");
  });

  await check("what one says is heard by everybody in the room", async () => {
    await say(ming, "大家好！");
    for (const window of [ming, hong]) await window.untilLine("小明", "大家好！");
    await say(hong, "你好，小明");
    for (const window of [ming, hong]) await window.untilLine("小红", "你好，小明");
    assert.equal(await ming.page.inputValue("#message"), "");
  });

  await check("shows markup as the text it is", async () => {
    const markup = "<img src=x onerror=\"document.title='run'\"><b>bold</b>";
    await say(ming, markup);
    await hong.untilLine("小明", markup);
    assert.equal(await hong.page.locator("#log img").count(), 0);
  });

  await check("another room hears nothing of it", async () => {
    await say(lei, "有人吗");
    await lei.untilLine("雷雷", "有人吗");
    const heard = await lei.log();
    assert.ok(heard.every(line => !/小明|小红/.test(line)), heard.join("\n"));
  });

  await say(hong, "这里有一条比较长的消息，在手机上要换行才看得完，看看它换不换");
  await ming.untilLine("小红", "看看它换不换");
  for (const window of [ming, hong]) await check("fits its window and names its controls", () => window.isFitForAll());
  await ming.picture("chat-desktop");
  await hong.picture("chat-phone-dark");

  await check("announces who leaves, with the code of the close at him", async () => {
    await hong.page.click("#leave");
    await hong.untilState("3 CLOSED 1000");
    await ming.untilLine("系统", "小红 离开了聊天室（1 人在线）");
  });

  await check("a link leads into the room", async () => {
    assert.match(ming.page.url(), /\?room=/);
    const guest = await Window.open(ming.page.url());
    assert.equal(await guest.page.inputValue("#room"), "大厅");
    await guest.close();
  });

  await check("says that the connection was lost, with 1001 after SIGTERM", async () => {
    const status = await server.terminate();
    assert.equal(status, 0);
    await ming.untilState("3 CLOSED 1001");
    await ming.untilLine("系统", "WebSocket 连接已关闭：代码 1001");
    assert.ok(await ming.page.isDisabled("#send"));
  });
  for (const window of [ming, hong, lei]) assert.deepEqual(window.complaints, []);

  await check("says so when nobody is there", async () => {
    await ming.page.click("#enter");
    await ming.untilLine("系统", "连接 WebSocket 服务器出错");
    await ming.untilState("3 CLOSED 1006");
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
  const server = await Server.start("chat");
  // written over a page of the server, so it has that page's origin
  const tutorial = await Window.open(server.urls.page);
  await tutorial.page.setContent(TUTORIAL(server.urls.endpoint));
  const ming = await Window.open(`${server.urls.page}?room=lobby`);

  await check("the page of a tutorial connects and hears the system", async () => {
    await tutorial.untilShown(".bg-info", "Connected to WebSocket server!");
    await tutorial.untilShown(".bg-warning", "一位客人 进入了聊天室（1 人在线）");
  });

  await check("it hears others with their names", async () => {
    await enter(ming, "小明", "lobby");
    await say(ming, "你好，旧页面");
    await tutorial.untilShown(".bg-success", "小明 : 你好，旧页面");
  });

  await check("it is heard", async () => {
    await tutorial.page.evaluate(() => websocket.send(JSON.stringify({ message: "我也在", name: "旧页面" })));
    await ming.untilLine("旧页面", "我也在");
  });

  await check("it says when the connection is lost", async () => {
    await server.terminate();
    await tutorial.untilShown(".bg-warning", "websocket Connection Closed.");
  });
  assert.deepEqual(tutorial.complaints, []);
  for (const window of [tutorial, ming]) await window.close();
}

tell(threePeople, aTutorialsPage);
