"use strict";
// Drives the page of axum_app with two people.

const assert = require("node:assert/strict");
const { PHONE, Server, Window, check, tell } = require("./windows.js");

async function login(window, name) {
  await window.page.fill("#name", name);
  await window.page.keyboard.press("Enter");
  await window.untilState("1 OPEN");
}

async function twoPeople() {
  const server = await Server.start("axum_app");
  const [ming, hong] = [
    await Window.open(server.urls.page, { viewport: { width: 1000, height: 420 } }),
    await Window.open(server.urls.page, { viewport: PHONE, colorScheme: "dark" }),
  ];

  await check("who is not logged in is refused", async () => {
    const code = await ming.page.evaluate(() => new Promise(resolve => {
      new WebSocket(endpoint("/api/live")).onclose = event => resolve(event.code);
    }));
    assert.equal(code, 1006);
    assert.match(ming.complaints.join(), /Authentication failed/);
    ming.complaints.length = 0;
  });

  await check("after the login the endpoint opens, and says how many look", async () => {
    await login(ming, "小明");
    await ming.untilShown("#windows", "1 个窗口");
    await login(hong, "小红");
    for (const window of [ming, hong]) await window.untilShown("#windows", "2 个窗口");
  });

  await check("the page shows who is logged in, and with which roles", async () => {
    await ming.untilShown("#who", "已登录：小明（角色：admin、user）");
    await hong.untilShown("#who", "已登录：小红（角色：user）");
    assert.deepEqual([await ming.page.isVisible("#clear"), await hong.page.isVisible("#clear")], [true, false]);
  });

  await check("what one adds by HTTP the other sees at once", async () => {
    for (const [window, what] of [[ming, "买茶叶"], [hong, "给花浇水"], [ming, "<b>写信</b>"]]) {
      await window.page.fill("#what", what);
      await window.page.keyboard.press("Enter");
      for (const window of [ming, hong]) await window.untilShown("#items span", what);
    }
  });

  await check("what one ticks is ticked for the other", async () => {
    await hong.page.getByLabel("买茶叶").check();
    await ming.until("the tick", () => document.querySelector("#items input").checked);
    const items = await ming.page.evaluate(() => fetch("/api/items").then(answer => answer.json()));
    assert.deepEqual(items[0], { what: "买茶叶", by: "小明", done: true });
  });
  for (const window of [ming, hong]) await check("fits its window and names its controls", () => window.isFitForAll());
  await ming.picture("axum_app-desktop");
  await hong.picture("axum_app-phone-dark");

  await check("an admin clears what is done, and the other sees it go", async () => {
    await ming.page.click("#clear");
    await hong.until("the item to go", () => document.querySelectorAll("#items li").length === 2);
  });

  await check("a shutdown is told to everybody, and counted", async () => {
    assert.equal(await server.terminate(), 0);
    for (const window of [ming, hong]) {
      await window.untilState("3 CLOSED 1001");
      await window.untilShown("#trouble", "代码 1001");
      assert.deepEqual(window.complaints, []);
    }
    assert.equal(server.lines.at(-1), "2 connections closed, 0 cut");
  });
  for (const window of [ming, hong]) await window.close();
}

tell(twoPeople);
