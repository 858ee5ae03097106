"use strict";
// Drives the page of axum_app with two people.

const assert = require("node:assert/strict");
const { PHONE, Server, Window, check, speaksBothLanguages, tell } = require("./windows.js");

async function login(window, name) {
  await window.page.fill("#name", name);
  await window.page.keyboard.press("Enter");
  await window.untilState("connected");
}

async function twoPeople() {
  let server = await Server.start("axum_app");
  const [ming, hong] = [
    await Window.open(server.urls.page, { viewport: { width: 1000, height: 420 } }),
    await Window.open(server.urls.page, { viewport: PHONE, colorScheme: "dark" }),
  ];
  await check("speaks both languages", () => speaksBothLanguages(ming, ["Things to do", "待办事项"]));

  await check("users who are not logged in are refused", async () => {
    assert.equal(await ming.page.innerText("#state"), "not connected");
    const code = await ming.page.evaluate(() => new Promise(resolve => {
      new WebSocket(endpoint("/api/live")).onclose = event => resolve(event.code);
    }));
    assert.equal(code, 1006);
    assert.match(ming.complaints.join(), /Authentication failed/);
    ming.complaints.length = 0;
  });

  await check("after the login the endpoint opens and shows the number of windows", async () => {
    await login(ming, "Ming");
    await ming.untilShown("#windows", "1 window shows");
    await login(hong, "Hong");
    for (const window of [ming, hong]) await window.untilShown("#windows", "2 windows show");
  });

  await check("the page shows the user and the roles", async () => {
    await ming.untilShown("#who", "Logged in: Ming (roles: admin, user)");
    await hong.untilShown("#who", "Logged in: Hong (roles: user)");
    assert.deepEqual([await ming.page.isVisible("#clear"), await hong.page.isVisible("#clear")], [true, false]);
  });

  await check("an item added by HTTP appears in the other window", async () => {
    for (const [window, what] of [[ming, "buy tea"], [hong, "water the flowers"], [ming, "<b>write a letter</b>"]]) {
      await window.page.fill("#what", what);
      await window.page.keyboard.press("Enter");
      for (const window of [ming, hong]) await window.untilShown("#items span", what);
    }
  });

  await check("a ticked item is ticked in the other window", async () => {
    await hong.page.getByLabel("buy tea").check();
    await ming.until("the tick", () => document.querySelector("#items input").checked);
    const items = await ming.page.evaluate(() => fetch("/api/items").then(answer => answer.json()));
    assert.deepEqual(items[0], { what: "buy tea", by: "Ming", done: true });
  });
  for (const window of [ming, hong]) await check("fits its window and names its controls", () => window.isFitForAll());
  await ming.picture("axum_app");
  await hong.changeLanguage();
  await hong.untilShown("#who", "已登录：Hong（角色：user）");
  await hong.untilState("已连接");
  await hong.picture("axum_app-phone-dark");
  await hong.changeLanguage();

  await check("an admin removes completed items in both windows", async () => {
    await ming.page.click("#clear");
    await hong.until("the item to go", () => document.querySelectorAll("#items li").length === 2);
  });

  await check("when the server stops, the page shows an error, keeps the list and requests no login", async () => {
    for (const window of [ming, hong]) assert.deepEqual(window.complaints, []);
    assert.equal(await server.terminate(), 0);
    assert.equal(server.lines.at(-1), "2 connections closed, 0 cut");
    for (const window of [ming, hong]) {
      await window.untilRed("#state", "closed: 1001 the server is shutting down; connecting again");
      assert.equal(await window.page.isVisible("#login"), false);
      assert.equal(await window.page.locator("#items li").count(), 2);
      assert.ok(await window.page.locator("#items input").first().isDisabled());
    }
  });
  await ming.picture("axum_app-lost");

  await check("after a restart the page requests a new login", async () => {
    server = await server.again();
    for (const window of [ming, hong]) {
      await window.untilRed("#trouble", "log in again");
      await window.untilState("closed: 1001 the server is shutting down");
      await login(window, "Ming");
      await window.until("an empty list", () => document.querySelectorAll("#items li").length === 0);
      assert.equal(await window.page.isVisible("#trouble"), false);
    }
  });

  await check("a short interruption of the connection needs no new login", async () => {
    await ming.page.evaluate(() => connection.socket.close(4000, "cut"));
    await ming.untilRed("#state", "closed: 4000 cut; connecting again");
    await ming.untilState("connected");
  });
  for (const window of [ming, hong]) await window.close();
  await server.terminate();
}

tell(twoPeople);
